// The client that an application holds: sockets, timers and listeners around the core, which decides.
//
// It hands what happens to `core.ts` and does what the core has put out. It decides nothing by itself.

import * as core from "./core.js";
import type { Data, EventMap } from "./core.js";
import { type Requests, RequestError, requests } from "./request.js";

/** What the library needs of a WebSocket. `miniProgram` makes one of a mini program's socket. */
export interface WebSocketLike {
  binaryType?: string;
  /** The subprotocol that was agreed on; `undefined` where the platform does not tell. */
  readonly protocol?: string;
  readonly bufferedAmount?: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(data: any): void;
  close(code?: number, reason?: string): void;
}

type Value<T> = T | (() => T | Promise<T>);

/** The settings of `connect`. Times are in milliseconds. */
export interface Options {
  /** Offer `gw.1`, so that the gateway keeps the client over cuts. Default: false. */
  resume?: boolean;
  /** The application's subprotocols. */
  protocols?: string | string[];
  /**
   * A token for admission, shown in the subprotocol `gw.token`. A function is asked at each attempt. With `exp`, in seconds
   * since 1970, it is asked again a minute before, and the new token is sent.
   */
  getToken?: Value<string | { token: string; exp?: number }>;
  /** The first wait before connecting again; it doubles with each failure. Default: 500. */
  minDelay?: number;
  /** The longest wait. Default: 20000. */
  maxDelay?: number;
  /** How long connecting may take, the gateway's first words included. Default: 10000. */
  connectTimeout?: number;
  /** How much may wait or be unacknowledged: characters of texts, bytes of others. Default: 1048576. */
  maxBuffered?: number;
  /** Without `gw.1`: the gateway's ping, which is answered and not shown. Default: `{"type":"ping"}`. `null`: none. */
  ping?: string | null;
  /** Without `gw.1`: the answer. Default: `{"type":"pong"}`. */
  pong?: string;
  /** Without `gw.1`: send `ping` when nothing has come for so long; `pong` is not shown. Default: 0, never. */
  pingInterval?: number;
  /**
   * Without `gw.1`: give up a line on which nothing has come for so long, once a ping of the gateway's has come, or
   * with `pingInterval`. Default: 90000. 0: never.
   */
  silence?: number;
  /** Whether to come back after this close code; `undefined`: as docs/client-protocol.md says. */
  retry?: (code: number, reason: string) => boolean | undefined;
  /** The key under which requests and answers have their id. Default: `id`. */
  idKey?: string;
  /** How long `request` waits. Default: 10000. */
  requestTimeout?: number;
  /** Keep the client when the page is loaded again: a key of `sessionStorage`. Only with `resume`. */
  store?: string;
  /** Opens a socket. Default: `new WebSocket(url, protocols)`. */
  socket?: (url: string, protocols: string[]) => WebSocketLike;
  /**
   * Calls its argument when the network is back, or the page is seen again. What it returns is called at the end.
   * Default: the browser's events.
   */
  onWake?: (wake: () => void) => (() => void) | void;
}

/** `connecting`: there is no client yet, or no more. `detached`: the gateway keeps it. `closed`: it does not come back. */
export type State = "connecting" | "open" | "detached" | "closed";

export interface Client {
  readonly state: State;
  /** The client id; only with `gw.1`. */
  readonly id: string | undefined;
  /** What waits or is not acknowledged: characters of texts, bytes of others. */
  readonly bufferedAmount: number;
  on<E extends keyof EventMap>(event: E, listener: (about: EventMap[E]) => void): Client;
  off<E extends keyof EventMap>(event: E, listener: (about: EventMap[E]) => void): Client;
  /** Sends, at once or when there is a connection. `false`: nothing was taken, as `maxBuffered` is reached or it is closed. */
  send(message: string | ArrayBuffer | ArrayBufferView): boolean;
  /**
   * Sends a JSON object with an id, and resolves with the object that comes back with that id (which is no `message` then).
   * Rejects with a `RequestError`.
   */
  request<T = any>(message: object, options?: { timeout?: number }): Promise<T>;
  /** Tries again at once where it waits to; otherwise asks for a sign of life. For what `onWake` does not see, such as a button. */
  wake(): void;
  /** Leaves, and does not come back. What waits is thrown away. The code is 1000, or 3000 to 4998 without 3999. */
  close(code?: number, reason?: string): void;
}

