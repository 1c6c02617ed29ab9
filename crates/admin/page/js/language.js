// The language of the page: the browser's at first, then what the user has chosen, kept in localStorage.

const KEY = 'gatewayworker-admin-language';

let chosen = localStorage.getItem(KEY) ?? (/^zh\b/i.test(navigator.language) ? 'zh' : 'en');

/** `en` or `zh`. */
export function language() {
  return chosen === 'zh' ? 'zh' : 'en';
}

export function switchLanguage() {
  chosen = language() === 'zh' ? 'en' : 'zh';
  localStorage.setItem(KEY, chosen);
}
