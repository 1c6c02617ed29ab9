// A gateway's side of `gw.1`, written from docs/client-protocol.md alone, for the tests of the library: plain data,
// without sockets, timers and clocks. `server.mjs` puts it on a socket. It shares no code with the library.
//
// A "line" is one connection. What goes out stands in `line.out`: `["message", data]` and `["close", code, reason]`.

const CONTROL = "\u0001";

/** What a client sends as the reason of a close frame decides whether it leaves or is cut off. */
export function leaves(code, reason) {
  if (code === null) return false; // no close frame at all
  if (code === 1000 || code === 1005) return true;
  if (code === 1001) return reason === "";
  return code >= 3000 && code <= 4998 && code !== 3999;
}

export class Gateway {
  /**
   * @param settings `resumeMs`, `resumeBytes`, `pingMs`, `random` (0 to 1).
   * @param application What is told: `opened(client)`, `message(client, data)`, `detached(client)`, `resumed(client)`,
   * `closed(client)`.
   */
  constructor(settings, application) {
    this.settings = settings;
    this.application = application;
    this.clients = new Map(); // by token
    this.made = 0;
    this.counts = { resumed: 0, lost: 0, takeovers: 0, refused: 0 };
  }

  open(now) {
    return { out: [], client: null, isOver: false, sentAt: now, heardAt: now, pingedAt: -1 };
  }

  /** A message of the client's has come: a string, or an ArrayBuffer. */
  receive(line, data, now) {
    if (line.isOver) return;
    line.heardAt = now;
    if (typeof data === "string" && data.startsWith(CONTROL)) {
      if (!data.startsWith(CONTROL + CONTROL)) return this.#control(line, data.slice(1), now);
      data = data.slice(1);
    }
    if (!line.client) return this.#close(line, 1002, "the first message is start or resume");
    line.client.got += 1;
    line.client.unacked += 1;
    this.application.message(line.client, data);
    if (!line.isOver && line.client.unacked >= 32) this.#acknowledge(line, now);
  }

  /** The connection has ended: with the client's close frame, or without one (`code` is null). */
  end(line, code, reason, now) {
    const { client } = line;
    const wasOver = line.isOver;
    line.isOver = true;
    if (wasOver || !client || client.line !== line) return;
    if (leaves(code, reason)) return this.#gone(client);
    client.line = null;
    client.detachedAt = now;
    this.application.detached(client);
  }

  /** Time passes: pings, dead lines, clients that stayed away. */
  tick(now) {
    const { resumeMs, pingMs } = this.settings;
    for (const client of [...this.clients.values()]) {
      const { line } = client;
      if (line && now - line.heardAt >= 2.5 * pingMs) {
        this.#over(line, ["close", null, ""]);
        client.line = null;
        client.detachedAt = now;
        this.application.detached(client);
      } else if (line && now - Math.min(line.sentAt, line.heardAt) >= pingMs && now - line.pingedAt >= pingMs) {
        line.pingedAt = now;
        if (client.unacked) this.#acknowledge(line, now);
        this.#say(line, { ping: {} }, now);
      } else if (!line && now - client.detachedAt > resumeMs) {
        this.#gone(client);
      }
    }
  }

  /** The application sends to a client. */
  send(client, data, now) {
    if (client.isClosed) return;
    client.kept.push(data);
    client.keptBytes += bytesOf(data);
    while (client.keptBytes > this.settings.resumeBytes && client.kept.length > 1) this.#forget(client, 1);
    if (client.line) this.#put(client.line, data, now);
  }

  /** The application closes a client. */
  close(client, code, reason, now) {
    if (client.isClosed) return;
    client.isClosed = { code, reason };
    this.application.closed(client);
    if (client.line) {
      this.#close(client.line, code, reason);
      this.clients.delete(client.token);
    } else {
      client.detachedAt = now;
    }
  }

  /** The gateway is going to stop. */
  go(line, within_ms, keeps, now) {
    this.#say(line, { go: { within_ms, keeps } }, now);
  }

