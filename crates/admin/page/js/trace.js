// One client's frames, live, for at most five minutes. The last 500 lines are kept; payloads come only on request.

import { trace } from './api.js';
import { payload } from './client.js';
import { h, render } from './dom.js';
import { bytes, exactClock } from './format.js';
import { taken } from './nav.js';
import { t } from './words.js';

const KEPT = 500;
const SPANS = [60, 120, 300];

/** What is filled in when the view opens again. */
const last = { id: '', seconds: 60, payloads: false };

export function createTrace(root) {
  const handed = taken();
  if (handed?.client) last.id = handed.client;
  const run = { controller: null, endsAt: 0, frames: 0, missed: 0, end: null };

  const id = h('input', {
    type: 'text',
    id: 'trace-id',
    'aria-label': t('id'),
    placeholder: t('id'),
    class: 'mono',
    required: true,
    pattern: ' *[0-9a-fA-F]{20} *',
    autocomplete: 'off',
    autocapitalize: 'off',
    spellcheck: 'false',
    value: last.id,
  });
  const seconds = h(
    'select',
    {},
    SPANS.map((n) => h('option', { value: n, selected: n === last.seconds }, t('minutes', { n: n / 60 }))),
  );
  const payloads = h('input', { type: 'checkbox', id: 'trace-payloads', checked: last.payloads });
  const toggle = h('button', { class: 'primary', id: 'trace-toggle' });
  const about = h('p', { class: 'facts', role: 'status' });
  const list = h('ol', { class: 'frames', tabindex: 0, role: 'log', 'aria-live': 'off', 'aria-label': t('trace') });
  root.append(
    h('p', { class: 'facts soft' }, t('traceWhat')),
    h(
      'form',
      {
        class: 'bar',
        onsubmit: (event) => {
          event.preventDefault();
          if (run.controller) stop(t('traceStopped'));
          else start();
        },
      },
      id,
      h('label', {}, `${t('traceFor')} `, seconds),
      h('label', {}, payloads, ` ${t('withPayloads')}`),
      toggle,
    ),
    about,
    list,
  );

  const start = async () => {
    Object.assign(last, {
      id: id.value.trim().toLowerCase(),
      seconds: Number(seconds.value),
      payloads: payloads.checked,
    });
    const controller = new AbortController();
    Object.assign(run, { controller, endsAt: Date.now() + last.seconds * 1000, frames: 0, missed: 0, end: null });
    list.replaceChildren();
    update();
    try {
      await trace(
        { id: last.id, payloads: last.payloads, seconds: last.seconds },
        (line) => run.controller === controller && take(line),
        controller.signal,
      );
      if (run.controller === controller) stop(run.end ?? '');
    } catch (error) {
      if (run.controller === controller) stop(error.message);
    }
  };
  const stop = (why) => {
    run.controller?.abort();
    run.controller = null;
    run.end = why;
    update();
  };
  const take = (line) => {
    if (line.end !== undefined) run.end = line.end;
    else if (line.missed !== undefined) {
      run.missed += line.missed;
      add(h('li', { class: 'note' }, t('traceMissed', { n: line.missed })));
    } else {
      run.frames += 1;
      add(frame(line));
    }
  };
  const add = (item) => {
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.append(item);
    while (list.childElementCount > KEPT) list.firstElementChild.remove();
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  };
  const update = () => {
    const isOn = run.controller !== null;
    render(toggle, t(isOn ? 'stop' : 'start'));
    for (const field of [id, seconds, payloads]) field.disabled = isOn;
    const words = [
      isOn || run.frames || run.end !== null ? t('traceKept', { n: run.frames }) : null,
      run.frames > KEPT ? t('traceKeptOnly', { n: KEPT }) : null,
      run.missed ? t('traceMissed', { n: run.missed }) : null,
      isOn ? t('secondsLeft', { n: Math.max(0, Math.ceil((run.endsAt - Date.now()) / 1000)) }) : null,
      isOn && !run.frames ? t('traceWaits') : null,
      run.end ? t('traceEnded', { why: run.end }) : null,
    ];
    render(about, words.filter(Boolean).join(' · '));
  };
  update();
  // The seconds that are left, and the number of frames.
  const timer = setInterval(() => run.controller && update(), 500);
  if (handed?.client) start();
  return {
    leave: () => {
      clearInterval(timer);
      run.controller?.abort();
      run.controller = null;
    },
  };
}

function frame(line) {
  const { at_ms: at, direction, kind } = line;
  return h(
    'li',
    { 'data-direction': direction },
    h('time', { class: 'soft' }, exactClock(at)),
    h('span', { class: 'direction' }, direction === 'in' ? `→ ${t('in')}` : `← ${t('out')}`),
    h('span', { translate: 'no' }, kind),
    h('span', { class: 'number' }, bytes(line.bytes)),
    h('span', { class: 'what' }, payload(line)),
  );
}
