// What the server says of the cluster, asked again and again, and kept: the views read it, app.js starts it.
//
// After a failure it waits longer each time, up to ten seconds; what was known stays, and `lostSince` says since when
// it is old.

import { ApiError, ask, forgetToken, token } from './api.js';
import { Changes } from './changes.js';

const EACH_MS = 1000;
const HIDDEN_MS = 5000;
const WAITS_MS = [1000, 2000, 4000, 7000, 10000];
const FINE_POINTS = 300;
const COARSE_POINTS = 60;
// A server that does not move: its own poller hangs.
const STALE_MS = 5000;

export const state = {
  cluster: null,
  history: { fine: [], coarse: [], now: 0 },
  changes: new Changes(),
  token: 'needed',
  wasRejected: false,
  lostSince: null,
  retryAt: null,
  failures: 0,
  readAt: null,
};

let timer = null;
let whole = 0;
let moved = { at: 0, seen: 0 };

/** Starts to ask; calls `onChange` after each answer and each failure. */
export function start(onChange) {
  let running = false;
  const tick = async () => {
    clearTimeout(timer);
    if (running) return;
    running = true;
    const began = performance.now();
    try {
      await look();
      state.lostSince = state.retryAt = null;
      state.failures = 0;
    } catch (error) {
      if (!(error instanceof ApiError) && error.name !== 'TimeoutError') console.error(error);
      state.lostSince ??= state.readAt ?? Date.now();
      state.failures += 1;
    }
    running = false;
    const wait = state.failures
      ? WAITS_MS[Math.min(state.failures, WAITS_MS.length) - 1]
      : Math.max(200, (document.hidden ? HIDDEN_MS : EACH_MS) - (performance.now() - began));
    state.retryAt = state.failures ? Date.now() + wait : null;
    timer = setTimeout(tick, wait);
    onChange();
  };
  document.addEventListener('visibilitychange', () => document.hidden || tick());
  again = tick;
  tick();
}

let again = () => {};

/** Asks at once, as after a token was given. */
export function lookNow() {
  again();
}

async function look() {
  const limit = { limitMs: 3000 };
  const shown = token();
  const cluster = await ask('/api/cluster', undefined, limit);
  // A token that was given or forgotten meanwhile is not what this answer is about.
  if (token() === shown) {
    // While the address is locked out nobody knows whether the token is good.
    if (shown && cluster.token !== 'good' && cluster.token !== 'locked_out') {
      forgetToken();
      state.wasRejected = true;
    }
    state.token = cluster.token;
  }
  state.cluster = cluster;
  state.readAt = Date.now();
  if (cluster.at_ms !== moved.at) moved = { at: cluster.at_ms, seen: Date.now() };
  state.isStale = Date.now() - moved.seen > STALE_MS;
  state.changes.take(cluster.gateways ?? [], cluster.at_ms);
  await readHistory(limit);
}

async function readHistory(limit) {
  const { history } = state;
  const last = history.fine.at(-1)?.at_ms;
  const after = last === undefined || whole % 30 === 0 ? '' : `?after=${last}`;
  const { now_ms: now, fine, coarse } = await ask(`/api/history${after}`, undefined, limit);
  whole += 1;
  if (after) {
    history.fine = [...history.fine, ...fine.points.filter((point) => point.at_ms > last)].slice(-FINE_POINTS);
    const known = history.coarse.at(-1)?.at_ms ?? 0;
    history.coarse = [...history.coarse, ...coarse.points.filter((point) => point.at_ms > known)].slice(-COARSE_POINTS);
  } else {
    history.fine = fine.points;
    history.coarse = coarse.points;
  }
  history.now = now;
}
