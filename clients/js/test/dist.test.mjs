// What is delivered: dist/ is committed, belongs to src/, and is as small as the README says.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import vm from "node:vm";

import { digest, gzipped } from "../build.mjs";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));

test("the minified file has at most 4096 bytes, gzipped", () => {
  assert.ok(gzipped(dist) <= 4096, `${gzipped(dist)} bytes`);
});

test("dist/ was built from src/ as it is: npm run build", () => {
  assert.equal(readFileSync(dist + "sources.sha256", "utf8").trim(), digest());
});

test("the classic file defines GatewayWorker, and nothing else", () => {
  const page = vm.createContext({});
  vm.runInContext(readFileSync(dist + "gatewayworker-client.min.js", "utf8"), page);
  assert.deepEqual(Object.keys(page), ["GatewayWorker"]);
  assert.deepEqual(Object.keys(page.GatewayWorker), ["connect", "miniProgram", "RequestError"]);
});
