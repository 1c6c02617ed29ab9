// Puts the classic file into the example pages, which have to work from disk, without a server:
//
//     node inline.mjs          writes them
//     node inline.mjs --check  fails where one has another copy (so does the test `docs`)
//
// A page has `<script id="gatewayworker-client">` for it.
import { readFileSync, writeFileSync } from "node:fs";

const PAGES = [
  "client.html", "group-chat/index.html", "live-room/index.html", "method-router/index.html", "no-code/index.html",
].map((name) => new URL(`../../examples/${name}`, import.meta.url));
const library = readFileSync(new URL("dist/gatewayworker-client.min.js", import.meta.url), "utf8").trim();

for (const page of PAGES) {
  const before = readFileSync(page, "utf8");
  const after = before.replace(/(<script id="gatewayworker-client">)[^]*?(<\/script>)/, (_, start, end) => `${start}\n${library}\n${end}`);
  if (!after.includes(library)) throw new Error(`${page.pathname} has no place for the library`);
  if (after === before) continue;
  if (!process.argv.includes("--check")) {
    writeFileSync(page, after);
    continue;
  }
  console.error(`${page.pathname} has another copy of the library: node clients/js/inline.mjs`);
  process.exitCode = 1;
}