const global: any = globalThis;

/** The events of a browser after which a new attempt is worth it. Elsewhere there are none. */
const browserWakes = (wake: () => void) => {
  const { document } = global;
  const seen = () => document.hidden || wake();
  const each = (method: string) => {
    global[method]?.("online", wake);
    global[method]?.("pageshow", wake);
    document?.[method]("visibilitychange", seen);
  };
  each("addEventListener");
  return () => each("removeEventListener");
};

/** Connects, and stays connected. */
export const connect = (url: Value<string>, options: Options = {}): Client => {
  const { getToken, store, idKey = "id", requestTimeout = 10000 } = options;
  const state = core.create({
    resume: false, minDelay: 500, maxDelay: 20000, connectTimeout: 10000, maxBuffered: 1048576, ping: '{"type":"ping"}',
    pong: '{"type":"pong"}', pingInterval: 0, silence: 90000, retry: () => undefined, random: Math.random,
    ...options, fallback: !getToken, copies: !!store,
  }, Date.now());
  const protocols = ([] as string[]).concat(options.protocols || []);
  const open = options.socket || ((url, protocols) => new global.WebSocket(url, protocols));
  const listeners: { [name: string]: ((about: any) => void)[] } = {};
  let socket: WebSocketLike | undefined;
  /** Rises with each line: what an earlier one still says is not heard. */
  let line = 0;
  let isDraining = false;
  let timer: any;
  let timerAt = Infinity;
  /** When the token that was shown last ends, and the timer for a fresh one. */
  let exp: number | undefined;
  let renewal: any;

  const pending: Requests = requests(idKey);

  /** Lets the core act, and does what it wants. */
  const act = (action?: (now: number) => void) => {
    action?.(Date.now());
    if (isDraining) return;
    isDraining = true;
    for (let effect; (effect = state.out.shift()); ) perform(effect);
    isDraining = false;
    const at = core.nextAt(state);
    // A deadline that moves back does not move the timer: it finds nothing to do, and is set again.
    if (at < timerAt || state.phase === core.Phase.CLOSED) {
      clearTimeout(timer);
      timerAt = at;
      if (at < Infinity) timer = setTimeout(fire, Math.min(Math.max(0, at - Date.now()), 1e9));
    }
  };

  const fire = () => {
    timerAt = Infinity;
    act((now) => core.tick(state, now));
  };

  const perform = (effect: core.Effect) => {
    switch (effect[0]) {
      case "connect":
        dial(++line);
        break;
      case "write":
        try {
          socket!.send(effect[1]);
        } catch { /* it is closing: `onclose` follows */ }
        break;
      case "drop":
        line++;
        clearTimeout(renewal);
        try {
          socket?.close(effect[1], effect[2]);
        } catch { /* a code that this platform does not let pages send */ }
        socket = undefined;
        break;
      case "flush":
        core.flush(state);
        break;
      default:
        tell(effect[1], effect[2]);
    }
  };

  const tell = (name: string, about: any) => {
    if (name === "message" && pending.answer(about)) return;
    if (name === "open" || name === "resumed") {
      pending.sent();
      renewIn();
    }
    if (name === "lost" || name === "close") pending.fail(name, name === "lost" || !about.back);
    if (state.phase === core.Phase.CLOSED) stopWakes?.();
    for (const listener of [...(listeners[name] || [])]) {
      try {
        listener(about);
      } catch (error) {
        // The application's mistake, reported as such: it must not end ours.
        setTimeout(() => { throw error; });
      }
    }
  };

  const ask = async <T>(value: Value<T>) => (typeof value === "function" ? (value as () => T | Promise<T>)() : value);

  const token = async () => {
    const given = await ask(getToken!);
    return typeof given === "string" ? { token: given } : given;
  };

  const dial = async (mine: number) => {
    const isMine = () => mine === line;
    const ended = ({ code = 1006, reason = "" }, answered = true) => {
      if (!isMine()) return;
      line++;
      socket = undefined;
      clearTimeout(renewal);
      act((now) => core.ended(state, code, reason, now, answered));
    };
    try {
      const address = await ask(url);
      const admission = getToken ? await token() : undefined;
      if (!isMine()) return;
      exp = admission?.exp;
      const offered = state.offer ? [...protocols.map((name) => "gw.1+" + name), "gw.1", ...protocols]
        : options.resume && !admission ? [] : [...protocols];
      if (admission) offered.push("gw.token", admission.token);
      const opening = (socket = open(address, offered));
      opening.binaryType = "arraybuffer";
      opening.onopen = () => {
        if (!isMine()) return;
        act((now) => core.opened(state, opening.protocol, now));
      };
      opening.onmessage = ({ data }: { data: Data }) => {
        if (!isMine() || (getToken && !state.gw && /^{"gw":"token",/.test(data as string))) return;
        act((now) => core.received(state, data, now));
      };
      opening.onclose = (event: object) => ended(event);
      // `onclose` follows, but in Node where nothing has opened.
      opening.onerror = () => state.phase === core.Phase.CONNECTING && ended({});
    } catch (error) {
      ended({ reason: String(error) }, false);
    }
  };

  /** Sends a fresh token in time, a minute before the one of this line ends. */
  const renewIn = (least = 0) => {
    const mine = line;
    if (exp) renewal = setTimeout(async () => {
      try {
        const fresh = await token();
        if (mine === line) {
          exp = fresh.exp;
          act(() => core.renew(state, fresh.token));
        }
      } catch { /* asked again soon */ }
      if (mine === line) renewIn(5000);
    }, Math.min(Math.max(least, exp * 1000 - Date.now() - 60000), 1e9));
  };

  const wake = () => act((now) => core.wake(state, now));
  const stopWakes = (options.onWake || browserWakes)(wake);

  const client: Client = {
    get state() {
      return state.phase === core.Phase.CLOSED ? "closed" : state.phase === core.Phase.ONLINE ? "open"
        : state.token ? "detached" : "connecting";
    },
    get id() {
      return state.token ? state.client : undefined;
    },
    get bufferedAmount() {
      return state.size + busy();
    },
    on(event, listener) {
      (listeners[event] ||= []).push(listener);
      return client;
    },
    off(event, listener) {
      listeners[event] = (listeners[event] || []).filter((other) => other !== listener);
      return client;
    },
    send(message) {
      const data: Data = typeof message === "string" ? message : copy(message);
      const taken = core.send(state, data, busy());
      act();
      return taken;
    },
    request: (message, { timeout = requestTimeout } = {}) =>
      pending.make(message, timeout, state.phase === core.Phase.ONLINE, client.send),
    wake,
    close: (code = 1000, reason = "") => act(() => core.close(state, code, reason)),
  };

  /** What the socket has not written yet: with `gw.1` it is unacknowledged, and counted as that. */
  const busy = () => (!state.gw && socket?.bufferedAmount) || 0;

  if (store) {
    const storage = global.sessionStorage;
    const stored = storage.getItem(store);
    // Taken out at once, so that a copy of this page (a tab that is duplicated) is a client of its own.
    storage.removeItem(store);
    if (stored) core.restore(state, stored);
    global.addEventListener("pagehide", () => {
      let suspended = "";
      act((now) => (suspended = core.suspend(state, now)));
      if (suspended) storage.setItem(store, suspended);
    });
    global.addEventListener("pageshow", () => storage.removeItem(store));
  }
  // The listeners that are added right after `connect` miss nothing.
  timer = setTimeout(fire);
  timerAt = 0;
  return client;
};

const copy = (data: ArrayBuffer | ArrayBufferView): ArrayBuffer =>
  ArrayBuffer.isView(data)
    ? (data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength) as ArrayBuffer)
    : data.slice(0);

export { RequestError };
