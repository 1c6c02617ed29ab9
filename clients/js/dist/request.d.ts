import type { Data } from "./core.js";
/** Why a request has no answer. */
export type RequestFailure = 
/** Nothing came in time. */
"timeout"
/** The client, or its connection, ended with the request on its way: it may have been handled. */
 | "lost"
/** The client is closed. */
 | "closed"
/** It could not be sent: `send` said `false`. */
 | "refused";
export declare class RequestError extends Error {
    readonly why: RequestFailure;
    constructor(why: RequestFailure);
}
export declare const requests: (key: string) => {
    make: (message: object, timeout: number, isSent: boolean, send: (text: string) => boolean) => Promise<any>;
    /** Whether the message is the answer to a request. */
    answer(data: Data): boolean;
    /** What has waited goes out. */
    sent: () => void;
    /** The client or its connection has ended: all requests fail, or those that were on their way. */
    fail(event: string, all: boolean): void;
};
export type Requests = ReturnType<typeof requests>;
