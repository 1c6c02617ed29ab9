// Builds dist/ from src/: ES modules with their types (TypeScript), and one minified file for <script> (esbuild).
// With --check it builds elsewhere and compares: dist/ is committed, so that nobody needs npm to use or test it.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const DIST = join(HERE, "dist");
const CLASSIC = "gatewayworker-client.min.js";
/** The promise of the README. */
const MAX_GZIPPED = 4096;

/** A digest of the sources, which dist/ repeats: whoever has no npm can see that they belong together. */
export function digest() {
  const hash = createHash("sha256");
  for (const name of readdirSync(join(HERE, "src")).sort()) {
    hash.update(`${name}\0`).update(readFileSync(join(HERE, "src", name))).update("\0");
  }
  return hash.digest("hex");
}

export const gzipped = (folder) => gzipSync(readFileSync(join(folder, CLASSIC)), { level: 9 }).length;

async function build(folder) {
  const { build } = await import("esbuild");
  rmSync(folder, { recursive: true, force: true });
  const tsc = join(HERE, "node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "--project", HERE, "--outDir", folder], { stdio: "inherit" });
  const { version } = JSON.parse(readFileSync(join(HERE, "package.json")));
  await build({
    stdin: {
      // Not esbuild's own `globalName`, which costs two hundred bytes.
      contents: 'import { connect, miniProgram, RequestError } from "./src/index.ts"; globalThis.GatewayWorker = { connect, miniProgram, RequestError };',
      resolveDir: HERE,
    },
    outfile: join(folder, CLASSIC),
    bundle: true,
    minify: true,
    format: "iife",
    target: "es2020",
    charset: "utf8",
    // The core's own fields: neither the application nor what is stored over a reload has them.
    mangleProps: /^(settings|phase|offer|plainOpens|toldSize|front|failures|openedAt|retryAt|dueAt|goAt|pingAt|fallback|copies|isSent)$/,
    banner: { js: `/* gatewayworker-client ${version}, MIT */` },
  });
  writeFileSync(join(folder, "sources.sha256"), digest() + "\n");
  const size = gzipped(folder);
  console.log(`${CLASSIC}: ${size} bytes gzipped`);
  if (size > MAX_GZIPPED) throw new Error(`it may have ${MAX_GZIPPED}`);
}

async function check() {
  const folder = mkdtempSync(join(tmpdir(), "gatewayworker-client-"));
  try {
    await build(folder);
    const files = (of) => readdirSync(of).sort();
    const names = new Set([...files(folder), ...files(DIST)]);
    const read = (of, name) => (files(of).includes(name) ? readFileSync(join(of, name), "utf8") : undefined);
    const stale = [...names].filter((name) => read(folder, name) !== read(DIST, name));
    if (stale.length) throw new Error(`dist/ is not what src/ makes: ${stale.join(", ")}. Run: npm run build`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await (process.argv.includes("--check") ? check() : build(DIST)).catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
