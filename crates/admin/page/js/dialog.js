// Asks before something is done that cannot be taken back, and copies text. The client's page and the calls use it.

import { button, h } from './dom.js';
import { t } from './words.js';

/** Shows a question. Returns what the field says (or true where there is none) if it was agreed to, else null. */
export function confirm({ title, words, agree, field }) {
  return new Promise((resolve) => {
    const input = field ? h('input', { type: 'text', 'aria-label': words, autocomplete: 'off' }) : null;
    const end = (answer) => {
      dialog.remove();
      resolve(answer);
    };
    const dialog = h(
      'dialog',
      {
        class: 'ask',
        onsubmit: (event) => {
          event.preventDefault();
          end(input ? input.value : true);
        },
      },
      h(
        'form',
        {},
        h('h2', {}, title),
        words ? h('p', {}, words) : null,
        input,
        h(
          'div',
          { class: 'actions' },
          button(t('cancel'), () => end(null)),
          h('button', { class: 'danger' }, agree),
        ),
      ),
    );
    dialog.addEventListener('close', () => end(null));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A button that copies what `text()` returns. */
export function copyButton(text) {
  return button(
    t('copy'),
    async (event) => {
      const self = event.currentTarget;
      try {
        await navigator.clipboard.writeText(text());
      } catch {
        copyBySelection(text());
      }
      self.textContent = t('copied');
      setTimeout(() => {
        self.textContent = t('copy');
      }, 1500);
    },
    { class: 'quiet' },
  );
}

// Over plain HTTP from another host there is no clipboard to write to.
function copyBySelection(text) {
  const field = h('textarea', { class: 'sr' });
  field.value = text;
  (document.querySelector('dialog[open]') ?? document.body).append(field);
  field.select();
  document.execCommand('copy');
  field.remove();
}
