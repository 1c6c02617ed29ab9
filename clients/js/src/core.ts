// Decides everything that the client does, as plain data: no socket, no timer, no clock, no random source of its own.
//
// `client.ts` tells it what has happened (a line opened, a message came, it is so late) and does what stands in `out`
// then. The protocol is the page docs/client-protocol.md. A "line" is one WebSocket connection. The core never touches
// what is in a message, beyond the first character.

/** A message, as it is kept: a text, or bytes that nobody changes any more. */
export type Data = string | ArrayBuffer;

/** Why a client was lost: the gateway's word, or `closed` where the gateway has ended the client. */
export type Lost = "expired" | "behind" | "drained" | "unknown" | "closed" | (string & {});

/** What the listeners of an event get. */
export interface EventMap {
  /** There is a connection, with a new client behind it: log in, join, ask for what was missed. */
  open: {
    /** The client id. Only where the gateway keeps clients (`gw.1`). */
    client?: string;
    /** Whether the gateway keeps the client over cuts. */
    resumable: boolean;
  };
  /** A message of the application. */
  message: Data;
  /** The connection is cut, and the gateway keeps the client. `resumed`, `lost` or `close` follows. */
  detached: { code: number; reason: string };
  /** The same client again. Nothing was lost in either direction. */
  resumed: { client: string };
  /**
   * The client could not be had again, or was ended with messages on their way. `unacknowledged` are the messages that
   * the gateway has not confirmed: the first `written` of them may have arrived, the others have not. They are not
   * sent again. A new client follows (`open`), or the end (`close`).
   */
  lost: { why: Lost; unacknowledged: Data[]; written: number };
  /** A connection without a client that is kept has ended, or could not be opened. `back`: whether the library comes back. */
  close: { code: number; reason: string; back: boolean };
}

/** What the shell has to do, in this order. */
export type Effect =
  | ["connect"]
  | ["write", Data]
  /** Close the line and listen to it no more. */
  | ["drop", number, string]
  | ["event", keyof EventMap, unknown]
  /** Call `flush`: the listeners of `open` have had their turn. */
  | ["flush"];

/** The settings, all of them given. Times are in milliseconds. */
export interface Settings {
  resume: boolean;
  minDelay: number;
  maxDelay: number;
  connectTimeout: number;
  maxBuffered: number;
  /** Whether an open without `gw.1` may be tried when one with it has failed. */
  fallback: boolean;
  ping: string | null;
  pong: string;
  pingInterval: number;
  silence: number;
  retry: (code: number, reason: string) => boolean | undefined;
  /** Whether another page may have the same client: a copy of this one, with its stored state. */
  copies: boolean;
  random: () => number;
}

/** Where the client stands: without a line, with one that opens, that has not been greeted, that works; and the end. */
export const enum Phase { AWAY, CONNECTING, GREETING, ONLINE, CLOSED }

/** How long a page that wakes up waits for a sign of life. */
const WAKE_MS = 5000;
/** The close code by which the library gives a line up: the gateway takes it for a cut. */
const CUT = 3999;
/** An `ack` goes out at so many messages, or so many characters and bytes (a character has up to three bytes). */
const ACK_MESSAGES = 32, ACK_SIZE = 32768;
const CONTROL_MAX = 4096;
const NEVER = Infinity;

export interface Core {
  settings: Settings;
  out: Effect[];
  phase: Phase;
  /** Whether the next line offers `gw.1`, and how often one without it opened where one with it had failed. */
  offer: boolean;
  plainOpens: number;
  /** Whether the line speaks `gw.1`. */
  gw: boolean;
  /** The client that the gateway keeps: its secret, its id, the resumes so far. */
  token: string;
  client: string;
  tries: number;
  pingMs: number;
  /** Messages received: all, those acknowledged, and the size since then. */
  got: number;
  told: number;
  toldSize: number;
  /** What was sent and is not acknowledged, or not written yet: number `base + 1` and those behind it. */
  queue: Data[];
  size: number;
  base: number;
  /** How many of the queue are written: on this line, and on any. */
  written: number;
  doubtful: number;
  /** While the listeners of `open` run, where in the queue their messages go; else -1. */
  front: number;
  /** Attempts since the last line that lasted, and since when this one is open. */
  failures: number;
  openedAt: number;
  /** When to connect; when the line counts as dead; when to move to another; when to send a ping. */
  retryAt: number;
  dueAt: number;
  goAt: number;
  pingAt: number;
}

