// Gateways × workers: who is linked to whom, and which worker is behind. Needs no token.

import { state } from './cluster.js';
import { button, h, mono, render } from './dom.js';
import { bytes, count, DASH, duration } from './format.js';
import { pairs } from './reports.js';
import { table } from './table.js';
import { has, t } from './words.js';

// A worker that lets an event wait for longer is behind.
const BEHIND_MS = 1000;

let chosen = 'unfinished';
/** The gateway that is shown alone, or null. */
let only = null;

export function createMesh(root) {
  const update = () => {
    const { cluster } = state;
    if (!cluster) return;
    const gateways = cluster.gateways ?? [];
    if (!gateways.some(({ address }) => address === only)) only = null;
    const rows = pairs(cluster).filter(({ gateway }) => only === null || gateway === only);
    const sort = {
      key: chosen,
      pick: (key) => {
        chosen = key;
        update();
      },
    };
    render(
      root,
      gatewayTable(gateways, update),
      only === null
        ? null
        : h(
            'p',
            { class: 'facts' },
            t('onlyGateway', { gateway: only }),
            ' ',
            button(
              t('all'),
              () => {
                only = null;
                update();
              },
              { class: 'link' },
            ),
          ),
      pairTable(rows, sort),
    );
  };
  return { update };
}

function named(word) {
  return has(word) ? t(word) : word;
}

function badge(word, tone) {
  return h('span', { class: `badge ${tone}` }, named(word));
}

function gatewayState({ answer }) {
  if (!answer) return badge('silent', 'bad');
  if (answer.stopping) return badge('stopping', 'wait');
  return answer.problems?.length ? badge('problem', 'bad') : badge('ready', 'good');
}

function gatewayTable(gateways, again) {
  const stat =
    (name) =>
    ({ answer }) =>
      answer?.stats?.[name];
  const columns = [
    {
      key: 'gateway',
      label: t('gateway'),
      cell: ({ address }) =>
        button(
          mono(address),
          () => {
            only = only === address ? null : address;
            again();
          },
          { class: 'link', 'aria-pressed': String(only === address) },
        ),
    },
    { key: 'state', label: t('state'), cell: gatewayState },
    { key: 'clients', label: t('clients'), number: true, cell: (row) => count(stat('clients')(row)) },
    { key: 'workers', label: t('workers'), number: true, cell: ({ answer }) => count(answer?.workers?.length) },
    { key: 'unfinished', label: t('unfinished'), number: true, cell: (row) => count(stat('unfinished')(row)) },
    { key: 'version', label: t('version'), cell: ({ answer }) => answer?.version || DASH },
    { key: 'uptime', label: t('uptime'), number: true, cell: ({ answer }) => duration(answer?.uptime_ms) },
    {
      key: 'listeners',
      label: t('listeners'),
      wide: true,
      cell: ({ answer, error }) =>
        answer
          ? answer.listeners.map(({ url, clients }) => h('div', {}, mono(url), ' ', h('small', {}, count(clients))))
          : h('span', { class: 'bad', lang: 'en' }, error ?? DASH),
    },
  ];
  return table(t('gateways'), columns, gateways, {
    empty: t('noGateways'),
    rowProps: ({ address }) => ({ 'data-key': address }),
  });
}

function pairTable(rows, sort) {
  const isLate = ({ worker }) => worker.oldest_ms > BEHIND_MS;
  const columns = [
    { key: 'worker', label: t('worker'), cell: ({ worker }) => mono(worker.key), order: ({ worker }) => worker.key },
    {
      key: 'gateway',
      label: t('gateway'),
      wide: true,
      cell: ({ gateway }) => mono(gateway),
      order: ({ gateway }) => gateway,
    },
    {
      key: 'state',
      label: t('state'),
      cell: ({ worker }) => badge(worker.state, worker.state === 'open' ? 'good' : 'bad'),
    },
    {
      key: 'clients',
      label: t('clients'),
      number: true,
      cell: ({ worker }) => count(worker.clients),
      order: ({ worker }) => worker.clients,
    },
    {
      key: 'unfinished',
      label: t('unfinished'),
      number: true,
      cell: ({ worker }) => count(worker.unfinished),
      order: ({ worker }) => worker.unfinished,
    },
    {
      key: 'bytes',
      label: t('bytes'),
      number: true,
      cell: ({ worker }) => bytes(worker.unfinished_bytes),
      order: ({ worker }) => worker.unfinished_bytes,
    },
    {
      key: 'oldest',
      label: t('oldest'),
      number: true,
      order: ({ worker }) => worker.oldest_ms,
      cell: (row) => ({ text: duration(row.worker.oldest_ms || undefined), className: isLate(row) ? 'bad' : '' }),
    },
    {
      key: 'roundTrip',
      label: t('roundTrip'),
      number: true,
      cell: ({ worker }) => duration(worker.round_trip_ms),
      order: ({ worker }) => worker.round_trip_ms,
    },
    { key: 'version', label: t('version'), cell: ({ worker }) => worker.version || DASH },
    {
      key: 'uptime',
      label: t('uptime'),
      number: true,
      cell: ({ worker }) => duration(worker.uptime_ms),
      order: ({ worker }) => worker.uptime_ms,
    },
  ];
  return table(t('gatewaysTimesWorkers'), columns, rows, {
    sort,
    empty: t('noWorkers'),
    rowProps: (row) => ({
      'data-key': `${row.gateway} ${row.worker.key} ${row.worker.process ?? ''}`,
      class: isLate(row) || row.worker.state !== 'open' ? 'behind' : null,
    }),
  });
}
