// Any call of the Gateway API: a form made of its params, the result, and the command lines that do the same.

import { ask, call } from './api.js';
import { confirm, copyButton } from './dialog.js';
import { h, mono, render, shownLines } from './dom.js';
import { commandLine, curlLine } from './shell.js';
import { t } from './words.js';

// Calls that reach many clients or end connections: they are asked for once more.
const HEAVY = /^(close_|destroy_|ungroup|send_to_all|send_to_group)/;
const FIELDS = ['uid', 'groups', 'session'];
const LISTS = ['client_ids', 'uids', 'groups'];

let table = null;
let chosen = null;

export function createCall(root) {
  const select = h('select', {
    id: 'call',
    onchange: () => {
      chosen = select.value;
      build();
    },
  });
  const form = h('form', {
    class: 'panel call',
    onsubmit: (event) => {
      event.preventDefault();
      make();
    },
  });
  const result = h('section', { class: 'panel', hidden: true });
  const lines = h('section', { class: 'panel' });
  root.append(h('div', { class: 'bar' }, h('label', {}, `${t('callWhat')} `, select)), form, result, lines);
  let fields = [];

  const current = () => table.find(({ name }) => name === chosen);
  const build = () => {
    const one = current();
    fields = one.params.map(fieldOf);
    form.replaceChildren(
      h('h2', {}, mono(one.name)),
      h('p', { class: 'soft', lang: 'en' }, one.title),
      ...(fields.length ? fields.map(({ row }) => row) : [h('p', { class: 'empty' }, t('noParams'))]),
      h('button', { class: 'primary', id: 'make' }, t('make')),
    );
    form.oninput = write;
    result.hidden = true;
    write();
  };
  const values = () =>
    Object.fromEntries(fields.map(({ name, value }) => [name, value()]).filter(([, value]) => value !== undefined));
  const write = () => {
    let given = {};
    try {
      given = values();
    } catch {
      return;
    }
    const { name, params } = current();
    const line = (words, text) => [
      h('h3', {}, words),
      h(
        'div',
        { class: 'copyable' },
        h('pre', { tabindex: 0, translate: 'no' }, text),
        copyButton(() => text),
      ),
    ];
    render(lines);
    render(
      lines,
      line(
        t('inAShell'),
        commandLine(
          name,
          params.map((param) => ({ ...param, kind: kindOf(param) })),
          given,
        ),
      ),
      line(t('overHttp'), curlLine(location.origin, name, given)),
    );
  };
  const make = async () => {
    const { name } = current();
    const show = (...what) => {
      result.hidden = false;
      render(result, h('h2', {}, t('result')), what);
    };
    const fail = (error) => show(h('p', { class: 'error', role: 'alert' }, error.message));
    try {
      const given = values();
      if (HEAVY.test(name) && (await confirm({ title: t('makeAsk', { call: name }), agree: t('make') })) === null)
        return;
      const answer = await call(name, given);
      const isDone = Array.isArray(answer?.unreached) && !answer.unreached.length;
      show(
        isDone ? h('p', { role: 'status' }, t('done')) : null,
        h('pre', { tabindex: 0, id: 'result', translate: 'no' }, shownLines(JSON.stringify(answer, null, 2))),
      );
    } catch (error) {
      fail(error);
    }
  };
  const open = () => {
    const [commands, questions] = [[], []];
    for (const one of table)
      (isCommand(one) ? commands : questions).push(
        h('option', { value: one.name, selected: one.name === chosen }, one.name),
      );
    select.replaceChildren(
      h('optgroup', { label: t('commands') }, ...commands),
      h('optgroup', { label: t('questions') }, ...questions),
    );
    chosen ??= table[0].name;
    build();
  };
  if (table) open();
  else {
    ask('/api/calls').then(
      (calls) => {
        table = calls;
        open();
      },
      (error) => render(form, h('p', { class: 'error', role: 'alert' }, error.message)),
    );
  }
  return {};
}

function isCommand({ answers }) {
  return ['nothing', 'delivery'].includes(answers);
}

/** The kind of a param, as the library's table names it. */
function kindOf({ kind }) {
  return kind.replace(/([a-z])([A-Z])/g, '$1_$2').toLowerCase();
}

/** Makes the field of a param; `value()` returns what was given, or nothing, and throws where it is no JSON. */
function fieldOf(param) {
  const { name, required, about } = param;
  const kind = kindOf(param);
  const id = `param-${name}`;
  const common = {
    id,
    autocomplete: 'off',
    autocapitalize: 'off',
    spellcheck: 'false',
    'aria-describedby': `${id}-about`,
  };
  const json = (text) => {
    try {
      return JSON.parse(text);
    } catch {
      throw new Error(t('badJson', { param: name }));
    }
  };
  let input;
  let value;
  if (kind === 'flag') {
    input = h('input', { type: 'checkbox', ...common });
    value = () => (input.checked ? true : undefined);
  } else if (kind === 'fields') {
    input = h(
      'select',
      { multiple: true, size: FIELDS.length, ...common },
      FIELDS.map((field) => h('option', { value: field }, field)),
    );
    value = () => (input.selectedOptions.length ? [...input.selectedOptions].map((option) => option.value) : undefined);
  } else if (kind === 'session' || kind === 'where') {
    input = h('textarea', { rows: 3, class: 'mono', placeholder: '{ }', ...common });
    value = () => (input.value.trim() ? json(input.value) : undefined);
  } else if (LISTS.includes(kind)) {
    input = h('textarea', { rows: 2, placeholder: t('listHint'), ...common });
    value = () => {
      const all = input.value
        .split('\n')
        .map((line) => line.trim())
        .filter(Boolean);
      return all.length > 1 ? all : all[0];
    };
  } else {
    input = kind === 'message' ? h('textarea', { rows: 3, ...common }) : h('input', { type: 'text', ...common });
    value = () => (input.value ? input.value : undefined);
  }
  const row = h(
    'div',
    { class: `field${kind === 'flag' ? ' flag' : ''}` },
    h('label', { for: id }, mono(name), required ? h('small', {}, t('required')) : null),
    input,
    h('small', { class: 'soft', id: `${id}-about`, lang: 'en' }, about),
  );
  return { name, row, value };
}
