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
    detached: {
        code: number;
        reason: string;
    };
    /** The same client again. Nothing was lost in either direction. */
    resumed: {
        client: string;
    };
    /**
     * The client could not be had again, or was ended with messages on their way. `unacknowledged` are the messages that
     * the gateway has not confirmed: the first `written` of them may have arrived, the others have not. They are not
     * sent again. A new client follows (`open`), or the end (`close`).
     */
    lost: {
        why: Lost;
        unacknowledged: Data[];
        written: number;
    };
    /** A connection without a client that is kept has ended, or could not be opened. `back`: whether the library comes back. */
    close: {
        code: number;
        reason: string;
        back: boolean;
    };
}
/** What the shell has to do, in this order. */
export type Effect = ["connect"] | ["write", Data]
/** Close the line and listen to it no more. */
 | ["drop", number, string] | ["event", keyof EventMap, unknown]
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
export declare const enum Phase {
    AWAY = 0,
    CONNECTING = 1,
    GREETING = 2,
    ONLINE = 3,
    CLOSED = 4
}
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
export declare const create: (settings: Settings, now: number) => Core;
export declare const sizeOf: (data: Data) => number;
/** When `tick` has something to do next. */
export declare const nextAt: (core: Core) => number;
/** The time has come to `now`. */
export declare const tick: (core: Core, now: number) => void;
/** The page woke up, or the network is back. */
export declare const wake: (core: Core, now: number) => void;
/** The line is open, with this subprotocol; `undefined` where the platform does not tell. */
export declare const opened: (core: Core, protocol: string | undefined, now: number) => void;
/** Writes what is not written yet. */
export declare const flush: (core: Core) => void;
/** Takes a message for sending. `false`: it is closed, or more than `maxBuffered` would wait; nothing was taken. */
export declare const send: (core: Core, data: Data, busy?: number) => boolean;
/** A message has come. */
export declare const received: (core: Core, data: Data, now: number) => void;
/** The line has ended, or could not be opened. */
export declare const ended: (core: Core, code: number, reason: string, now: number, answered?: boolean) => void;
/** The application closes. What is queued and not written is thrown away. */
export declare const close: (core: Core, code: number, reason: string) => void;
/** A fresh token for admission, on a line that works. */
export declare const renew: (core: Core, auth: string) => void;
/** The page goes away, perhaps to be loaded again: the line is cut. Returns what `restore` needs; "" if it cannot be kept. */
export declare const suspend: (core: Core, now: number) => string;
/** Goes on as the client that `suspend` has told. */
export declare const restore: (core: Core, stored: string) => void;
