// What is slow: clients that do not read, clients that wait for a handler, and the handlers of the workers.

import { inspect } from './api.js';
import { openClient } from './client.js';
import { clientColumns, merged } from './clients.js';
import { state } from './cluster.js';
import { button, foreign, h, render } from './dom.js';
import { count, DASH, duration } from './format.js';
import { about, pairs } from './reports.js';
import { table } from './table.js';
import { t } from './words.js';

const EACH_MS = 2000;
const LISTED = 10;

export function createSlow(root) {
  let lists = null;
  let readAt = -Infinity;
  let isGone = false;
  const draw = () => {
    const { cluster } = state;
    const errors = lists?.errors ?? [];
    const row = ({ id }) => ({ 'data-key': id });
    const show = (title, note, rows) => table(t(title), clientColumns(), rows ?? [], { note: t(note), empty: t(rows ? 'noneSlow' : 'loading'), rowProps: row });
    render(root, errors.length ? h('p', { class: 'error', role: 'alert' }, t('incomplete'), ' ', errors.join('; ')) : null,
      show('waitingClients', 'waitingNote', lists?.waiting), show('fullOutboxes', 'fullOutboxesNote', lists?.full),
      cluster ? [runningNow(cluster), byEvent(cluster)] : null);
  };
  const read = async () => {
    try {
      const [full, waiting] = await Promise.all([firstOf('outbox'), firstOf('oldest').then((found) => found ?? firstOf('unfinished'))]);
      lists = {
        full: full.rows.filter((client) => client.outbox_bytes > 0),
        waiting: waiting.rows.filter((client) => client.unfinished > 0),
        errors: [...new Set([...full.errors, ...waiting.errors])],
      };
    } catch (error) {
      lists = { full: [], waiting: [], errors: [error.message] };
    }
    if (!isGone) draw();
  };
  const update = () => {
    draw();
    if (state.lostSince !== null || document.hidden || performance.now() - readAt < EACH_MS || root.matches(':hover') && root.querySelector('tr:hover')) return;
    readAt = performance.now();
    read();
  };
  return { update, leave: () => { isGone = true; } };
}

/** The first clients in this order; null where no gateway knows the order. */
async function firstOf(sort) {
  const { found, errors } = await inspect('clients', { sort, limit: LISTED });
  if (sort === 'oldest' && !found.length) return null;
  return { ...merged(found, sort, LISTED), errors };
}

/** The reports of workers, each once: a worker tells all of its gateways the same. */
function reporting(cluster) {
  const workers = new Map();
  for (const { worker } of pairs(cluster)) {
    const handlers = about(worker, 'handlers');
    if (handlers) workers.set(worker.process ?? worker.key, { worker, handlers });
  }
  return [...workers.values()];
}

function runningNow(cluster) {
  const rows = reporting(cluster).flatMap(({ worker, handlers }) => (handlers.slow ?? []).map((slow) => ({ worker, ...slow })));
  const columns = [
    { key: 'event', label: t('event'), cell: ({ event }) => h('span', { class: 'mono' }, event) },
    { key: 'for', label: t('runningFor'), number: true, cell: (slow) => ({ text: duration(ageOf(slow)), className: ageOf(slow) > 1000 ? 'bad' : '' }) },
    { key: 'client', label: t('client'), cell: (slow) => (clientOf(slow) ? button(clientOf(slow), () => openClient(clientOf(slow)), { class: 'link mono' }) : DASH) },
    { key: 'waits', label: t('waitsFor'), cell: (slow) => (slow.waits_for ? foreign(slow.waits_for) : DASH) },
    { key: 'worker', label: t('worker'), cell: ({ worker }) => h('span', { class: 'mono' }, worker.key) },
  ];
  return table(t('handlersNow'), columns, rows.sort((a, b) => ageOf(b) - ageOf(a)), { empty: t('noHandlersNow') });
}

function ageOf(slow) {
  return slow.running_ms ?? slow.for_ms ?? 0;
}

function clientOf(slow) {
  return slow.client_id ?? slow.client;
}

function byEvent(cluster) {
  const rows = reporting(cluster).flatMap(({ worker, handlers }) => Object.entries(handlers.by_event ?? handlers['by event'] ?? {})
    .map(([event, times]) => ({ worker, event, ...times })));
  const columns = [
    { key: 'event', label: t('event'), cell: ({ event }) => h('span', { class: 'mono' }, event) },
    { key: 'worker', label: t('worker'), cell: ({ worker }) => h('span', { class: 'mono' }, worker.key) },
    { key: 'runs', label: t('runs'), number: true, cell: (row) => count(row.count) },
    { key: 'mean', label: t('mean'), number: true, cell: (row) => duration(row.count ? row.total_ms / row.count : undefined) },
    { key: 'longest', label: t('longest'), number: true, cell: (row) => duration(row.max_ms) },
    { key: 'total', label: t('totalTime'), number: true, cell: (row) => duration(row.total_ms) },
  ];
  return table(t('handlersByEvent'), columns, rows.sort((a, b) => b.total_ms - a.total_ms), { empty: t('noHandlers'), rowProps: ({ worker, event }) => ({ 'data-key': `${worker.key} ${event}` }) });
}
