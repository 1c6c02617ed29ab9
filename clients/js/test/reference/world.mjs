// A client's core and a gateway (`gateway.mjs`) on simulated time and a simulated network, all drawn from one seed.
//
// `step` does one random thing; `settle` lets everything arrive that still can. What the applications at both ends have
// sent and received stands in `up` and `down`, for each client of the gateway's.
import * as core from "../../dist/core.js";
import { Gateway } from "./gateway.mjs";

/** Numbers between 0 and 1 (mulberry32). */
export function randomOf(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export class World {
  constructor(seed, { resumeMs = 60000, resumeBytes = 262144, pingMs = 25000, stop = true } = {}) {
    this.random = randomOf(seed);
    this.now = 1000;
    this.stop = stop;
    this.events = [];
    this.made = []; // the gateway's clients, with what its application has sent and received
    this.sent = []; // by the client's application, all of it
    this.received = []; // by the client's application, for each client in turn
    this.cuts = this.cutsWhileResuming = 0;
    this.lines = [];
    const app = (name) => (client) => this.#tell(client, name);
    this.gateway = new Gateway({ resumeMs, resumeBytes, pingMs, random: this.random }, {
      opened: (client) => this.made.push(Object.assign(client, { up: [], down: [], told: [] })),
      message: (client, data) => client.up.push(data),
      detached: app("detached"), resumed: app("resumed"), closed: app("closed"),
    });
    this.core = core.create({
      resume: true, minDelay: 500, maxDelay: 20000, connectTimeout: 10000, maxBuffered: 1e6, ping: '{"type":"ping"}',
      pong: '{"type":"pong"}', pingInterval: 0, silence: 90000, retry: () => undefined, random: this.random,
      fallback: false, copies: false,
    }, this.now);
  }

  #tell(client, name) {
    client.told.push(name);
  }

  one(list) {
    return list[Math.floor(this.random() * list.length)];
  }

  get client() {
    return this.made[this.made.length - 1];
  }

  /** A message of any kind: short, beginning with the control character, binary, long. */
  message(prefix, n) {
    const kind = this.random();
    const text = `${prefix}${n}`;
    if (kind < 0.1) return "\u0001" + text;
    if (kind < 0.2) return "\u0001\u0001" + text;
    if (kind < 0.3) return new TextEncoder().encode(text).buffer;
    if (kind < 0.35) return text + "x".repeat(2000);
    return text;
  }

  up() {
    const message = this.message("up", this.sent.length);
    if (core.send(this.core, message)) this.sent.push(message);
    this.drain();
  }

  down() {
    const { client } = this;
    if (!client || client.isClosed) return;
    const message = this.message("down", client.down.length);
    client.down.push(message);
    this.gateway.send(client, message, this.now);
    this.drain();
  }

  /** Does what both sides have put out. */
  drain() {
    for (let effect; (effect = this.core.out.shift()); ) {
      const line = this.lines.find((line) => line.isCurrent);
      if (effect[0] === "connect") {
        if (line) throw new Error("two lines");
        this.lines.push({
          isCurrent: true, isOpen: false, isCut: false, up: [], down: [], server: null,
        });
      } else if (effect[0] === "write") {
        if (!line?.isOpen) throw new Error("written without a line");
        if (!line.isCut) line.up.push(["message", effect[1]]);
      } else if (effect[0] === "drop") {
        if (line) {
          line.isCurrent = false;
          if (!line.isCut && line.isOpen) line.up.push(["close", effect[1], effect[2]]);
        }
      } else if (effect[0] === "flush") {
        core.flush(this.core);
      } else {
        this.#event(effect[1], effect[2]);
      }
    }
    for (const line of this.lines) {
      if (!line.server) continue;
      const out = line.server.out.splice(0);
      if (!line.isCut) line.down.push(...out);
    }
  }

  #event(name, about) {
    this.events.push([name, about]);
    if (name === "open") this.received.push([]);
    if (name === "message") this.received[this.received.length - 1].push(about);
    if (this.stop && (name === "lost" || name === "close")) throw new Error(`${name}: ${JSON.stringify(about)}`);
  }

  /** The connection opens. */
  open(line) {
    line.isOpen = true;
    line.server = this.gateway.open(this.now);
    core.opened(this.core, "gw.1", this.now);
    this.drain();
  }

  deliverUp(line) {
    if (!line.up.length) return;
    const [kind, ...about] = line.up.shift();
    if (kind === "message") this.gateway.receive(line.server, about[0], this.now);
    else this.gateway.end(line.server, about[0], about[1], this.now);
    this.drain();
  }

  deliverDown(line) {
    if (!line.down.length) return;
    const [kind, ...about] = line.down.shift();
    if (!line.isCurrent) return;
    if (kind === "message") {
      core.received(this.core, about[0], this.now);
    } else {
      line.isCurrent = false;
      core.ended(this.core, about[0] ?? 1006, about[1], this.now);
    }
    this.drain();
  }

  /** Cuts a line: a part of what is on its way arrives, and each side notices or does not. */
  cut(line) {
    if (line.isCut) return;
    this.cuts += 1;
    if (this.core.phase === 2) this.cutsWhileResuming += 1;
    for (let n = Math.floor(this.random() * (line.up.length + 1)); n > 0; n--) this.deliverUp(line);
    for (let n = Math.floor(this.random() * (line.down.length + 1)); n > 0; n--) this.deliverDown(line);
    line.isCut = true;
    line.down = [];
    // What has reached the gateway's host may be read late, when the client is back long ago.
    line.up = this.random() < 0.5 ? [] : line.up.slice(0, Math.floor(this.random() * (line.up.length + 1)));
    const notices = this.random();
    if (notices < 0.6 && line.isCurrent) {
      line.isCurrent = false;
      core.ended(this.core, 1006, "", this.now);
    }
    if ((notices < 0.3 || notices > 0.8) && line.server) line.up.push(["close", null, ""]);
    this.drain();
  }

  pass(ms) {
    this.now += ms;
    core.tick(this.core, this.now);
    this.drain();
    this.gateway.tick(this.now);
    this.drain();
  }

  step() {
    const what = this.random();
    const line = this.one(this.lines.slice(-4));
    if (what < 0.17) this.up();
    else if (what < 0.34) this.down();
    else if (what < 0.42) this.pass(Math.floor(this.random() * 200));
    else if (what < 0.45) this.pass(Math.min(30000, Math.max(1, core.nextAt(this.core) - this.now)));
    else if (what < 0.46) (core.wake(this.core, this.now), this.drain());
    else if (!line) this.pass(10);
    else if (!line.isOpen) {
      if (line.isCurrent && this.random() < 0.7) this.open(line);
      else if (line.isCurrent && this.random() < 0.3) this.refuse(line);
    } else if (what < 0.68) this.deliverUp(line);
    else if (what < 0.9) this.deliverDown(line);
    else if (what < 0.93) this.cut(line);
    else if (what < 0.935 && line.server && !line.server.isOver && line.server.client) {
      this.gateway.go(line.server, 3000, true, this.now);
      this.drain();
    }
    if (this.lines.length > 40) this.lines.splice(0, 20);
  }

  /** Nobody is there. */
  refuse(line) {
    line.isCurrent = false;
    line.isCut = true;
    core.ended(this.core, 1006, "", this.now);
    this.drain();
  }

  /** No more cuts, until everything has arrived. */
  settle() {
    for (let quiet = 0; quiet < 8; ) {
      const before = JSON.stringify([this.core.got, this.core.base, this.core.phase, this.events.length]);
      for (const line of this.lines) {
        if (!line.isOpen && line.isCurrent) this.open(line);
        while (line.up.length) this.deliverUp(line);
        while (line.down.length) this.deliverDown(line);
      }
      this.pass(5000);
      quiet = before === JSON.stringify([this.core.got, this.core.base, this.core.phase, this.events.length]) ? quiet + 1 : 0;
    }
  }
}

/** As text, so that messages can be compared. */
export const plain = (list) => list.map((data) => (typeof data === "string" ? data : "bytes:" + Buffer.from(data)));
