// The clients of all gateways: found by id, uid, group, address or listener, and sorted. A row opens the client's page
// (client.js).

import { inspect } from './api.js';
import { openClient } from './client.js';
import { button, foreign, h, mono, render } from './dom.js';
import { bytes, count, DASH, duration } from './format.js';
import { taken } from './nav.js';
import { table } from './table.js';
import { t } from './words.js';

const EACH_MS = 2000;
const FIELDS = ['id', 'uid', 'group', 'address', 'listener'];
const SORTS = ['outbox', 'age', 'messages', 'unfinished', 'oldest'];
const LIMITS = [20, 50, 100, 500];

/** What was looked for last, while the page is open. */
const query = { field: '', text: '', sort: 'outbox', limit: 20, isLive: true };

/** The columns of a list of clients; `sorts` are those by which it can be sorted. */
export function clientColumns(sorts = []) {
  const by = (key, order) => (sorts.includes(key) ? { order } : {});
  return [
    {
      key: 'client',
      label: t('client'),
      cell: ({ id, uid, is_pending: isPending }) => [
        button(uid ? foreign(uid) : mono(id), () => openClient(id), { class: 'link' }),
        uid ? h('small', {}, mono(id)) : null,
        isPending ? h('small', {}, t('pending')) : null,
      ],
    },
    {
      key: 'outbox',
      label: t('outbox'),
      number: true,
      cell: (one) => bytes(one.outbox_bytes),
      ...by('outbox', (one) => one.outbox_bytes),
    },
    {
      key: 'unfinished',
      label: t('unfinished'),
      number: true,
      cell: (one) => count(one.unfinished),
      ...by('unfinished', (one) => one.unfinished),
    },
    {
      key: 'oldest',
      label: t('oldest'),
      number: true,
      cell: (one) => duration(one.oldest_ms || undefined),
      ...by('oldest', (one) => one.oldest_ms),
    },
    {
      key: 'messages',
      label: t('messages'),
      number: true,
      cell: (one) => count(one.messages),
      ...by('messages', (one) => one.messages),
    },
    {
      key: 'age',
      label: t('age'),
      number: true,
      cell: (one) => duration(one.age_ms),
      ...by('age', (one) => one.age_ms),
    },
    { key: 'groups', label: t('groups'), number: true, cell: (one) => count(one.groups) },
    { key: 'address', label: t('address'), wide: true, cell: ({ address }) => mono(address ?? DASH) },
    { key: 'worker', label: t('worker'), isMinor: true, cell: ({ worker }) => mono(worker || DASH) },
  ];
}

/** The rows that several gateways have listed: the first of them all. */
export function merged(found, sort, limit) {
  const value = { outbox: 'outbox_bytes', age: 'age_ms', oldest: 'oldest_ms' }[sort] ?? sort;
  const rows = found.flatMap(({ said }) => said.clients).sort((a, b) => (b[value] ?? -1) - (a[value] ?? -1));
  return { rows: rows.slice(0, limit), total: found.reduce((sum, { said }) => sum + said.total, 0) };
}

export function createClients(root) {
  const handed = taken();
  if (handed) Object.assign(query, { field: handed.field, text: handed.text });
  let answer = null;
  let failure = null;
  let timer = null;
  let asked = 0;

  const list = h('div', { class: 'list' });
  const about = h('p', { class: 'facts', role: 'status' });
  const field = h(
    'select',
    { 'aria-label': t('findBy') },
    h('option', { value: '' }, t('anyClient')),
    FIELDS.map((name) => h('option', { value: name, selected: name === query.field }, t(name))),
  );
  const text = h('input', {
    type: 'search',
    id: 'find',
    'aria-label': t('findWhat'),
    autocomplete: 'off',
    autocapitalize: 'off',
    spellcheck: 'false',
    value: query.text,
  });
  const sort = h(
    'select',
    {
      onchange: () => {
        query.sort = sort.value;
        ask();
      },
    },
    SORTS.map((name) => h('option', { value: name, selected: name === query.sort }, t(name))),
  );
  const limit = h(
    'select',
    {
      onchange: () => {
        query.limit = Number(limit.value);
        ask();
      },
    },
    LIMITS.map((n) => h('option', { value: n, selected: n === query.limit }, String(n))),
  );
  const live = h('input', {
    type: 'checkbox',
    checked: query.isLive,
    onchange: () => {
      query.isLive = live.checked;
      ask();
    },
  });

  const submit = (event) => {
    event.preventDefault();
    const given = text.value.trim();
    if (given && !field.value) field.value = /^[0-9a-f]{20}$/i.test(given) ? 'id' : 'uid';
    Object.assign(query, { field: given ? field.value : '', text: given });
    ask();
  };
  root.append(
    h(
      'form',
      { class: 'bar', role: 'search', onsubmit: submit },
      h('span', { class: 'joined' }, field, text, h('button', { class: 'primary' }, t('find'))),
      h('label', {}, `${t('sortBy')} `, sort),
      h('label', {}, `${t('rows')} `, limit),
      h('label', {}, live, ` ${t('live')}`),
    ),
    about,
    list,
  );

  const isHeld = () =>
    list.matches(':hover') ||
    (list.contains(document.activeElement) && document.activeElement.matches(':focus-visible'));

  const ask = async () => {
    clearTimeout(timer);
    const number = ++asked;
    const request = { sort: query.sort, limit: query.limit };
    if (query.field) request[query.field] = query.text;
    try {
      const { found, errors } = await inspect('clients', request);
      if (number !== asked) return;
      answer = { ...merged(found, query.sort, query.limit), errors };
      failure = null;
    } catch (error) {
      if (number !== asked) return;
      failure = error.message;
    }
    draw();
    later();
  };
  const later = () => {
    clearTimeout(timer);
    if (!query.isLive) return;
    timer = setTimeout(() => (document.hidden || isHeld() ? (draw(), later()) : ask()), EACH_MS);
  };
  const draw = () => {
    render(
      about,
      answer ? t('ofClients', { shown: answer.rows.length, total: answer.total }) : failure ? null : t('loading'),
      query.isLive && isHeld() ? h('span', { class: 'soft' }, ` · ${t('held')}`) : null,
    );
    render(
      list,
      failure ? h('p', { class: 'error', role: 'alert' }, failure) : null,
      answer?.errors.length
        ? h(
            'div',
            { class: 'error' },
            t('incomplete'),
            h(
              'ul',
              { lang: 'en' },
              answer.errors.map((error) => h('li', {}, error)),
            ),
          )
        : null,
      answer
        ? table(t('clients'), clientColumns(), answer.rows, {
            empty: t('noClients'),
            rowProps: ({ id }) => ({ 'data-key': id }),
          })
        : null,
    );
  };
  draw();
  ask();
  if (handed?.client) openClient(handed.client);
  return {
    leave: () => {
      asked += 1;
      clearTimeout(timer);
    },
  };
}