export const create = (settings: Settings, now: number): Core => ({
  settings, out: [], phase: Phase.AWAY, offer: settings.resume, plainOpens: 0, gw: false, token: "", client: "", tries: 0,
  pingMs: 0, got: 0, told: 0, toldSize: 0, queue: [], size: 0, base: 0, written: 0, doubtful: 0, front: -1,
  failures: 0, openedAt: 0, retryAt: now, dueAt: NEVER, goAt: NEVER, pingAt: NEVER,
});

export const sizeOf = (data: Data) => (typeof data === "string" ? data.length : data.byteLength);

const event = <E extends keyof EventMap>(core: Core, name: E, about: EventMap[E]) => core.out.push(["event", name, about]);

const control = (core: Core, message: object) => core.out.push(["write", "\x01" + JSON.stringify(message)]);

/** When `tick` has something to do next. */
export const nextAt = (core: Core) =>
  core.phase === Phase.CLOSED ? NEVER
    : core.phase === Phase.AWAY ? core.retryAt
      : Math.min(core.dueAt, core.goAt, core.pingAt);

/** The time has come to `now`. */
export const tick = (core: Core, now: number) => {
  if (now < nextAt(core) || core.phase === Phase.CLOSED) return;
  if (core.phase === Phase.AWAY) {
    core.phase = Phase.CONNECTING;
    core.goAt = core.pingAt = NEVER;
    core.dueAt = now + core.settings.connectTimeout;
    core.out.push(["connect"]);
  } else if (now >= core.dueAt || now >= core.goAt) {
    giveUp(core, now >= core.dueAt ? "nothing heard" : "go", now);
  } else {
    ping(core, now);
  }
};

/** The page woke up, or the network is back. */
export const wake = (core: Core, now: number) => {
  if (core.phase === Phase.AWAY) {
    core.retryAt = now;
  } else if (core.phase === Phase.ONLINE && (core.gw || core.settings.pingInterval)) {
    ping(core, now);
    core.dueAt = Math.min(core.dueAt, now + WAKE_MS);
  }
};

const ping = (core: Core, now: number) => {
  core.pingAt = core.gw ? NEVER : now + core.settings.pingInterval;
  if (core.gw) control(core, { ping: {} });
  else if (core.settings.ping) core.out.push(["write", core.settings.ping]);
};

const giveUp = (core: Core, reason: string, now: number) => {
  core.out.push(["drop", CUT, reason]);
  // No second attempt without `gw.1`: nobody has answered this one.
  ended(core, 1006, reason, now, false);
};

/** The line is open, with this subprotocol; `undefined` where the platform does not tell. */
export const opened = (core: Core, protocol: string | undefined, now: number) => {
  const gw = core.offer && /^gw\.1(\+|$)/.test(protocol || "");
  if (core.offer && protocol === undefined) {
    core.out.push(["drop", 1000, ""]);
    core.plainOpens = 2;
    return ended(core, 1006, "", now);
  }
  core.gw = gw;
  core.openedAt = now;
  if (gw) {
    core.phase = Phase.GREETING;
    if (core.token) {
      control(core, { resume: { token: core.token, try: ++core.tries, got: core.got } });
      told(core);
    } else {
      control(core, { start: {} });
    }
  } else {
    if (core.settings.resume && !core.offer) core.plainOpens++;
    // A gateway that does not know `gw.1` (any more) cannot have kept anything.
    if (core.token) lose(core, "unknown");
    heard(core, now, core.settings.pingInterval > 0);
    greeted(core);
  }
};

/** A new client is in: the application's listeners speak first, then what has waited. */
const greeted = (core: Core) => {
  core.phase = Phase.ONLINE;
  core.front = 0;
  event(core, "open", core.gw ? { client: core.client, resumable: true } : { resumable: false });
  core.out.push(["flush"]);
};

/** Writes what is not written yet. */
export const flush = (core: Core) => {
  core.front = -1;
  while (core.phase === Phase.ONLINE && core.written < core.queue.length) {
    const data = core.queue[core.written++];
    core.doubtful = Math.max(core.doubtful, core.written);
    core.out.push(["write", core.gw && typeof data === "string" && data[0] === "\x01" ? "\x01" + data : data]);
    if (!core.gw) forget(core, 1);
  }
};

