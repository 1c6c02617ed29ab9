// What has happened lately: the last closes, and the warnings of the log. Both name clients, so both need the token;
// without it there is only a number of warnings. The overview shows them.

import { ask, inspect } from './api.js';
import { state } from './cluster.js';
import { button, foreign, h, mono, shown } from './dom.js';
import { clock } from './format.js';
import { go } from './nav.js';
import { table } from './table.js';
import { has, t } from './words.js';

const CLOSES_READ = 200;
const CLOSES_SHOWN = 10;
const WARNINGS_SHOWN = 12;
const EACH_MS = 2000;

/** Closes that the clients have not made themselves are shown alone. */
let isOthersOnly = false;

/** Keeps what has happened lately. `again` draws the view. */
export function createLately(again) {
  const lately = { closes: null, closesErrors: [], warnings: null };
  let readAt = -Infinity;
  let isReading = false;
  return {
    /** Reads it again, every two seconds at most. */
    update() {
      // One at a time: a gateway that hangs takes seconds to be given up, and a browser has few connections.
      if (isReading || state.token !== 'good' || state.lostSince !== null) return;
      if (performance.now() - readAt < EACH_MS) return;
      readAt = performance.now();
      isReading = true;
      read(lately)
        .then(again)
        .finally(() => {
          isReading = false;
        });
    },
    panels: (cluster) => [recentCloses(lately, again), warnings(cluster, lately)],
  };
}

async function read(lately) {
  const [closes, lines] = await Promise.allSettled([inspect('closes', { limit: CLOSES_READ }), ask('/api/warnings')]);
  if (closes.status === 'fulfilled') {
    const all = closes.value.found.flatMap(({ said }) => said.closes);
    lately.closes = all.sort((a, b) => b.at_ms - a.at_ms);
    lately.closesErrors = closes.value.errors;
  }
  if (lines.status === 'fulfilled') lately.warnings = lines.value.warnings.slice(0, WARNINGS_SHOWN);
}

function locked(title, words) {
  return h(
    'section',
    { class: 'panel' },
    h('h2', {}, title),
    h(
      'p',
      { class: 'empty' },
      words,
      ' ',
      button(t('giveToken'), () => go('clients'), { class: 'link' }),
    ),
  );
}

function recentCloses({ closes, closesErrors }, again) {
  if (state.token !== 'good') return locked(t('recentCloses'), t('withToken'));
  const columns = [
    {
      key: 'client',
      label: t('client'),
      cell: ({ id, uid }) => (uid ? [foreign(uid), h('small', {}, mono(id))] : mono(id)),
    },
    { key: 'when', label: t('when'), cell: ({ at_ms: at }) => clock(at) },
    {
      key: 'reason',
      label: t('reason'),
      cell: ({ reason, code, client_code: own, client_reason: why }) => [
        mono(reason),
        code || own ? h('small', {}, `${t('code')} ${code ?? own} `, why ? foreign(why) : null) : null,
      ],
    },
    {
      key: 'by',
      label: t('by'),
      cell: ({ closed_by: by, closer }) => [
        t(has(`by_${by}`) ? `by_${by}` : 'by_unknown'),
        closer ? h('small', {}, mono(closer)) : null,
      ],
    },
  ];
  const pick = (to) => () => {
    isOthersOnly = to;
    again();
  };
  const tools = h(
    'div',
    { class: 'switch', role: 'group', 'aria-label': t('by') },
    button(t('all'), pick(false), { 'aria-pressed': String(!isOthersOnly) }),
    button(t('byOthers'), pick(true), { 'aria-pressed': String(isOthersOnly) }),
  );
  const rows = (closes ?? []).filter((close) => !isOthersOnly || close.closed_by !== 'client').slice(0, CLOSES_SHOWN);
  return table(t('recentCloses'), columns, rows, {
    tools,
    empty: closesErrors[0] ?? (closes ? t('noRecentCloses') : t('loading')),
    rowProps: ({ id, at_ms: at }) => ({ 'data-key': `${id}${at}` }),
  });
}

function warnings({ warnings: counted }, { warnings: lines }) {
  const title = h(
    'h2',
    {},
    t('warnings'),
    counted?.count ? h('small', {}, t('nWarnings', { n: counted.count })) : null,
  );
  if (!counted?.count) return h('section', { class: 'panel' }, title, h('p', { class: 'empty' }, t('noWarnings')));
  if (state.token !== 'good')
    return locked(t('warnings'), `${t('nWarnings', { n: counted.count })}. ${t('withToken')}`);
  return h(
    'section',
    { class: 'panel' },
    title,
    h(
      'ol',
      { class: 'lines' },
      (lines ?? []).map(({ at_ms: at, level, daemon, line }) =>
        h(
          'li',
          {},
          h('span', { class: 'soft' }, `${clock(at)} `),
          h('span', { class: `level ${level.toLowerCase()}`, lang: 'en' }, level),
          ' ',
          h('span', { lang: 'en' }, daemon ? h('span', { class: 'soft' }, `${daemon} `) : null, shown(line)),
        ),
      ),
    ),
  );
}
