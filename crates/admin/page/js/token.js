// The form for the token, in place of a view that needs one.

import { ask, keepToken } from './api.js';
import { lookNow, state } from './cluster.js';
import { h, render } from './dom.js';
import { t } from './words.js';

/** Shows the form. */
export function createTokenForm(root) {
  const input = h('input', {
    type: 'password',
    id: 'token',
    autocomplete: 'off',
    spellcheck: 'false',
    required: true,
    'aria-describedby': 'token-error',
  });
  const why = state.token === 'locked_out' ? 'tokenTooMany' : state.wasRejected ? 'tokenRejected' : null;
  const error = h('p', { class: 'error', id: 'token-error', role: 'alert' }, why && t(why));
  state.wasRejected = false;
  const submit = async (event) => {
    event.preventDefault();
    const given = input.value.trim();
    if (!given) return;
    render(error);
    try {
      await ask('/api/warnings', undefined, { as: given });
      keepToken(given);
      state.token = 'good';
      lookNow();
    } catch (failure) {
      render(error, { 401: t('tokenWrong'), 429: t('tokenTooMany') }[failure.status] ?? failure.message);
      input.select();
    }
  };
  const form = h('form', { class: 'token panel', onsubmit: submit });
  root.append(form);
  let shown;
  const update = () => {
    const isNone = state.token === 'none';
    if (isNone === shown) return;
    shown = isNone;
    render(
      form,
      isNone
        ? [h('h2', {}, t('tokenNone')), h('p', {}, t('tokenNoneWhy'))]
        : [
            h('h2', {}, t('tokenTitle')),
            h('p', {}, t('tokenWhy')),
            h('label', { for: 'token' }, t('tokenLabel')),
            input,
            error,
            h('button', { class: 'primary' }, t('tokenEnter')),
            h('h3', {}, t('tokenWhere')),
            h('ul', {}, h('li', {}, t('tokenStart')), h('li', {}, t('tokenElse'))),
            h('p', { class: 'soft' }, t('tokenKept')),
          ],
    );
    input.focus();
  };
  update();
  return { update };
}