/** Forgets the first `n` of the queue. */
const forget = (core: Core, n: number) => {
  for (const data of core.queue.splice(0, n)) core.size -= sizeOf(data);
  core.base += n;
  core.written = Math.max(0, core.written - n);
  core.doubtful = Math.max(0, core.doubtful - n);
};

/** Takes a message for sending. `false`: it is closed, or more than `maxBuffered` would wait; nothing was taken. */
export const send = (core: Core, data: Data, busy = 0): boolean => {
  if (core.phase === Phase.CLOSED || core.size + busy + sizeOf(data) > core.settings.maxBuffered) return false;
  core.size += sizeOf(data);
  if (core.front >= 0) {
    core.queue.splice(core.front++, 0, data);
  } else {
    core.queue.push(data);
    flush(core);
  }
  return true;
};

/** A message has come. */
export const received = (core: Core, data: Data, now: number) => {
  if (core.phase < Phase.GREETING || core.phase === Phase.CLOSED) return;
  if (!core.gw) return plain(core, data, now);
  alive(core, now);
  if (typeof data === "string" && data[0] === "\x01") {
    if (data[1] !== "\x01") return controlled(core, data, now);
    data = data.slice(1);
  }
  core.got++;
  core.toldSize += sizeOf(data);
  event(core, "message", data);
  if (core.got - core.told >= ACK_MESSAGES || core.toldSize >= ACK_SIZE) acknowledge(core);
};

const acknowledge = (core: Core) => {
  control(core, { ack: core.got });
  told(core);
};

const told = (core: Core) => {
  core.told = core.got;
  core.toldSize = 0;
};

/** Something has come: the gateway is to say the next thing in time. */
const alive = (core: Core, now: number) => {
  if (core.pingMs) core.dueAt = now + core.pingMs * 1.5;
};

/** A message on a line without `gw.1`. */
const plain = (core: Core, data: Data, now: number) => {
  const { ping, pong, pingInterval } = core.settings;
  const isPing = ping && data === ping;
  // The gateway's pings say that silence means something here.
  heard(core, now, isPing || core.dueAt < NEVER);
  if (isPing) core.out.push(["write", pong]);
  else if (!pingInterval || data !== pong) event(core, "message", data);
};

const heard = (core: Core, now: number, watch: boolean | "" | null) => {
  const { pingInterval, silence } = core.settings;
  core.dueAt = watch && silence ? now + silence : NEVER;
  if (pingInterval) core.pingAt = now + pingInterval;
};

const controlled = (core: Core, text: string, now: number) => {
  let message: any;
  try {
    message = text.length <= CONTROL_MAX && JSON.parse(text.slice(1));
  } catch { /* what is no JSON is no object */ }
  if (!message || typeof message !== "object") return fail(core, "bad control", now);
  const { hello, resumed, lost, closed, ack, ping, go } = message;
  if (hello) {
    core.token = hello.token;
    core.client = hello.client;
    core.tries = core.base = core.got = 0;
    told(core);
    core.pingMs = hello.ping_ms;
    core.dueAt = NEVER;
    alive(core, now);
    greeted(core);
  } else if (resumed) {
    if (resumed.got < core.base) return fail(core, "bad ack", now);
    acknowledged(core, resumed.got, now);
    if (core.phase !== Phase.GREETING) return;
    core.phase = Phase.ONLINE;
    event(core, "resumed", { client: core.client });
    core.out.push(["flush"]);
  } else if (lost) {
    lose(core, lost.why);
  } else if (closed) {
    core.token = "";
    core.out.push(["drop", 1000, ""]);
    ended(core, closed.code, closed.reason, now);
  } else if (ack !== undefined) {
    acknowledged(core, ack, now);
  } else if (ping) {
    acknowledge(core);
    // Its answer acknowledges what the gateway has read: the last messages before a pause are not in doubt for long.
    if (core.written) control(core, { ping: {} });
  } else if (go) {
    core.goAt = now + go.within_ms * core.settings.random();
  }
};

/** The gateway has received up to number `n`. */
const acknowledged = (core: Core, n: number, now: number) => {
  const fresh = n - core.base;
  if (!(fresh <= core.doubtful)) fail(core, "bad ack", now);
  else if (fresh > 0) forget(core, fresh);
};

