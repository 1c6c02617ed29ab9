// The first view: is everything all right? One line that says so, moving graphs, reasons of closes and rejections, and
// what has happened lately (lately.js).

import { parts, total } from './changes.js';
import { chart } from './chart.js';
import { state } from './cluster.js';
import { button, h, mono, render, shown } from './dom.js';
import { bytes, bytesPerSecond, compact, count, DASH } from './format.js';
import { createLately } from './lately.js';
import { problems, workerCount } from './reports.js';
import { meaning } from './reasons.js';
import { table } from './table.js';
import { has, t } from './words.js';

// Growth of these is no good sign; `unfinished` is a number of the present.
const COUNTERS = [
  ['unfinished', 'unfinished'],
  ['redelivered', 'redelivered'],
  ['undeliverable', 'undeliverable'],
  ['dropped', 'dropped'],
  ['closes_lost', 'closesLost'],
  ['throttled', 'throttled'],
  ['commands_refused', 'commandsRefused'],
];

let span = 'fine';

export function createOverview(root) {
  const lately = createLately(() => draw());
  const draw = () => {
    const { cluster } = state;
    if (!cluster)
      return render(root, h('p', { class: 'verdict waiting' }, state.lostSince === null ? t('loading') : DASH));
    render(
      root,
      verdict(cluster),
      charts(draw),
      h(
        'div',
        { class: 'columns' },
        reasons(cluster, 'closed', 'closes', 'noCloses'),
        reasons(cluster, 'rejected', 'rejections', 'noRejections'),
        counters(cluster),
      ),
      h('div', { class: 'columns wide' }, lately.panels(cluster)),
      daemons(cluster),
      registers(cluster),
    );
  };
  const update = () => {
    draw();
    lately.update();
  };
  return { update };
}

function verdict(cluster) {
  const sentences = problems(cluster);
  const gateways = cluster.gateways.filter(({ answer }) => answer);
  const sum = t('wellSum', {
    gateways: t('nGateways', { n: gateways.length }),
    workers: t('nWorkers', { n: workerCount(cluster) }),
    clients: t('nClients', { n: total(cluster.gateways, 'clients') ?? 0 }),
  });
  const isWell = !sentences.length;
  // The numbers change each second: only the words are read out by a screen reader.
  const words = h('strong', { role: 'status' }, isWell ? t('well') : t('nProblems', { n: sentences.length }));
  return h(
    'div',
    { class: `verdict ${isWell ? 'good' : 'bad'}` },
    h('p', {}, words, ' ', h('span', { class: 'soft' }, sum)),
    isWell ? null : h('ul', {}, ...sentences.map((sentence) => h('li', { lang: 'en' }, shown(sentence)))),
  );
}

function charts(again) {
  const { history } = state;
  const { points, spanMs, stepMs } =
    span === 'fine'
      ? { points: history.fine, spanMs: 300000, stepMs: 1000 }
      : { points: history.coarse, spanMs: 3600000, stepMs: 60000 };
  const pick = (to) => () => {
    span = to;
    again();
  };
  const one = (name, title, series, format) =>
    chart({ name, title, points, series, now: history.now, spanMs, stepMs, format, again });
  return h(
    'section',
    { class: 'charts', 'aria-label': t('overview') },
    h(
      'div',
      { class: 'switch', role: 'group', 'aria-label': t('span') },
      button(t('fiveMinutes'), pick('fine'), { 'aria-pressed': String(span === 'fine') }),
      button(t('oneHour'), pick('coarse'), { 'aria-pressed': String(span === 'coarse') }),
    ),
    one('clients', t('clients'), [{ of: (point) => point.clients }], compact),
    one('messages', t('messagesPerSecond'), [{ of: (point) => point.messages }], compact),
    one('deliveries', t('deliveriesPerSecond'), [{ of: (point) => point.deliveries }], compact),
    one(
      'bytes',
      t('traffic'),
      [
        { label: t('sent'), of: (point) => point.bytes_sent },
        { label: t('received'), of: (point) => point.bytes_received },
      ],
      bytesPerSecond,
    ),
  );
}

function growth(name) {
  const more = state.changes.of(name);
  return { text: more ? `+${count(more)}` : '0', className: more ? '' : 'soft' };
}

function reasons(cluster, prefix, title, none) {
  const all = parts(cluster.gateways, prefix);
  const columns = [
    {
      key: 'reason',
      label: t('reason'),
      cell: ({ reason }) => [mono(reason.replaceAll('_', '-')), h('small', {}, meaning(prefix, reason))],
    },
    { key: 'more', label: t('lastMinute'), number: true, cell: ({ name }) => growth(name) },
    { key: 'total', label: t('total'), number: true, cell: (part) => count(part.total) },
  ];
  return table(t(title), columns, all, {
    empty: t(none),
    isSmall: true,
    rowProps: ({ name }) => ({ 'data-key': name }),
  });
}

function counters(cluster) {
  const rows = COUNTERS.map(([name, label]) => ({ name, label, total: total(cluster.gateways, name) })).filter(
    (row) => row.total !== null,
  );
  const columns = [
    { key: 'name', label: '', cell: ({ label }) => t(label) },
    {
      key: 'more',
      label: t('lastMinute'),
      number: true,
      cell: ({ name }) => (name === 'unfinished' ? { text: DASH, className: 'soft' } : growth(name)),
    },
    { key: 'total', label: t('total'), number: true, cell: (row) => count(row.total) },
  ];
  return table(t('counters'), columns, rows, { isSmall: true, rowProps: ({ name }) => ({ 'data-key': name }) });
}

function daemons({ daemons: all }) {
  if (!all) return null;
  const columns = [
    { key: 'name', label: t('daemon'), cell: ({ name }) => mono(name) },
    {
      key: 'state',
      label: t('state'),
      cell: ({ state: how }) =>
        h('span', { class: `badge ${{ ready: 'good', ended: 'bad' }[how] ?? 'wait'}` }, has(how) ? t(how) : how),
    },
    { key: 'pid', label: t('process'), number: true, cell: ({ pid }) => pid ?? DASH },
    { key: 'restarts', label: t('restarts'), number: true, cell: ({ restarts }) => count(restarts) },
    {
      key: 'cpu',
      label: t('processor'),
      number: true,
      cell: ({ cpu_percent: cpu }) => (cpu === null || cpu === undefined ? DASH : `${cpu.toFixed(1)} %`),
    },
    { key: 'memory', label: t('memory'), number: true, cell: ({ memory_bytes: memory }) => bytes(memory) },
  ];
  return table(t('daemons'), columns, all, { rowProps: ({ name, pid }) => ({ 'data-key': `${name}${pid}` }) });
}

function registers({ registers: all }) {
  if (!all?.length) return null;
  const badge = ({ connected }) =>
    h('span', { class: `badge ${connected ? 'good' : 'bad'}` }, t(connected ? 'connected' : 'notConnected'));
  return h(
    'p',
    { class: 'facts' },
    `${t('registers')}: `,
    all.map((register) => h('span', {}, mono(register.address), ' ', badge(register), ' ')),
  );
}
