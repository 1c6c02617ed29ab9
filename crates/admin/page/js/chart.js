// A moving line chart: a number over the last minutes, drawn as SVG without a library. The overview has four of them.
//
// The drawing has the width of 1000 and the height of 100, and is stretched; words stand beside it as HTML. A point
// that is not known leaves a gap.

import { h } from './dom.js';
import { clock } from './format.js';
import { t } from './words.js';

const WIDTH = 1000;
const HEIGHT = 100;

/** Which instant is pointed at, by the chart's name: kept from one drawing to the next. */
const pointed = new Map();

/** Makes a chart. `series` are { label, of(point) }; `now` and `spanMs` are the right edge and the width in time. */
export function chart({ name, title, points, series, now, spanMs, stepMs, format, again }) {
  const most = Math.max(0, ...points.flatMap((point) => series.map(({ of }) => of(point) ?? 0)));
  const top = nice(most);
  const x = (atMs) => ((atMs - (now - spanMs)) / spanMs) * WIDTH;
  const y = (value) => HEIGHT - (value / top) * HEIGHT;
  const at = pointed.get(name);
  const share = at === undefined ? null : at;
  const point = share === null ? points.at(-1) : nearest(points, now - spanMs + share * spanMs);
  const values = series.map(({ of }) => format(point ? of(point) : null));
  const label = t('chartSays', { name: title, now: values.join(' / '), most: format(most) });
  const pointTo = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    pointed.set(name, Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
    again();
  };
  const leave = () => {
    pointed.delete(name);
    again();
  };
  return h(
    'section',
    { class: 'chart', 'data-key': name },
    h('h2', {}, title, h('small', {}, share !== null && point ? clock(point.at_ms) : null)),
    h(
      'p',
      { class: 'value' },
      series.map(({ label: of }, n) => h('span', {}, values[n], of ? h('small', { 'data-series': n }, of) : null)),
    ),
    h(
      'div',
      { class: 'plot', onpointermove: pointTo, onpointerleave: leave },
      points.length ? null : h('p', { class: 'empty' }, t('noPoints')),
      h(
        'svg',
        { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
        h('line', { class: 'grid', x1: 0, x2: WIDTH, y1: 0, y2: 0 }),
        h('line', { class: 'grid', x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2 }),
        h('line', { class: 'base', x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }),
        series.map(({ of }, n) =>
          curves(points, of, x, y, stepMs).flatMap((line) => [
            h('path', { class: 'area', 'data-series': n, d: `${line.d}V${HEIGHT}H${line.from}Z` }),
            h('path', { class: 'line', 'data-series': n, d: line.d }),
          ]),
        ),
      ),
      h('span', { class: 'tick' }, format(top)),
      h('span', { class: 'tick', style: { top: '50%' } }, format(top / 2)),
      share !== null && point
        ? h('span', { class: 'cursor', style: { left: `${x(point.at_ms) / (WIDTH / 100)}%` } })
        : null,
    ),
    h('p', { class: 'axis' }, h('span', {}, t('minutesAgo', { n: spanMs / 60000 })), h('span', {}, t('now'))),
  );
}

/** The pieces of a line between gaps. */
function curves(points, of, x, y, stepMs) {
  const lines = [];
  let line = null;
  let last = -Infinity;
  for (const point of points) {
    const value = of(point);
    if (value === null || value === undefined) {
      line = null;
      continue;
    }
    const place = `${round(x(point.at_ms))} ${round(y(value))}`;
    if (line && point.at_ms - last < stepMs * 3.5) line.d += `L${place}`;
    else lines.push((line = { from: round(x(point.at_ms)), d: `M${place}` }));
    last = point.at_ms;
  }
  return lines;
}

function round(value) {
  return Math.round(value * 10) / 10;
}

function nearest(points, atMs) {
  return points.reduce(
    (best, point) => (!best || Math.abs(point.at_ms - atMs) < Math.abs(best.at_ms - atMs) ? point : best),
    null,
  );
}

/** The least round number that is not below this one. */
function nice(most) {
  if (most <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= most);
}
