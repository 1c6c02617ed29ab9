// A client that a test drives. It runs the JavaScript that it reads, a line at a time, and writes what happens, as lines of JSON:
//
//     node driven.mjs
//
// `start(url, options)` connects; each event of `client` is a line `[name, about]`, and `tell(…)` writes another one. Bytes are
// `{ bytes: […] }`. At the input's end it leaves.
import { createInterface } from "node:readline";

import { connect, miniProgram } from "../../dist/index.js";
import { socket } from "../reference/socket.mjs";
import { sign } from "../reference/token.mjs";
import { wx } from "../reference/wx.mjs";

const shown = (_, value) => (value instanceof ArrayBuffer ? { bytes: [...new Uint8Array(value)] } : value);
const tell = (...line) => console.log(JSON.stringify(line, shown));

const start = (url, options) => {
  globalThis.client = connect(url, { ...(socket && { socket }), ...options });
  for (const name of ["open", "message", "detached", "resumed", "lost", "close"]) {
    globalThis.client.on(name, (about) => tell(name, about));
  }
};

Object.assign(globalThis, { start, tell, miniProgram, sign, wx });
createInterface(process.stdin).on("line", globalThis.eval).on("close", () => globalThis.client.close());
