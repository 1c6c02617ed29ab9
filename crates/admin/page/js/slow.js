// What is slow: clients that do not read, clients that wait for a handler, and the handlers of the workers.

import { inspect } from './api.js';
import { openClient } from './client.js';
import { clientColumns, merged } from './clients.js';
import { state } from './cluster.js';
import { button, h, mono, render } from './dom.js';
import { count, DASH, duration } from './format.js';
import { table } from './table.js';
import { t } from './words.js';

const EACH_MS = 2000;
const LISTED = 10;

/** The gateways say how old unfinished events are. */
let knowsAges = false;

export function createSlow(root) {
  let lists = null;
  let readAt = -Infinity;
  let isReading = false;
  let isGone = false;
  const draw = () => {
    const errors = lists?.errors ?? [];
    const row = ({ id }) => ({ 'data-key': id });
    const show = (title, note, rows) =>
      table(t(title), clientColumns(), rows ?? [], {
        note: t(note),
        empty: t(rows ? 'noneSlow' : 'loading'),
        rowProps: row,
      });
    render(
      root,
      errors.length ? h('p', { class: 'error', role: 'alert' }, t('incomplete'), ' ', errors.join('; ')) : null,
      show('waitingClients', 'waitingNote', lists?.waiting),
      show('fullOutboxes', 'fullOutboxesNote', lists?.full),
      lists ? [runningNow(lists.handlers), byEvent(lists.handlers)] : null,
    );
  };
  const read = async () => {
    try {
      const [full, waiting, handlers] = await Promise.all([
        firstOf('outbox'),
        waitingClients(),
        handlersOfAll().catch(() => []),
      ]);
      lists = {
        full: full.rows.filter((client) => client.outbox_bytes > 0),
        waiting: waiting.rows.filter((client) => client.unfinished > 0),
        handlers,
        errors: [...new Set([...full.errors, ...waiting.errors])],
      };
    } catch (error) {
      lists = { full: [], waiting: [], handlers: [], errors: [error.message] };
    }
    if (!isGone) draw();
  };
  const update = () => {
    draw();
    // One at a time: a gateway that hangs takes seconds to be given up, and a browser has few connections.
    if (
      isReading ||
      state.lostSince !== null ||
      document.hidden ||
      performance.now() - readAt < EACH_MS ||
      (root.matches(':hover') && root.querySelector('tr:hover'))
    )
      return;
    readAt = performance.now();
    isReading = true;
    read().finally(() => {
      isReading = false;
    });
  };
  return {
    update,
    leave: () => {
      isGone = true;
    },
  };
}

/** The clients whose events wait for longest; those with the most, where gateways do not know for how long. */
async function waitingClients() {
  const first = await firstOf(knowsAges ? 'oldest' : 'unfinished');
  knowsAges ||= first.rows.some((client) => client.oldest_ms !== undefined);
  return first;
}

async function firstOf(sort) {
  const { found, errors } = await inspect('clients', { sort, limit: LISTED });
  return { ...merged(found, sort, LISTED), errors };
}

/** What the workers say of their handlers, each once: a worker tells all of its gateways the same. */
async function handlersOfAll() {
  const { found } = await inspect('handlers');
  const workers = new Map();
  for (const worker of found.flatMap(({ said }) => said.workers)) {
    const before = workers.get(worker.key);
    if (!before || worker.report_age_ms < before.report_age_ms) workers.set(worker.key, worker);
  }
  return [...workers.values()];
}

function runningNow(workers) {
  const rows = workers
    .flatMap((worker) => (worker.longest ?? []).map((one) => ({ worker, ...one })))
    .sort((a, b) => b.ms - a.ms);
  const sum = (name) => workers.reduce((all, worker) => all + (worker[name] ?? 0), 0);
  const columns = [
    { key: 'event', label: t('event'), cell: ({ event }) => mono(event) },
    { key: 'for', label: t('runningFor'), number: true, cell: ({ ms }) => ({ text: duration(ms), className: 'bad' }) },
    {
      key: 'client',
      label: t('client'),
      cell: ({ client }) => (client ? button(mono(client), () => openClient(client), { class: 'link' }) : DASH),
    },
    { key: 'worker', label: t('worker'), wide: true, cell: ({ worker }) => mono(worker.key) },
  ];
  const note = workers.length ? t('runningNote', { running: sum('running'), questions: sum('questions') }) : null;
  return table(t('handlersNow'), columns, rows, { note, empty: t('noHandlersNow') });
}

function byEvent(workers) {
  const rows = workers.flatMap((worker) =>
    Object.entries(worker.events ?? {}).map(([event, times]) => ({ worker, event, ...times })),
  );
  const columns = [
    { key: 'event', label: t('event'), cell: ({ event }) => mono(event) },
    { key: 'worker', label: t('worker'), wide: true, cell: ({ worker }) => mono(worker.key) },
    { key: 'runs', label: t('runs'), number: true, cell: (row) => count(row.count) },
    {
      key: 'mean',
      label: t('mean'),
      number: true,
      cell: (row) => duration(row.count ? row.total_ms / row.count : undefined),
    },
    { key: 'longest', label: t('longest'), number: true, cell: (row) => duration(row.max_ms) },
    { key: 'total', label: t('totalTime'), number: true, cell: (row) => duration(row.total_ms) },
  ];
  return table(
    t('handlersByEvent'),
    columns,
    rows.sort((a, b) => b.total_ms - a.total_ms),
    {
      note: t('lastMinute'),
      empty: t('noHandlers'),
      rowProps: ({ worker, event }) => ({ 'data-key': `${worker.key} ${event}` }),
    },
  );
}
