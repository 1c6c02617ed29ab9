// The server's JSON API: the token, requests, and the stream of a trace.
//
// The token is kept in sessionStorage and goes into a header; it is never in a URL. Nothing here touches the page.

const KEY = 'gatewayworker-admin-token';
const LIMIT_MS = 15000;

/** An answer that is no answer, by its code, or `unreachable` where there was none. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export function token() {
  return sessionStorage.getItem(KEY);
}

export function keepToken(given) {
  sessionStorage.setItem(KEY, given);
}

export function forgetToken() {
  sessionStorage.removeItem(KEY);
}

// A number in a session may have more digits than a JavaScript number keeps.
function exact(_, value, context) {
  const isRounded = Number.isInteger(value) && !Number.isSafeInteger(value);
  return isRounded && context?.source && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
}

async function request(path, { body, signal, as = token() } = {}) {
  const headers = as ? { Authorization: `Bearer ${as}` } : {};
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const options = {
    method: body === undefined ? 'GET' : 'POST',
    headers,
    cache: 'no-store',
    credentials: 'omit',
    signal,
  };
  if (body !== undefined) options.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, 'unreachable', error.message);
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  const { code = 'failed', message = `${response.status} ${response.statusText}` } = answer?.error ?? {};
  throw new ApiError(response.status, code, message);
}

/** Sends a request and reads its answer, which must be there within `limitMs`. Without a body it is a GET. */
export async function ask(path, body, { limitMs = LIMIT_MS, as } = {}) {
  const response = await request(path, { body, as, signal: AbortSignal.timeout(limitMs) });
  try {
    return JSON.parse(await response.text(), exact);
  } catch (error) {
    throw new ApiError(response.status, 'unreachable', error.message);
  }
}

/** Makes a call of the Gateway API, and returns its result. */
export async function call(name, params) {
  const answer = await ask('/api/call', { call: name, params }, { limitMs: 60000 });
  return answer.result;
}

/** Asks gateways, and returns what they said about `what` (`clients`, `client`, …), and the sentences of the others. */
export async function inspect(what, request = {}) {
  const { answers } = await ask('/api/inspect', { about: what, ...request });
  const found = [];
  const errors = [];
  for (const { gateway, answer, error } of answers) {
    const said = answer?.error ?? error;
    if (answer && what in answer) found.push({ gateway, said: answer[what] });
    else errors.push(`${gateway}: ${said ?? '?'}`);
  }
  return { found, errors };
}

/** Follows a client's frames, one call of `onLine` each, until the trace ends or `signal` aborts. */
export async function trace(body, onLine, signal) {
  const response = await request('/api/trace', { body, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) if (line.trim()) onLine(JSON.parse(line));
  }
}
