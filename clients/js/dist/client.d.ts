import type { EventMap } from "./core.js";
import { RequestError } from "./request.js";
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
    getToken?: Value<string | {
        token: string;
        exp?: number;
    }>;
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
    request<T = any>(message: object, options?: {
        timeout?: number;
    }): Promise<T>;
    /** Tries again at once where it waits to; otherwise asks for a sign of life. For what `onWake` does not see, such as a button. */
    wake(): void;
    /** Leaves, and does not come back. What waits is thrown away. The code is 1000, or 3000 to 4998 without 3999. */
    close(code?: number, reason?: string): void;
}
/** Connects, and stays connected. */
export declare const connect: (url: Value<string>, options?: Options) => Client;
export { RequestError };
