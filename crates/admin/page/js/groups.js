// The largest groups of all gateways. A row lists the group's clients.

import { inspect } from './api.js';
import { button, foreign, h, render } from './dom.js';
import { count } from './format.js';
import { go } from './nav.js';
import { table } from './table.js';
import { t } from './words.js';

const LISTED = 100;

export function createGroups(root) {
  let isGone = false;
  const draw = (rows, errors) =>
    render(
      root,
      errors.length ? h('p', { class: 'error', role: 'alert' }, t('incomplete'), ' ', errors.join('; ')) : null,
      h(
        'p',
        { class: 'facts' },
        h('span', { class: 'soft' }, t('groupsNote')),
        ' ',
        button(t('refresh'), read, { class: 'link' }),
      ),
      rows
        ? table(t('largest'), columns(), rows, {
            empty: t('noGroupsAtAll'),
            rowProps: ({ name }) => ({ 'data-key': name }),
          })
        : h('p', { class: 'empty' }, t('loading')),
    );
  const read = async () => {
    try {
      const { found, errors } = await inspect('groups', { limit: LISTED });
      if (!isGone) draw(added(found), errors);
    } catch (error) {
      if (!isGone) draw([], [error.message]);
    }
  };
  draw(null, []);
  read();
  return {
    leave: () => {
      isGone = true;
    },
  };
}

function columns() {
  return [
    {
      key: 'group',
      label: t('group'),
      cell: ({ name }) => button(foreign(name), () => go('clients', { field: 'group', text: name }), { class: 'link' }),
    },
    { key: 'members', label: t('members'), number: true, cell: ({ members }) => count(members) },
    { key: 'gateways', label: t('gateways'), number: true, cell: ({ gateways }) => count(gateways) },
  ];
}

/** The groups of all gateways, the largest first. */
function added(found) {
  const groups = new Map();
  for (const { said } of found) {
    for (const { name, members } of said.groups) {
      const group = groups.get(name) ?? { name, members: 0, gateways: 0 };
      group.members += members;
      group.gateways += 1;
      groups.set(name, group);
    }
  }
  return [...groups.values()].sort((a, b) => b.members - a.members).slice(0, LISTED);
}
