// One client's page, over the view: what the gateway knows of it, its session, what waits to be written to it, and
// what can be done with it: send, kick, trace. It is asked again every two seconds.

import { call, inspect } from './api.js';
import { confirm, copyButton } from './dialog.js';
import { button, foreign, h, mono, render, shown, shownLines } from './dom.js';
import { bytes, count, DASH, duration } from './format.js';
import { go } from './nav.js';
import { table } from './table.js';
import { t } from './words.js';

const EACH_MS = 2000;

let shutOpen = () => {};

/** Closes the page, if it is open. */
export function closeClient() {
  shutOpen();
}

/** Opens the page of a client. */
export function openClient(id) {
  closeClient();
  const view = { id, client: undefined, outbox: null, payloads: false, failure: null, said: null };
  const body = h('div', { class: 'drawer-body' });
  const said = h('p', { class: 'said', role: 'status' });
  const message = h('textarea', { rows: 2, 'aria-label': t('sendWhat'), placeholder: t('sendWhat') });
  const form = h(
    'form',
    {
      class: 'send',
      onsubmit: (event) => {
        event.preventDefault();
        act('send_to_client', { message: message.value }, 'sentTo').then((done) => {
          if (done) message.value = '';
        });
      },
    },
    message,
    h('button', { class: 'primary' }, t('send')),
  );
  const head = h('div', { class: 'drawer-head' });
  const dialog = h('dialog', { class: 'drawer', 'aria-label': t('client'), tabindex: -1 }, head, said, form, body);
  let timer;

  const shut = () => {
    clearTimeout(timer);
    shutOpen = () => {};
    dialog.remove();
  };
  shutOpen = shut;
  dialog.addEventListener('close', shut);
  // A click beside the page closes it.
  dialog.onclick = (event) => {
    if (event.target === dialog) shut();
  };

  const act = async (name, params, done) => {
    try {
      const answer = await call(name, { client_id: id, ...params });
      const unreached = answer?.unreached ?? [];
      view.said = unreached.length
        ? t('unreachedWas', { gateways: unreached.map(({ gateway }) => gateway).join(', ') })
        : t(done);
      draw();
      return !unreached.length;
    } catch (error) {
      view.said = error.message;
      draw();
      return false;
    }
  };
  const kick = async () => {
    const last = await confirm({
      title: t('kickAsk', { client: name() }),
      words: t('kickWords'),
      agree: t('kick'),
      field: true,
    });
    if (last !== null && (await act('close_client', last ? { message: last } : {}, 'kicked'))) read();
  };
  const name = () => (view.client?.uid ? `${shown(view.client.uid)} (${id})` : id);

  const read = async () => {
    clearTimeout(timer);
    try {
      const [client, outbox] = await Promise.all([
        inspect('client', { id }),
        inspect('outbox', { id, payloads: view.payloads }).catch(() => null),
      ]);
      const answered = client.found.map(({ said: one }) => one).filter(Boolean);
      view.client = answered[0] ?? (client.errors.length ? view.client : null);
      view.failure = answered.length ? null : (client.errors[0] ?? null);
      view.outbox = outbox?.found.map(({ said: one }) => one).filter(Boolean)[0] ?? null;
    } catch (error) {
      view.failure = error.message;
    }
    if (!dialog.isConnected) return;
    draw();
    clearTimeout(timer);
    timer = setTimeout(read, EACH_MS);
  };
  const draw = () => {
    const { client } = view;
    render(
      head,
      h(
        'h2',
        {},
        client?.uid
          ? foreign(client.uid)
          : h('span', { class: 'soft' }, client === undefined ? t('loading') : t('noUid')),
        h('small', {}, mono(id)),
      ),
      copyButton(() => id),
      button(t('trace'), () => go('trace', { client: id }), { id: 'client-trace' }),
      button(t('kick'), kick, { class: 'danger', id: 'client-kick', disabled: !client }),
      button('×', shut, { class: 'quiet close', 'aria-label': t('close') }),
    );
    render(said, view.said, view.failure ? h('span', { class: 'error' }, view.failure) : null);
    form.hidden = !client;
    render(
      body,
      client === null ? h('p', { class: 'empty' }, t('gone')) : null,
      client ? [facts(client), groups(client), session(client)] : null,
      client
        ? outboxPanel(view, (payloads) => {
            view.payloads = payloads;
            read();
          })
        : null,
    );
  };
  document.body.append(dialog);
  draw();
  dialog.showModal();
  dialog.focus();
  read();
}

