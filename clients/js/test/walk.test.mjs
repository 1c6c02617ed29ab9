// The library's core against a gateway's state machine, at random: thousands of cuts, each of them replayed by its seed.
// WALK_SEED=7 runs one seed again, WALK_RUNS=5000 runs more.
import assert from "node:assert/strict";
import { test } from "node:test";

import { World, plain } from "./reference/world.mjs";

const FIRST = Number(process.env.WALK_SEED ?? 1);
const RUNS = process.env.WALK_SEED ? 1 : Number(process.env.WALK_RUNS ?? 600);
const STEPS = 2000;

function eachSeed(run) {
  for (let seed = FIRST; seed < FIRST + RUNS; seed++) {
    try {
      run(seed);
    } catch (error) {
      error.message = `WALK_SEED=${seed}: ${error.message}`;
      throw error;
    }
  }
}

test("over any cuts everything arrives once and in order, in both directions, and it stays one client", () => {
  const counts = { cuts: 0, cutsWhileResuming: 0, takeovers: 0, resumed: 0, refused: 0, up: 0, down: 0 };
  eachSeed((seed) => {
    const world = new World(seed, { resumeMs: 1e9, resumeBytes: 1e9 });
    world.settle(); // it is in: before that it is nobody, and a cut ends it
    for (let n = 0; n < STEPS; n++) world.step();
    world.settle();
    assert.equal(world.made.length, 1, "one client");
    const { client } = world;
    assert.deepEqual(plain(client.up), plain(world.sent));
    assert.deepEqual(plain(world.received[0]), plain(client.down));
    assert.ok(!client.told.includes("closed"));
    assert.equal(world.core.queue.length, 0, "everything is acknowledged in the end");
    assert.equal(world.core.size, 0);
    counts.cuts += world.cuts;
    counts.cutsWhileResuming += world.cutsWhileResuming;
    for (const name of ["takeovers", "resumed", "refused"]) counts[name] += world.gateway.counts[name];
    counts.up += client.up.length;
    counts.down += client.down.length;
  });
  console.log(JSON.stringify(counts));
  if (RUNS >= 600) {
    assert.ok(counts.cuts > 10000 && counts.cutsWhileResuming > 2000 && counts.takeovers > 2000, JSON.stringify(counts));
  }
});

test("where the gateway keeps too little, the page is told so, and knows what may not have arrived", () => {
  let losses = 0;
  let closes = 0;
  eachSeed((seed) => {
    const world = new World(seed, { resumeMs: 8000, resumeBytes: 3000, stop: false });
    for (let n = 0; n < STEPS; n++) {
      world.step();
      const { client } = world;
      // Now and then the application closes a client, perhaps while it is away.
      if (world.random() < 0.002 && client && !client.isClosed) {
        world.gateway.close(client, 4503, "again", world.now);
        world.drain();
      }
    }
    world.settle();
    const lost = world.events.filter(([name]) => name === "lost").map(([, about]) => about);
    losses += lost.length;
    closes += world.made.filter((client) => client.isClosed?.code === 4503).length;
    // Each client's messages come in order, without a gap, up to an end.
    const heard = world.made.filter((client) => client.down.length || client.up.length);
    for (const received of world.received) {
      const texts = plain(received).join("|");
      const fits = (client) => plain(client.down).slice(0, received.length).join("|") === texts;
      assert.ok(world.made.some(fits), "received messages are the beginning of what one client was sent");
    }
    // What was sent has arrived once at one client, in order, or the page was told that it may not have.
    const arrived = heard.flatMap((client) => plain(client.up));
    assert.equal(new Set(arrived).size, arrived.length, "nothing twice");
    const told = new Set(plain(lost.flatMap((about) => about.unacknowledged)));
    const never = new Set(plain(lost.flatMap((about) => about.unacknowledged.slice(about.written))));
    for (const message of plain(world.sent)) {
      assert.ok(arrived.includes(message) || told.has(message), `${message} is gone without a word`);
      assert.ok(!(arrived.includes(message) && never.has(message)), `${message} has arrived, but was said not to have`);
    }
    const order = new Map(plain(world.sent).map((message, n) => [message, n]));
    for (const client of heard) {
      const numbers = plain(client.up).map((message) => order.get(message));
      assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b), "in order");
    }
  });
  console.log(JSON.stringify({ losses, closes }));
  if (RUNS >= 600) assert.ok(losses > 300 && closes > 100, `${losses} ${closes}`);
});
