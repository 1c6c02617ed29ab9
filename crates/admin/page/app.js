// The operators' page of a cluster: what the gateways say of themselves, each second, and calls to them.
//
// It starts the asking (js/cluster.js), shows the view that the address names (js/nav.js), and puts the form for the
// token (js/token.js) in place of views that need one. Views are made by `create(root)`, which returns `update()`,
// called after each answer, and `leave()`.

import { forgetToken, token } from './js/api.js';
import { createCall } from './js/call.js';
import { closeClient } from './js/client.js';
import { createClients } from './js/clients.js';
import { lookNow, start, state } from './js/cluster.js';
import { button, h, render } from './js/dom.js';
import { clock } from './js/format.js';
import { createGroups } from './js/groups.js';
import { language, switchLanguage } from './js/language.js';
import { createMesh } from './js/mesh.js';
import { here } from './js/nav.js';
import { createOverview } from './js/overview.js';
import { problems } from './js/reports.js';
import { createSlow } from './js/slow.js';
import { createTokenForm } from './js/token.js';
import { createTrace } from './js/trace.js';
import { t } from './js/words.js';

const VIEWS = {
  overview: { create: createOverview },
  mesh: { create: createMesh },
  clients: { create: createClients, needsToken: true },
  groups: { create: createGroups, needsToken: true },
  slow: { create: createSlow, needsToken: true },
  trace: { create: createTrace, needsToken: true },
  call: { create: createCall, needsToken: true },
};

const element = (id) => document.getElementById(id);
let current = null;

function name() {
  return Object.hasOwn(VIEWS, here()) ? here() : 'overview';
}

/** The form for the token stands in for a view until the token is good. */
function isLocked(view) {
  return Boolean(VIEWS[view].needsToken) && (state.token !== 'good' || !token());
}

/** Opens the view that the address names, from its beginning. */
function open() {
  current?.leave?.();
  closeClient();
  const view = name();
  const locked = isLocked(view);
  const root = h('div', { class: `view view-${view}` });
  element('main').replaceChildren(root);
  const { update, leave } = (locked ? createTokenForm : VIEWS[view].create)(root);
  current = { view, locked, update, leave };
  show();
}

function show() {
  if (state.cluster && (current?.view !== name() || current.locked !== isLocked(current.view))) return open();
  header();
  banner();
  const sentences = state.cluster ? problems(state.cluster) : [];
  document.title = `${sentences.length ? `(${sentences.length}) ` : ''}${t(name())} · GatewayWorker`;
  document.documentElement.lang = language() === 'zh' ? 'zh-CN' : 'en';
  element('main').classList.toggle('old', state.lostSince !== null);
  current?.update?.();
}

function header() {
  const { cluster } = state;
  const served = cluster && t('servedBy', { version: cluster.version, daemon: cluster.served_by });
  render(
    element('header'),
    h(
      'a',
      {
        class: 'skip',
        href: `#${name()}`,
        onclick: (event) => {
          event.preventDefault();
          element('main').focus();
        },
      },
      t('skip'),
    ),
    h(
      'svg',
      { viewBox: '0 0 32 32', 'aria-hidden': 'true' },
      h('path', { d: 'M7 4h18a4 4 0 0 1 4 4v11a4 4 0 0 1-4 4H15l-7 6v-6H7a4 4 0 0 1-4-4V8a4 4 0 0 1 4-4z' }),
    ),
    h('h1', {}, 'GatewayWorker', h('small', {}, served)),
    h(
      'nav',
      { 'aria-label': t('views') },
      Object.keys(VIEWS).map((view) =>
        h('a', { href: `#${view}`, 'aria-current': view === name() ? 'page' : null }, t(view)),
      ),
    ),
    h(
      'div',
      { class: 'tools' },
      token() ? button(t('forget'), forget, { class: 'quiet', id: 'forget' }) : null,
      button(t('otherLanguage'), changeLanguage, {
        class: 'quiet',
        id: 'language',
        lang: language() === 'zh' ? 'en' : 'zh-CN',
      }),
    ),
  );
}

function banner() {
  const { lostSince, retryAt, readAt, isStale } = state;
  const place = element('banner');
  place.hidden = lostSince === null && !isStale;
  if (place.hidden) return;
  if (lostSince === null) return render(place, t('stale'));
  const left = retryAt === null ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
  render(
    place,
    h('span', {}, readAt ? t('lost', { time: clock(readAt) }) : t('lostNothing')),
    h('span', { class: 'soft', 'aria-hidden': 'true' }, left > 0 ? t('retryIn', { n: left }) : t('retrying')),
  );
}

function forget() {
  forgetToken();
  state.token = 'needed';
  open();
  lookNow();
}

function changeLanguage() {
  switchLanguage();
  open();
}

addEventListener('hashchange', open);
// The seconds until the next try.
setInterval(() => state.lostSince !== null && banner(), 500);
open();
start(show);
