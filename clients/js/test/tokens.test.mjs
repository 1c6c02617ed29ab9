// When the library asks for tokens and sends them, on a socket that the test plays.
import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "../dist/index.js";

const HELLO = '\u0001{"hello":{"client":"c","token":"t","resume_ms":60000,"ping_ms":25000,"max":8388608}}';

test("a token that ends soon is renewed when the gateway has greeted, and not before it can be sent", async () => {
  const sent = [];
  const socket = { protocol: "gw.1", send: (text) => sent.push(JSON.parse(text.slice(1))), close() {} };
  const asked = [];
  const now = Date.now() / 1000;
  const client = connect("ws://gateway", {
    resume: true,
    socket: () => socket,
    getToken: () => ({ token: `token ${asked.push(sent.length)}`, exp: now + (asked.length === 1 ? 10 : 3600) }),
  });
  await until(() => socket.onmessage);
  socket.onopen({});
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(sent, [{ start: {} }]);
  socket.onmessage({ data: HELLO });
  await until(() => sent.length === 2);
  assert.deepEqual(sent[1], { token: { auth: "token 2" } });
  assert.equal(asked.length, 2);
  client.close();
});

async function until(condition) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve));
}