/** The gateway has broken the protocol. A page cannot close with 1002. */
const fail = (core: Core, reason: string, now: number) => {
  core.out.push(["drop", 4002, reason]);
  core.token = "";
  ended(core, 1002, reason, now);
};

/** The client is gone; the next one begins with nothing. */
const lose = (core: Core, why: Lost) => {
  const { queue, doubtful } = core;
  Object.assign(core, { token: "", got: 0, queue: [], size: 0, base: 0, written: 0, doubtful: 0 });
  event(core, "lost", { why, unacknowledged: queue, written: doubtful });
};

/** How a client ends that does not come back. */
const finish = (core: Core, code: number, reason: string) => {
  if (core.queue.length) lose(core, "closed");
  core.token = "";
  core.phase = Phase.CLOSED;
  event(core, "close", { code, reason, back: false });
};

/** The line has ended, or could not be opened. */
export const ended = (core: Core, code: number, reason: string, now: number, answered = true) => {
  const { settings, phase, token } = core;
  const { minDelay, maxDelay, random } = settings;
  if (phase === Phase.CLOSED || phase === Phase.AWAY) return;
  core.phase = Phase.AWAY;
  core.written = 0;
  core.front = -1;
  // A browser fails a connection whose offer is not answered: once more without it, at once.
  const again = phase === Phase.CONNECTING && answered && core.offer && settings.fallback && !token;
  core.offer = settings.resume && !again && core.plainOpens < 2;
  core.retryAt = now;
  if (again) return;
  if (code === 4409 && token && settings.copies) {
    // A copy of this page has taken the client over. This one begins anew.
    lose(core, "unknown");
  } else if (!(settings.retry(code, reason) ?? comesBack(code))) {
    return finish(core, code, reason);
  }
  // A client that has ended, and comes back as another.
  if (!core.token && core.doubtful) lose(core, "closed");
  // A line that did not last is a failure as well.
  const wait = () => Math.min(minDelay * 2 ** core.failures, maxDelay);
  if (phase === Phase.ONLINE && now - core.openedAt > wait()) core.failures = 0;
  if (code === 1013) core.failures = Math.max(core.failures, 3);
  const many = code === 1001 || code === 1012;
  // A client that is kept comes back at once; all the clients of a gateway, and attempts that failed, do not.
  if (core.failures || many || !core.token) core.retryAt += random() * (many ? 5000 : wait());
  core.failures++;
  if (!core.token) event(core, "close", { code, reason, back: true });
  else if (phase === Phase.ONLINE) event(core, "detached", { code, reason });
};

/** The verdict of docs/client-protocol.md by the close code. */
const comesBack = (code: number) =>
  code === 4401 || !([1000, 1002, 1003, 1007, 1008, 1009].includes(code) || (code >= 4000 && code < 4500));

/** The application closes. What is queued and not written is thrown away. */
export const close = (core: Core, code: number, reason: string) => {
  if (core.phase === Phase.CLOSED) return;
  core.out.push(["drop", code, reason]);
  core.queue = [];
  core.size = 0;
  finish(core, code, reason);
};

/** A fresh token for admission, on a line that works. */
export const renew = (core: Core, auth: string) => {
  if (core.gw) control(core, { token: { auth } });
  else core.out.push(["write", JSON.stringify({ gw: "token", token: auth })]);
};

/** The page goes away, perhaps to be loaded again: the line is cut. Returns what `restore` needs; "" if it cannot be kept. */
export const suspend = (core: Core, now: number): string => {
  if (core.phase === Phase.CLOSED) return "";
  if (core.phase !== Phase.AWAY) giveUp(core, "page left", now);
  // A page that is only put aside wakes up.
  core.retryAt = NEVER;
  const { token, client, tries, pingMs, got, base, doubtful, queue } = core;
  return token && queue.every((data) => typeof data === "string")
    ? JSON.stringify({ token, client, tries, pingMs, got, base, doubtful, queue })
    : "";
};

/** Goes on as the client that `suspend` has told. */
export const restore = (core: Core, stored: string) => {
  Object.assign(core, JSON.parse(stored));
  core.size = core.queue.reduce((sum, data) => sum + sizeOf(data), 0);
};
