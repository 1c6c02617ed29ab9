// Requests that are answered under an id: which are open, and how each of them ends.
//
// `client.ts` gives it the messages that come and the events that end requests.

import type { Data } from "./core.js";

/** Why a request has no answer. */
export type RequestFailure =
  /** Nothing came in time. */
  | "timeout"
  /** The client, or its connection, ended with the request on its way: it may have been handled. */
  | "lost"
  /** The client is closed. */
  | "closed"
  /** It could not be sent: `send` said `false`. */
  | "refused";

export class RequestError extends Error {
  constructor(readonly why: RequestFailure) {
    super("no answer: " + why);
  }
}

interface Pending {
  end: (outcome: (resolve: (answer: any) => void, reject: (error: Error) => void) => void) => void;
  /** Whether it was written on the line of now. */
  isSent: boolean;
}

export const requests = (key: string) => {
  const pending = new Map<unknown, Pending>();
  // Ids do not come again after the page was loaded again.
  let last = Date.now();

  const fail = (id: unknown, why: RequestFailure) => pending.get(id)?.end((_, reject) => reject(new RequestError(why)));

  return {
    make: (message: object, timeout: number, isSent: boolean, send: (text: string) => boolean) =>
      new Promise<any>((resolve, reject) => {
        const id = ++last;
        const timer = setTimeout(() => fail(id, "timeout"), timeout);
        pending.set(id, {
          isSent,
          end(outcome) {
            clearTimeout(timer);
            pending.delete(id);
            outcome(resolve, reject);
          },
        });
        if (!send(JSON.stringify({ ...message, [key]: id }))) fail(id, "refused");
      }),
    /** Whether the message is the answer to a request. */
    answer(data: Data): boolean {
      if (!pending.size || typeof data !== "string") return false;
      let answer: any;
      try {
        answer = JSON.parse(data);
      } catch { /* the application's, of another form */ }
      const request = pending.get(answer?.[key]);
      request?.end((resolve) => resolve(answer));
      return !!request;
    },
    /** What has waited goes out. */
    sent: () => pending.forEach((request) => (request.isSent = true)),
    /** The client or its connection has ended: all requests fail, or those that were on their way. */
    fail(event: string, all: boolean) {
      for (const [id, { isSent }] of pending) {
        if (all || isSent) fail(id, event === "close" && all ? "closed" : "lost");
      }
    },
  };
};

export type Requests = ReturnType<typeof requests>;
