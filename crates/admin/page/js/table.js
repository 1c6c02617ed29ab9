// A table that can be sorted, and that becomes cards where the page is narrow. The views hand it columns and rows.
//
// A column: { key, label, cell(row), number, order(row) }. One with `order` can be sorted by, the highest first; the
// first column stands at the head of a card, and one that `isMinor` is not on it. The sort is the caller's: { key, pick(key) }.

import { h } from './dom.js';
import { t } from './words.js';

/** Makes the table. `rowProps(row)` has the attributes of a row, its `data-key` among them; one that `isSmall` is never
 * turned into cards, and `tools` stand beside the caption. */
export function table(caption, columns, rows, { sort, rowProps = () => ({}), empty, note, isSmall, tools } = {}) {
  const title = caption ? h('h2', {}, caption, note ? h('small', {}, note) : null) : null;
  const head =
    title || sort || tools
      ? h('div', { class: 'panel-head' }, title, tools, sort ? picker(columns, sort) : null)
      : null;
  if (!rows.length) return h('section', { class: 'panel' }, head, h('p', { class: 'empty' }, empty));
  const sorted = sort
    ? inOrder(
        rows,
        columns.find(({ key }) => key === sort.key),
      )
    : rows;
  return h(
    'section',
    { class: 'panel' },
    head,
    h(
      'table',
      { class: isSmall ? 'small' : null },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          columns.map((column) => heading(column, sort)),
        ),
      ),
      h(
        'tbody',
        {},
        sorted.map((row) =>
          h(
            'tr',
            rowProps(row),
            columns.map((column) => cell(column, row)),
          ),
        ),
      ),
    ),
  );
}

function inOrder(rows, column) {
  if (!column?.order) return rows;
  const high = (row) => column.order(row) ?? -1;
  return [...rows].sort((a, b) => (typeof high(a) === 'string' ? high(a).localeCompare(high(b)) : high(b) - high(a)));
}

function heading({ key, label, number, order }, sort) {
  const props = { scope: 'col', class: number ? 'number' : null };
  if (!sort || !order) return h('th', props, label);
  const isChosen = sort.key === key;
  return h(
    'th',
    { ...props, 'aria-sort': isChosen ? 'descending' : null },
    h('button', { type: 'button', class: 'sort', onclick: () => sort.pick(key) }, label),
  );
}

/** The choice of the order where the headings are not seen. */
function picker(columns, sort) {
  const options = columns
    .filter(({ order }) => order)
    .map(({ key, label }) => h('option', { value: key, selected: key === sort.key }, label));
  return h(
    'label',
    { class: 'narrow-only' },
    `${t('sortBy')} `,
    h('select', { onchange: (event) => sort.pick(event.target.value) }, options),
  );
}

function cell({ label, cell: make, number, wide, isMinor }, row) {
  const made = make(row);
  const { text, className } = made && made.text !== undefined && !(made instanceof Node) ? made : { text: made };
  const names = [number ? 'number' : '', className ?? '', wide ? 'wide' : '', isMinor ? 'minor' : '']
    .filter(Boolean)
    .join(' ');
  return h('td', { 'data-label': label, class: names || null }, h('div', {}, text));
}
