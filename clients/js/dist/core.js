// Decides everything that the client does, as plain data: no socket, no timer, no clock, no random source of its own.
//
// `client.ts` tells it what has happened (a line opened, a message came, it is so late) and does what stands in `out`
// then. The protocol is the page docs/client-protocol.md. A "line" is one WebSocket connection. The core never touches
// what is in a message, beyond the first character.
/** How long a page that wakes up waits for a sign of life. */
const WAKE_MS = 5000;
/** The close code by which the library gives a line up: the gateway takes it for a cut. */
const CUT = 3999;
/** An `ack` goes out at so many messages, or so many characters and bytes (a character has up to three bytes). */
const ACK_MESSAGES = 32, ACK_SIZE = 32768;
const CONTROL_MAX = 4096;
const NEVER = Infinity;
export const create = (settings, now) => ({
    settings, out: [], phase: 0 /* Phase.AWAY */, offer: settings.resume, plainOpens: 0, gw: false, token: "", client: "", tries: 0,
    pingMs: 0, got: 0, told: 0, toldSize: 0, queue: [], size: 0, base: 0, written: 0, doubtful: 0, front: -1,
    failures: 0, openedAt: 0, retryAt: now, dueAt: NEVER, goAt: NEVER, pingAt: NEVER,
});
export const sizeOf = (data) => (typeof data === "string" ? data.length : data.byteLength);
const event = (core, name, about) => core.out.push(["event", name, about]);
const control = (core, message) => core.out.push(["write", "\x01" + JSON.stringify(message)]);
/** When `tick` has something to do next. */
export const nextAt = (core) => core.phase === 4 /* Phase.CLOSED */ ? NEVER
    : core.phase === 0 /* Phase.AWAY */ ? core.retryAt
        : Math.min(core.dueAt, core.goAt, core.pingAt);
