// Makes elements, and brings what is shown to a new state in place, so that focus, selection and scrolling stay.
//
// Text gets into the page here only, and only as text: uids, groups, sessions and payloads come from clients. The
// views call `h` for elements and `render` to show them.

const SVG = new Set(['svg', 'path', 'line', 'circle']);
const HANDLERS = ['onclick', 'onsubmit', 'onchange', 'oninput', 'onpointermove', 'onpointerleave'];

/** Makes an element. `on…` are handlers, `style` is an object, all else are attributes; a false one is left out. */
export function h(tag, props = {}, ...children) {
  const node = SVG.has(tag) ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node[name] = value;
    else if (name === 'style') for (const [key, to] of Object.entries(value)) node.style.setProperty(key, to);
    else if (name === 'value' && tag !== 'option') node.value = value;
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...flat(children));
  return node;
}

/** Shows these children in `parent`. Elements that are there already are changed, not replaced; `data-key` says which
 * row of a list is which. */
export function render(parent, ...children) {
  const focused = document.activeElement;
  morphChildren(parent, flat(children));
  // A row that has moved has lost the focus.
  if (focused && focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

function morphChildren(parent, children) {
  const keyed = new Map();
  for (const child of parent.children) if (child.dataset.key !== undefined) keyed.set(child.dataset.key, child);
  let next = parent.firstChild;
  for (const child of children) {
    const fresh = child instanceof Node ? child : document.createTextNode(child);
    const key = fresh.dataset?.key;
    const old = key === undefined ? next : keyed.get(key);
    if (!old || old.nodeName !== fresh.nodeName || old.dataset?.key !== key) {
      parent.insertBefore(fresh, next);
    } else {
      if (old === next) next = next.nextSibling;
      else parent.insertBefore(old, next);
      morph(old, fresh);
    }
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
}

function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes])
    if (name !== 'open' && !fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes]) {
    if (name === 'style') continue;
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (fresh.style.length || old.style.length) old.style.cssText = fresh.style.cssText;
  for (const name of HANDLERS) old[name] = fresh[name];
  morphChildren(old, [...fresh.childNodes]);
}

// Characters that are not seen, or that turn the direction of what stands behind them.
const UNSEEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

function escape(letter) {
  return `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** Text of a client, for one line: control characters and changes of direction are shown as escapes. */
export function shown(text) {
  return String(text).replace(UNSEEN, escape);
}

/** The same, where the lines of the text are to be seen. */
export function shownLines(text) {
  return String(text).replace(UNSEEN, (letter) => (letter === '\n' || letter === '\t' ? letter : escape(letter)));
}

/** A client's text in an element of its own, so that its direction stays within. */
export function foreign(text, props = {}) {
  return h('bdi', { translate: 'no', ...props }, shown(text));
}

/** A name of the system (an id, an address, a reason), which is the same in every language. */
export function mono(text) {
  return foreign(text, { class: 'mono' });
}

/** A button that acts at once, without a form. */
export function button(label, onclick, props = {}) {
  return h('button', { type: 'button', onclick, ...props }, label);
}
