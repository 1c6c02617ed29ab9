// Talks to a gateway whose application echoes, over a line that is cut all the time. A test starts it:
//
//     node over-cuts.mjs URL
//
// It writes "open" when it is in. It sends, and has at most 20 messages without their echo, until it reads `stop N`: then it
// waits for the echoes and for N pushes ("push 0" ...), and writes what it has seen, as JSON.
import { createInterface } from "node:readline";

import { connect } from "../../dist/index.js";
import { socket } from "../reference/socket.mjs";

const AT_MOST = 20;
const events = {};
const sent = [];
const heard = [];
const pushed = [];
let pushes = Infinity;
let greeting;

const client = connect(process.argv[2], { resume: true, minDelay: 2, maxDelay: 20, connectTimeout: 1000, ...(socket && { socket }) });
for (const name of ["open", "detached", "resumed", "lost", "close"]) {
  client.on(name, (about) => {
    events[name] = (events[name] ?? 0) + 1;
    if (name === "lost" || name === "close") console.error(name, JSON.stringify(about).slice(0, 500));
  });
}
client.on("message", (data) => {
  const text = plain(data);
  if (greeting === undefined) {
    greeting = text;
    console.log(`open ${text}`);
  } else if (text.startsWith("push ")) {
    pushed.push(text);
  } else {
    heard.push(text);
  }
  go();
});

const input = createInterface(process.stdin).on("line", (line) => {
  pushes = Number(line.replace("stop ", ""));
  go();
});

function go() {
  while (pushes === Infinity && sent.length - heard.length < AT_MOST) {
    const message = messageOf(sent.length);
    sent.push(plain(message));
    client.send(message);
  }
  if (heard.length >= sent.length && pushed.length >= pushes) finish();
}

/** Texts, some with control characters in front, bytes that are no text, and some that are long. */
function messageOf(n) {
  const text = `message ${n}`;
  return [
    text, "\u0001" + text, "\u0001\u0001" + text, Uint8Array.from([255, n & 255, 0, 1]).buffer, text + "x".repeat(300 * (n % 11)),
  ][n % 5];
}

/** As text, so that it can be compared. */
function plain(data) {
  return typeof data === "string" ? data : "bytes:" + Buffer.from(data).toString("hex");
}

function finish() {
  const isWhole = (list, expected) => list.length === expected.length && list.every((text, n) => text === expected[n]);
  client.close();
  console.log(JSON.stringify({
    client: greeting, events, sent: sent.length, pushed: pushed.length,
    echoes: isWhole(heard, sent), pushes: isWhole(pushed, Array.from({ length: pushes }, (_, n) => `push ${n}`)),
  }));
  input.close();
}