  #control(line, text, now) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return this.#close(line, 1002, "a control message is JSON");
    }
    const { client } = line;
    const isFirst = !client;
    if (isFirst && message.start) return this.#welcome(line, now);
    if (isFirst && message.resume) return this.#resume(line, message.resume, now);
    if (isFirst) return this.#close(line, 1002, "the first message is start or resume");
    if (message.ping) return this.#acknowledge(line, now);
    if (message.ack !== undefined) this.#acknowledged(line, client, message.ack);
  }

  #welcome(line, now) {
    this.made += 1;
    const token = `token-${this.made}-${Math.floor(this.settings.random() * 1e9)}`;
    const client = {
      id: `client-${this.made}`, token, line, got: 0, unacked: 0, seen: 0, acked: 0, kept: [], keptBytes: 0,
      forgotten: 0, isClosed: null, detachedAt: null,
    };
    line.client = client;
    this.clients.set(token, client);
    const { resumeMs, pingMs } = this.settings;
    this.#say(line, { hello: { client: client.id, token, resume_ms: resumeMs, ping_ms: pingMs, max: 8388608 } }, now);
    this.application.opened(client);
  }

  #resume(line, resume, now) {
    const client = this.clients.get(resume.token);
    const lost = (why) => {
      this.counts.lost += 1;
      this.#say(line, { lost: { why } }, now);
      this.#welcome(line, now);
    };
    if (!client) return lost("expired");
    if (resume.try <= client.seen) {
      this.counts.refused += 1;
      return this.#close(line, 4409, "a newer connection");
    }
    client.seen = resume.try;
    const sent = client.acked + client.kept.length + client.forgotten;
    if (!(resume.got >= client.acked && resume.got <= sent)) return this.#close(line, 1002, "got");
    if (client.line) {
      // The old connection ends, and nothing that it still brings is read.
      this.counts.takeovers += 1;
      this.#over(client.line, ["close", 4409, "a newer connection"]);
      client.line = null;
    }
    const first = client.acked + client.forgotten;
    if (resume.got < first) {
      if (!client.isClosed) this.#gone(client);
      this.clients.delete(client.token);
      return lost("behind");
    }
    client.kept.splice(0, resume.got - first).forEach((data) => (client.keptBytes -= bytesOf(data)));
    client.acked = resume.got;
    client.forgotten = 0;
    if (client.isClosed) {
      for (const data of client.kept) this.#put(line, data, now);
      this.#say(line, { closed: client.isClosed }, now);
      this.#close(line, client.isClosed.code, client.isClosed.reason);
      this.clients.delete(client.token);
      return;
    }
    client.line = line;
    line.client = client;
    client.unacked = 0;
    this.counts.resumed += 1;
    this.#say(line, { resumed: { client: client.id, got: client.got } }, now);
    for (const data of client.kept) this.#put(line, data, now);
    this.application.resumed(client);
  }

  #acknowledged(line, client, n) {
    const first = client.acked + client.forgotten;
    if (n > first + client.kept.length) {
      this.#gone(client);
      return this.#close(line, 1002, "an ack of what was never sent");
    }
    if (n <= first) return;
    client.kept.splice(0, n - first).forEach((data) => (client.keptBytes -= bytesOf(data)));
    client.acked = n;
    client.forgotten = 0;
  }

  #acknowledge(line, now) {
    line.client.unacked = 0;
    this.#say(line, { ack: line.client.got }, now);
  }

  #forget(client, n) {
    client.kept.splice(0, n).forEach((data) => (client.keptBytes -= bytesOf(data)));
    client.forgotten += n;
  }

  /** The client is no more. */
  #gone(client) {
    this.clients.delete(client.token);
    if (client.isClosed) return;
    client.isClosed = { code: 1000, reason: "" };
    this.application.closed(client);
  }

  #say(line, message, now) {
    line.sentAt = now;
    line.out.push(["message", CONTROL + JSON.stringify(message)]);
  }

  #put(line, data, now) {
    line.sentAt = now;
    line.out.push(["message", typeof data === "string" && data.startsWith(CONTROL) ? CONTROL + data : data]);
  }

  #close(line, code, reason) {
    const { client } = line;
    this.#over(line, ["close", code, reason]);
    if (client && client.line === line) {
      client.line = null;
      this.#gone(client);
    }
  }

  #over(line, close) {
    line.isOver = true;
    line.out.push(close);
  }
}

const bytesOf = (data) => (typeof data === "string" ? Buffer.byteLength(data) : data.byteLength);
