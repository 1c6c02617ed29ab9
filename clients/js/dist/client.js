// The client that an application holds: sockets, timers and listeners around the core, which decides.
//
// It hands what happens to `core.ts` and does what the core has put out. It decides nothing by itself.
import * as core from "./core.js";
import { RequestError, requests } from "./request.js";
const global = globalThis;
/** The events of a browser after which a new attempt is worth it. Elsewhere there are none. */
const browserWakes = (wake) => {
    const { document } = global;
    const seen = () => document.hidden || wake();
    const each = (method) => {
        global[method]?.("online", wake);
        global[method]?.("pageshow", wake);
        document?.[method]("visibilitychange", seen);
    };
    each("addEventListener");
    return () => each("removeEventListener");
};
/** Connects, and stays connected. */
export const connect = (url, options = {}) => {
    const { getToken, store, idKey = "id", requestTimeout = 10000 } = options;
    const state = core.create({
        resume: false, minDelay: 500, maxDelay: 20000, connectTimeout: 10000, maxBuffered: 1048576, ping: '{"type":"ping"}',
        pong: '{"type":"pong"}', pingInterval: 0, silence: 90000, retry: () => undefined, random: Math.random,
        ...options, fallback: !getToken, copies: !!store,
    }, Date.now());
    const protocols = [].concat(options.protocols || []);
    const open = options.socket || ((url, protocols) => new global.WebSocket(url, protocols));
    const listeners = {};
    let socket;
    /** Rises with each line: what an earlier one still says is not heard. */
    let line = 0;
    let isDraining = false;
    let timer;
    let timerAt = Infinity;
    /** When the token that was shown last ends, and the timer for a fresh one. */
    let exp;
    let renewal;
    const pending = requests(idKey);
    /** Lets the core act, and does what it wants. */
    const act = (action) => {
        action?.(Date.now());
        if (isDraining)
            return;
        isDraining = true;
        for (let effect; (effect = state.out.shift());)
            perform(effect);
        isDraining = false;
        const at = core.nextAt(state);
        // A deadline that moves back does not move the timer: it finds nothing to do, and is set again.
        if (at < timerAt || state.phase === 4 /* core.Phase.CLOSED */) {
            clearTimeout(timer);
            timerAt = at;
            if (at < Infinity)
                timer = setTimeout(fire, Math.min(Math.max(0, at - Date.now()), 1e9));
        }
    };
    const fire = () => {
        timerAt = Infinity;
        act((now) => core.tick(state, now));
    };
    const perform = (effect) => {
        switch (effect[0]) {
            case "connect":
                dial(++line);
                break;
            case "write":
                try {
                    socket.send(effect[1]);
                }
                catch { /* it is closing: `onclose` follows */ }
                break;
            case "drop":
                line++;
                clearTimeout(renewal);
                try {
                    socket?.close(effect[1], effect[2]);
                }
                catch { /* a code that this platform does not let pages send */ }
                socket = undefined;
                break;
            case "flush":
                core.flush(state);
                break;
            default:
                tell(effect[1], effect[2]);
        }
    };
    const tell = (name, about) => {
        if (name === "message" && pending.answer(about))
            return;
        if (name === "open" || name === "resumed") {
            pending.sent();
            renewIn();
        }
        if (name === "lost" || name === "close")
            pending.fail(name, name === "lost" || !about.back);
        if (state.phase === 4 /* core.Phase.CLOSED */)
            stopWakes?.();
        for (const listener of [...(listeners[name] || [])]) {
            try {
                listener(about);
            }
            catch (error) {
                // The application's mistake, reported as such: it must not end ours.
                setTimeout(() => { throw error; });
            }
        }
    };
    const ask = async (value) => (typeof value === "function" ? value() : value);
    const token = async () => {
        const given = await ask(getToken);
        return typeof given === "string" ? { token: given } : given;
    };
    const dial = async (mine) => {
        const isMine = () => mine === line;
        const ended = ({ code = 1006, reason = "" }, answered = true) => {
            if (!isMine())
                return;
            line++;
            socket = undefined;
            clearTimeout(renewal);
            act((now) => core.ended(state, code, reason, now, answered));
        };
        try {
            const address = await ask(url);
            const admission = getToken ? await token() : undefined;
            if (!isMine())
                return;
            exp = admission?.exp;
            const offered = state.offer ? [...protocols.map((name) => "gw.1+" + name), "gw.1", ...protocols]
                : options.resume && !admission ? [] : [...protocols];
            if (admission)
                offered.push("gw.token", admission.token);
            const opening = (socket = open(address, offered));
            opening.binaryType = "arraybuffer";
            opening.onopen = () => {
                if (!isMine())
                    return;
                act((now) => core.opened(state, opening.protocol, now));
            };
            opening.onmessage = ({ data }) => {
                if (!isMine() || (getToken && !state.gw && /^{"gw":"token",/.test(data)))
                    return;
                act((now) => core.received(state, data, now));
            };
            opening.onclose = (event) => ended(event);
            // `onclose` follows, but in Node where nothing has opened.
            opening.onerror = () => state.phase === 1 /* core.Phase.CONNECTING */ && ended({});
        }
        catch (error) {
            ended({ reason: String(error) }, false);
        }
    };
    /** Sends a fresh token in time, a minute before the one of this line ends. */
    const renewIn = (least = 0) => {
        const mine = line;
        if (exp)
            renewal = setTimeout(async () => {
                try {
                    const fresh = await token();
                    if (mine === line) {
                        exp = fresh.exp;
                        act(() => core.renew(state, fresh.token));
                    }
                }
                catch { /* asked again soon */ }
                if (mine === line)
                    renewIn(5000);
            }, Math.min(Math.max(least, exp * 1000 - Date.now() - 60000), 1e9));
    };
    const wake = () => act((now) => core.wake(state, now));
    const stopWakes = (options.onWake || browserWakes)(wake);
    const client = {
        get state() {
            return state.phase === 4 /* core.Phase.CLOSED */ ? "closed" : state.phase === 3 /* core.Phase.ONLINE */ ? "open"
                : state.token ? "detached" : "connecting";
        },
        get id() {
            return state.token ? state.client : undefined;
        },
        get bufferedAmount() {
            return state.size + busy();
        },
        on(event, listener) {
            (listeners[event] || (listeners[event] = [])).push(listener);
            return client;
        },
        off(event, listener) {
            listeners[event] = (listeners[event] || []).filter((other) => other !== listener);
            return client;
        },
        send(message) {
            const data = typeof message === "string" ? message : copy(message);
            const taken = core.send(state, data, busy());
            act();
            return taken;
        },
        request: (message, { timeout = requestTimeout } = {}) => pending.make(message, timeout, state.phase === 3 /* core.Phase.ONLINE */, client.send),
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
        if (stored)
            core.restore(state, stored);
        global.addEventListener("pagehide", () => {
            let suspended = "";
            act((now) => (suspended = core.suspend(state, now)));
            if (suspended)
                storage.setItem(store, suspended);
        });
        global.addEventListener("pageshow", () => storage.removeItem(store));
    }
    // The listeners that are added right after `connect` miss nothing.
    timer = setTimeout(fire);
    timerAt = 0;
    return client;
};
const copy = (data) => ArrayBuffer.isView(data)
    ? data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)
    : data.slice(0);
export { RequestError };
