// The first view: is everything all right? One line that says so, moving graphs, reasons of closes and rejections, what
// was closed lately and the warnings of the log. The last two need the token.

import { ask, inspect } from './api.js';
import { parts, total } from './changes.js';
import { chart } from './chart.js';
import { state } from './cluster.js';
import { button, foreign, h, mono, render, shown } from './dom.js';
import { bytes, bytesPerSecond, clock, compact, count, DASH } from './format.js';
import { go } from './nav.js';
import { problems, workerCount } from './reports.js';
import { meaning } from './reasons.js';
import { table } from './table.js';
import { has, t } from './words.js';

const CLOSES_SHOWN = 10;
const WARNINGS_SHOWN = 12;
const EACH_MS = 2000;
// Growth of these is no good sign; `unfinished` is a number of the present.
const COUNTERS = [
  ['unfinished', 'unfinished'], ['redelivered', 'redelivered'], ['undeliverable', 'undeliverable'], ['dropped', 'dropped'],
  ['closes_lost', 'closesLost'], ['throttled', 'throttled'], ['commands_refused', 'commandsRefused'],
];

let span = 'fine';

export function createOverview(root) {
  const secret = { closes: null, closesErrors: [], warnings: null, readAt: -Infinity };
  const draw = () => {
    const { cluster } = state;
    if (!cluster) return render(root, h('p', { class: 'verdict waiting' }, state.lostSince === null ? t('loading') : DASH));
    render(root, verdict(cluster), charts(draw), h('div', { class: 'columns' },
      reasons(cluster, 'closed', 'closes', 'noCloses'), reasons(cluster, 'rejected', 'rejections', 'noRejections'), counters(cluster)),
    h('div', { class: 'columns wide' }, recentCloses(secret), warnings(cluster, secret)), daemons(cluster), registers(cluster));
  };
  const update = () => {
    draw();
    if (state.token !== 'good' || state.lostSince !== null || performance.now() - secret.readAt < EACH_MS) return;
    secret.readAt = performance.now();
    readSecrets(secret).then(draw);
  };
  return { update };
}

async function readSecrets(secret) {
  const [closes, lines] = await Promise.allSettled([inspect('closes', { limit: 50 }), ask('/api/warnings')]);
  if (closes.status === 'fulfilled') {
    const all = closes.value.found.flatMap(({ said }) => said.closes);
    secret.closes = all.sort((a, b) => b.at_ms - a.at_ms).slice(0, CLOSES_SHOWN);
    secret.closesErrors = closes.value.errors;
  }
  if (lines.status === 'fulfilled') secret.warnings = lines.value.warnings.slice(0, WARNINGS_SHOWN);
}

function verdict(cluster) {
  const sentences = problems(cluster);
  const gateways = cluster.gateways.filter(({ answer }) => answer);
  const sum = t('wellSum', {
    gateways: t('nGateways', { n: gateways.length }),
    workers: t('nWorkers', { n: workerCount(cluster) }),
    clients: t('nClients', { n: total(cluster.gateways, 'clients') ?? 0 }),
  });
  if (!sentences.length) {
    return h('div', { class: 'verdict good', role: 'status' }, h('p', {}, h('strong', {}, t('well')), ' ', h('span', { class: 'soft' }, sum)));
  }
  return h('div', { class: 'verdict bad', role: 'status' },
    h('p', {}, h('strong', {}, t('nProblems', { n: sentences.length })), ' ', h('span', { class: 'soft' }, sum)),
    h('ul', {}, sentences.map((sentence) => h('li', { lang: 'en' }, shown(sentence)))));
}

function charts(again) {
  const { history } = state;
  const { points, spanMs, stepMs } = span === 'fine'
    ? { points: history.fine, spanMs: 300000, stepMs: 1000 }
    : { points: history.coarse, spanMs: 3600000, stepMs: 60000 };
  const pick = (to) => () => { span = to; again(); };
  const one = (name, title, series, format) => chart({ name, title, points, series, now: history.now, spanMs, stepMs, format, again });
  return h('section', { class: 'charts', 'aria-label': t('overview') },
    h('div', { class: 'switch', role: 'group', 'aria-label': t('span') },
      button(t('fiveMinutes'), pick('fine'), { 'aria-pressed': String(span === 'fine') }),
      button(t('oneHour'), pick('coarse'), { 'aria-pressed': String(span === 'coarse') })),
    one('clients', t('clients'), [{ of: (point) => point.clients }], compact),
    one('messages', t('messagesPerSecond'), [{ of: (point) => point.messages }], compact),
    one('deliveries', t('deliveriesPerSecond'), [{ of: (point) => point.deliveries }], compact),
    one('bytes', t('traffic'), [{ label: t('sent'), of: (point) => point.bytes_sent }, { label: t('received'), of: (point) => point.bytes_received }], bytesPerSecond));
}

function growth(name) {
  const more = state.changes.of(name);
  return { text: more ? `+${count(more)}` : '0', className: more ? '' : 'soft' };
}

