// Which view is shown. The hash of the address has its name, and nothing of a client: what a view is to show at first
// (a client's id, a group) is handed over in memory.

let handed = null;

/** Opens a view, with what it is to show. */
export function go(view, what = null) {
  handed = what;
  if (here() === view) window.dispatchEvent(new HashChangeEvent('hashchange'));
  else location.hash = view;
}

/** The name of the view in the address. */
export function here() {
  return location.hash.slice(1).split('/')[0];
}

/** Takes what was handed to the view that opens. */
export function taken() {
  const what = handed;
  handed = null;
  return what;
}