function facts(client) {
  const all = [
    [t('age'), duration(client.age_ms)],
    [t('silentFor'), duration(client.silent_ms)],
    [t('messages'), count(client.messages)],
    [t('outbox'), bytes(client.outbox_bytes)],
    [t('unfinished'), count(client.unfinished)],
    [t('oldest'), duration(client.oldest_ms || undefined)],
    [t('address'), mono(client.address ?? DASH)],
    [t('listener'), mono(client.listener)],
    [t('worker'), mono(client.worker || DASH)],
  ];
  return [
    h(
      'dl',
      { class: 'grid' },
      all.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
    ),
    client.is_paused ? h('p', { class: 'badge wait' }, t('paused')) : null,
    client.is_pending ? h('p', { class: 'badge wait' }, t('pending')) : null,
  ];
}

function groups({ group_names: names = [], groups: total }) {
  return h(
    'section',
    {},
    h('h3', {}, t('groups'), h('small', {}, count(total ?? names.length))),
    names.length
      ? h(
          'p',
          { class: 'chips' },
          names.map((name) =>
            button(foreign(name), () => go('clients', { field: 'group', text: name }), { class: 'chip' }),
          ),
        )
      : h('p', { class: 'empty' }, t('noGroups')),
  );
}

function session({ session: value, session_bytes: size }) {
  return h(
    'section',
    {},
    h('h3', {}, t('session'), h('small', {}, bytes(size))),
    value === null || value === undefined
      ? h('p', { class: 'empty' }, t('sessionHidden', { size: bytes(size) }))
      : h('pre', { tabindex: 0, id: 'session', translate: 'no' }, shownLines(JSON.stringify(value, null, 2))),
  );
}

function outboxPanel({ client, outbox, payloads }, setPayloads) {
  const frames = outbox?.frames ?? [];
  const choice = h(
    'label',
    {},
    h('input', { type: 'checkbox', checked: payloads, onchange: (event) => setPayloads(event.target.checked) }),
    ` ${t('showPayloads')}`,
  );
  const columns = [
    { key: 'kind', label: t('kind'), cell: ({ kind }) => mono(kind) },
    { key: 'size', label: t('size'), number: true, cell: (frame) => bytes(frame.bytes) },
    ...(payloads ? [{ key: 'payload', label: t('payload'), wide: true, cell: (frame) => payload(frame) }] : []),
  ];
  return h(
    'section',
    {},
    h('h3', {}, t('outboxOf'), h('small', {}, bytes(outbox?.bytes ?? client.outbox_bytes))),
    outbox?.is_blocked ? h('p', { class: 'bad' }, t('blocked')) : null,
    choice,
    table('', columns, frames, { empty: outbox || !client.outbox_bytes ? t('outboxEmpty') : DASH }),
    outbox && outbox.total > frames.length ? h('p', { class: 'soft' }, t('outboxMore', { n: outbox.total })) : null,
  );
}

/** What a frame says, as far as it is shown. */
export function payload({ payload: text, payload_base64: base64, cut, code }) {
  const value = text ?? base64;
  const closeCode = code ? `${t('code')} ${code} ` : null;
  if (value === null || value === undefined) return closeCode ?? '';
  return [
    closeCode,
    h('span', { class: 'mono payload', translate: 'no' }, h('bdi', {}, shown(value))),
    base64 ? h('small', { translate: 'no' }, 'base64') : null,
    cut ? h('small', {}, t('cut')) : null,
  ];
}