function reasons(cluster, prefix, title, none) {
  const all = parts(cluster.gateways, prefix);
  const columns = [
    { key: 'reason', label: t('reason'), cell: ({ reason }) => [mono(reason.replaceAll('_', '-')), h('small', {}, meaning(prefix, reason))] },
    { key: 'more', label: t('lastMinute'), number: true, cell: ({ name }) => growth(name) },
    { key: 'total', label: t('total'), number: true, cell: (part) => count(part.total) },
  ];
  return table(t(title), columns, all, { empty: t(none), isSmall: true, rowProps: ({ name }) => ({ 'data-key': name }) });
}

function counters(cluster) {
  const rows = COUNTERS.map(([name, label]) => ({ name, label, total: total(cluster.gateways, name) })).filter((row) => row.total !== null);
  const columns = [
    { key: 'name', label: '', cell: ({ label }) => t(label) },
    { key: 'more', label: t('lastMinute'), number: true, cell: ({ name }) => (name === 'unfinished' ? { text: DASH, className: 'soft' } : growth(name)) },
    { key: 'total', label: t('total'), number: true, cell: (row) => count(row.total) },
  ];
  return table(t('counters'), columns, rows, { isSmall: true, rowProps: ({ name }) => ({ 'data-key': name }) });
}

function locked(title, words) {
  return h('section', { class: 'panel' }, h('h2', {}, title), h('p', { class: 'empty' }, words, ' ', button(t('giveToken'), () => go('clients'), { class: 'link' })));
}

function recentCloses({ closes, closesErrors }) {
  if (state.token !== 'good') return locked(t('recentCloses'), t('withToken'));
  const columns = [
    { key: 'client', label: t('client'), cell: ({ id, uid }) => (uid ? [foreign(uid), h('small', {}, mono(id))] : mono(id)) },
    { key: 'when', label: t('when'), cell: ({ at_ms: at }) => clock(at) },
    { key: 'reason', label: t('reason'), cell: ({ reason, code, client_code: own, client_reason: why }) => [mono(reason),
      code || own ? h('small', {}, `${t('code')} ${code ?? own} `, why ? foreign(why) : null) : null] },
    { key: 'by', label: t('by'), cell: ({ closed_by: by, closer }) => [t(has(`by_${by}`) ? `by_${by}` : 'by_unknown'), closer ? h('small', {}, mono(closer)) : null] },
  ];
  return table(t('recentCloses'), columns, closes ?? [], {
    empty: closesErrors[0] ?? (closes ? t('noRecentCloses') : t('loading')), rowProps: ({ id, at_ms: at }) => ({ 'data-key': `${id}${at}` }),
  });
}

function warnings({ warnings: counted }, { warnings: lines }) {
  const title = h('h2', {}, t('warnings'), counted?.count ? h('small', {}, t('nWarnings', { n: counted.count })) : null);
  if (!counted?.count) return h('section', { class: 'panel' }, title, h('p', { class: 'empty' }, t('noWarnings')));
  if (state.token !== 'good') return locked(t('warnings'), `${t('nWarnings', { n: counted.count })}. ${t('withToken')}`);
  return h('section', { class: 'panel' }, title, h('ol', { class: 'lines' }, (lines ?? []).map(({ at_ms: at, level, daemon, line }) => h('li', {},
    h('span', { class: 'soft' }, `${clock(at)} `), h('span', { class: `level ${level.toLowerCase()}`, lang: 'en' }, level), ' ',
    h('span', { lang: 'en' }, daemon ? h('span', { class: 'soft' }, `${daemon} `) : null, shown(line))))));
}

function daemons({ daemons: all }) {
  if (!all) return null;
  const columns = [
    { key: 'name', label: t('daemon'), cell: ({ name }) => mono(name) },
    { key: 'state', label: t('state'), cell: ({ state: how }) => h('span', { class: `badge ${{ ready: 'good', ended: 'bad' }[how] ?? 'wait'}` }, has(how) ? t(how) : how) },
    { key: 'pid', label: t('process'), number: true, cell: ({ pid }) => pid ?? DASH },
    { key: 'restarts', label: t('restarts'), number: true, cell: ({ restarts }) => count(restarts) },
    { key: 'cpu', label: t('processor'), number: true, cell: ({ cpu_percent: cpu }) => (cpu === null || cpu === undefined ? DASH : `${cpu.toFixed(1)} %`) },
    { key: 'memory', label: t('memory'), number: true, cell: ({ memory_bytes: memory }) => bytes(memory) },
  ];
  return table(t('daemons'), columns, all, { rowProps: ({ name, pid }) => ({ 'data-key': `${name}${pid}` }) });
}

function registers({ registers: all }) {
  if (!all?.length) return null;
  const badge = ({ connected }) => h('span', { class: `badge ${connected ? 'good' : 'bad'}` }, t(connected ? 'connected' : 'notConnected'));
  return h('p', { class: 'facts' }, `${t('registers')}: `, all.map((register) => h('span', {}, mono(register.address), ' ', badge(register), ' ')));
}