/** The time has come to `now`. */
export const tick = (core, now) => {
    if (now < nextAt(core) || core.phase === 4 /* Phase.CLOSED */)
        return;
    if (core.phase === 0 /* Phase.AWAY */) {
        core.phase = 1 /* Phase.CONNECTING */;
        core.goAt = core.pingAt = NEVER;
        core.dueAt = now + core.settings.connectTimeout;
        core.out.push(["connect"]);
    }
    else if (now >= core.dueAt || now >= core.goAt) {
        giveUp(core, now >= core.dueAt ? "nothing heard" : "go", now);
    }
    else {
        ping(core, now);
    }
};
/** The page woke up, or the network is back. */
export const wake = (core, now) => {
    if (core.phase === 0 /* Phase.AWAY */) {
        core.retryAt = now;
    }
    else if (core.phase === 3 /* Phase.ONLINE */ && (core.gw || core.settings.pingInterval)) {
        ping(core, now);
        core.dueAt = Math.min(core.dueAt, now + WAKE_MS);
    }
};
const ping = (core, now) => {
    core.pingAt = core.gw ? NEVER : now + core.settings.pingInterval;
    if (core.gw)
        control(core, { ping: {} });
    else if (core.settings.ping)
        core.out.push(["write", core.settings.ping]);
};
const giveUp = (core, reason, now) => {
    core.out.push(["drop", CUT, reason]);
    // No second attempt without `gw.1`: nobody has answered this one.
    ended(core, 1006, reason, now, false);
};
/** The line is open, with this subprotocol; `undefined` where the platform does not tell. */
export const opened = (core, protocol, now) => {
    const gw = core.offer && /^gw\.1(\+|$)/.test(protocol || "");
    if (core.offer && protocol === undefined) {
        core.out.push(["drop", 1000, ""]);
        core.plainOpens = 2;
        return ended(core, 1006, "", now);
    }
    core.gw = gw;
    core.openedAt = now;
    if (gw) {
        core.phase = 2 /* Phase.GREETING */;
        if (core.token) {
            control(core, { resume: { token: core.token, try: ++core.tries, got: core.got } });
            told(core);
        }
        else {
            control(core, { start: {} });
        }
    }
    else {
        if (core.settings.resume && !core.offer)
            core.plainOpens++;
        // A gateway that does not know `gw.1` (any more) cannot have kept anything.
        if (core.token)
            lose(core, "unknown");
        heard(core, now, core.settings.pingInterval > 0);
        greeted(core);
    }
};
/** A new client is in: the application's listeners speak first, then what has waited. */
const greeted = (core) => {
    core.phase = 3 /* Phase.ONLINE */;
    core.front = 0;
    event(core, "open", core.gw ? { client: core.client, resumable: true } : { resumable: false });
    core.out.push(["flush"]);
};
/** Writes what is not written yet. */
export const flush = (core) => {
    core.front = -1;
    while (core.phase === 3 /* Phase.ONLINE */ && core.written < core.queue.length) {
        const data = core.queue[core.written++];
        core.doubtful = Math.max(core.doubtful, core.written);
        core.out.push(["write", core.gw && typeof data === "string" && data[0] === "\x01" ? "\x01" + data : data]);
        if (!core.gw)
            forget(core, 1);
    }
};
/** Forgets the first `n` of the queue. */
const forget = (core, n) => {
    for (const data of core.queue.splice(0, n))
        core.size -= sizeOf(data);
    core.base += n;
    core.written = Math.max(0, core.written - n);
    core.doubtful = Math.max(0, core.doubtful - n);
};
/** Takes a message for sending. `false`: it is closed, or more than `maxBuffered` would wait; nothing was taken. */
export const send = (core, data, busy = 0) => {
    if (core.phase === 4 /* Phase.CLOSED */ || core.size + busy + sizeOf(data) > core.settings.maxBuffered)
        return false;
    core.size += sizeOf(data);
    if (core.front >= 0) {
        core.queue.splice(core.front++, 0, data);
    }
    else {
        core.queue.push(data);
        flush(core);
    }
    return true;
};
/** A message has come. */
export const received = (core, data, now) => {
    if (core.phase < 2 /* Phase.GREETING */ || core.phase === 4 /* Phase.CLOSED */)
        return;
    if (!core.gw)
        return plain(core, data, now);
    alive(core, now);
    if (typeof data === "string" && data[0] === "\x01") {
        if (data[1] !== "\x01")
            return controlled(core, data, now);
        data = data.slice(1);
    }
    core.got++;
    core.toldSize += sizeOf(data);
    event(core, "message", data);
    if (core.got - core.told >= ACK_MESSAGES || core.toldSize >= ACK_SIZE)
        acknowledge(core);
};
const acknowledge = (core) => {
    control(core, { ack: core.got });
    told(core);
};
const told = (core) => {
    core.told = core.got;
    core.toldSize = 0;
};
/** Something has come: the gateway is to say the next thing in time. */
const alive = (core, now) => {
    if (core.pingMs)
        core.dueAt = now + core.pingMs * 1.5;
};
/** A message on a line without `gw.1`. */
const plain = (core, data, now) => {
    const { ping, pong, pingInterval } = core.settings;
    const isPing = ping && data === ping;
    // The gateway's pings say that silence means something here.
    heard(core, now, isPing || core.dueAt < NEVER);
    if (isPing)
        core.out.push(["write", pong]);
    else if (!pingInterval || data !== pong)
        event(core, "message", data);
};
const heard = (core, now, watch) => {
    const { pingInterval, silence } = core.settings;
    core.dueAt = watch && silence ? now + silence : NEVER;
    if (pingInterval)
        core.pingAt = now + pingInterval;
};
const controlled = (core, text, now) => {
    let message;
    try {
        message = text.length <= CONTROL_MAX && JSON.parse(text.slice(1));
    }
    catch { /* what is no JSON is no object */ }
    if (!message || typeof message !== "object")
        return fail(core, "bad control", now);
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
    }
    else if (resumed) {
        if (resumed.got < core.base)
            return fail(core, "bad ack", now);
        acknowledged(core, resumed.got, now);
        if (core.phase !== 2 /* Phase.GREETING */)
            return;
        core.phase = 3 /* Phase.ONLINE */;
        event(core, "resumed", { client: core.client });
        core.out.push(["flush"]);
    }
    else if (lost) {
        lose(core, lost.why);
    }
    else if (closed) {
        core.token = "";
        core.out.push(["drop", 1000, ""]);
        ended(core, closed.code, closed.reason, now);
    }
    else if (ack !== undefined) {
        acknowledged(core, ack, now);
    }
    else if (ping) {
        acknowledge(core);
        // Its answer acknowledges what the gateway has read: the last messages before a pause are not in doubt for long.
        if (core.written)
            control(core, { ping: {} });
    }
    else if (go) {
        core.goAt = now + go.within_ms * core.settings.random();
    }
};
/** The gateway has received up to number `n`. */
const acknowledged = (core, n, now) => {
    const fresh = n - core.base;
    if (!(fresh <= core.doubtful))
        fail(core, "bad ack", now);
    else if (fresh > 0)
        forget(core, fresh);
};
/** The gateway has broken the protocol. A page cannot close with 1002. */
const fail = (core, reason, now) => {
    core.out.push(["drop", 4002, reason]);
    core.token = "";
    ended(core, 1002, reason, now);
};
/** The client is gone; the next one begins with nothing. */
const lose = (core, why) => {
    const { queue, doubtful } = core;
    Object.assign(core, { token: "", got: 0, queue: [], size: 0, base: 0, written: 0, doubtful: 0 });
    event(core, "lost", { why, unacknowledged: queue, written: doubtful });
};
/** How a client ends that does not come back. */
const finish = (core, code, reason) => {
    if (core.queue.length)
        lose(core, "closed");
    core.token = "";
    core.phase = 4 /* Phase.CLOSED */;
    event(core, "close", { code, reason, back: false });
};
/** The line has ended, or could not be opened. */
export const ended = (core, code, reason, now, answered = true) => {
    const { settings, phase, token } = core;
    const { minDelay, maxDelay, random } = settings;
    if (phase === 4 /* Phase.CLOSED */ || phase === 0 /* Phase.AWAY */)
        return;
    core.phase = 0 /* Phase.AWAY */;
    core.written = 0;
    core.front = -1;
    // A browser fails a connection whose offer is not answered: once more without it, at once.
    const again = phase === 1 /* Phase.CONNECTING */ && answered && core.offer && settings.fallback && !token;
    core.offer = settings.resume && !again && core.plainOpens < 2;
    core.retryAt = now;
    if (again)
        return;
    if (code === 4409 && token && settings.copies) {
        // A copy of this page has taken the client over. This one begins anew.
        lose(core, "unknown");
    }
    else if (!(settings.retry(code, reason) ?? comesBack(code))) {
        return finish(core, code, reason);
    }
    // A client that has ended, and comes back as another.
    if (!core.token && core.doubtful)
        lose(core, "closed");
    // A line that did not last is a failure as well.
    const wait = () => Math.min(minDelay * 2 ** core.failures, maxDelay);
    if (phase === 3 /* Phase.ONLINE */ && now - core.openedAt > wait())
        core.failures = 0;
    if (code === 1013)
        core.failures = Math.max(core.failures, 3);
    const many = code === 1001 || code === 1012;
    // A client that is kept comes back at once; all the clients of a gateway, and attempts that failed, do not.
    if (core.failures || many || !core.token)
        core.retryAt += random() * (many ? 5000 : wait());
    core.failures++;
    if (!core.token)
        event(core, "close", { code, reason, back: true });
    else if (phase === 3 /* Phase.ONLINE */)
        event(core, "detached", { code, reason });
};
/** The verdict of docs/client-protocol.md by the close code. */
const comesBack = (code) => code === 4401 || !([1000, 1002, 1003, 1007, 1008, 1009].includes(code) || (code >= 4000 && code < 4500));
/** The application closes. What is queued and not written is thrown away. */
export const close = (core, code, reason) => {
    if (core.phase === 4 /* Phase.CLOSED */)
        return;
    core.out.push(["drop", code, reason]);
    core.queue = [];
    core.size = 0;
    finish(core, code, reason);
};
/** A fresh token for admission, on a line that works. */
export const renew = (core, auth) => {
    if (core.gw)
        control(core, { token: { auth } });
    else
        core.out.push(["write", JSON.stringify({ gw: "token", token: auth })]);
};
/** The page goes away, perhaps to be loaded again: the line is cut. Returns what `restore` needs; "" if it cannot be kept. */
export const suspend = (core, now) => {
    if (core.phase === 4 /* Phase.CLOSED */)
        return "";
    if (core.phase !== 0 /* Phase.AWAY */)
        giveUp(core, "page left", now);
    // A page that is only put aside wakes up.
    core.retryAt = NEVER;
    const { token, client, tries, pingMs, got, base, doubtful, queue } = core;
    return token && queue.every((data) => typeof data === "string")
        ? JSON.stringify({ token, client, tries, pingMs, got, base, doubtful, queue })
        : "";
};
/** Goes on as the client that `suspend` has told. */
export const restore = (core, stored) => {
    Object.assign(core, JSON.parse(stored));
    core.size = core.queue.reduce((sum, data) => sum + sizeOf(data), 0);
};
