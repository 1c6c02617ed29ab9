// Requests that are answered under an id: which are open, and how each of them ends.
//
// `client.ts` gives it the messages that come and the events that end requests.
export class RequestError extends Error {
    constructor(why) {
        super("no answer: " + why);
        this.why = why;
    }
}
export const requests = (key) => {
    const pending = new Map();
    // Ids do not come again after the page was loaded again.
    let last = Date.now();
    const fail = (id, why) => pending.get(id)?.end((_, reject) => reject(new RequestError(why)));
    return {
        make: (message, timeout, isSent, send) => new Promise((resolve, reject) => {
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
            if (!send(JSON.stringify({ ...message, [key]: id })))
                fail(id, "refused");
        }),
        /** Whether the message is the answer to a request. */
        answer(data) {
            if (!pending.size || typeof data !== "string")
                return false;
            let answer;
            try {
                answer = JSON.parse(data);
            }
            catch { /* the application's, of another form */ }
            const request = pending.get(answer?.[key]);
            request?.end((resolve) => resolve(answer));
            return !!request;
        },
        /** What has waited goes out. */
        sent: () => pending.forEach((request) => (request.isSent = true)),
        /** The client or its connection has ended: all requests fail, or those that were on their way. */
        fail(event, all) {
            for (const [id, { isSent }] of pending) {
                if (all || isSent)
                    fail(id, event === "close" && all ? "closed" : "lost");
            }
        },
    };
};
