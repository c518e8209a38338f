/**
 * Bundles and runs a benchmark of this folder:
 *
 *     npm run bench -- covariance [its own arguments]
 *     npm run bench -- covariance-gpu --swiftshader
 *
 * --swiftshader runs it on the software GPU of the tests; --node-option=X is passed on to Node.
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import esbuild from "esbuild";
import { swiftshaderEnvironment } from "../test/swiftshader.mjs";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const [name = "", ...given] = process.argv.slice(2);
const known = readdirSync(at("."))
  .filter((file) => file.endsWith(".ts"))
  .map((file) => file.slice(0, -3));
if (!known.includes(name)) {
  console.error(`usage: npm run bench -- NAME [arguments]; benchmarks are ${known.join(", ")}`);
  process.exit(2);
}
if (!existsSync(at("../dist/wasm/threads.wasm"))) {
  console.error("npm run build comes first");
  process.exit(1);
}

const software = given.includes("--swiftshader");
const nodeOptions = given.filter((one) => one.startsWith("--node-option=")).map((one) => one.slice(14));
const rest = given.filter((one) => one !== "--swiftshader" && !one.startsWith("--node-option="));
const outfile = at(`../build/bench-${name}.mjs`);
await esbuild.build({
  entryPoints: [at(`${name}.ts`)],
  outfile,
  bundle: true,
  platform: "node",
  format: "esm",
  target: "es2023",
  packages: "external",
  loader: { ".wgsl": "text" },
  define: { WIDEFIELD_VERSION: '"0.0.0-bench"', WIDEFIELD_ASSETS: '"../dist/"' },
  logLevel: "warning",
});
const child = spawn(process.execPath, [...nodeOptions, outfile, ...rest], {
  stdio: "inherit",
  env: software ? { ...process.env, ...swiftshaderEnvironment() } : process.env,
});
child.on("exit", (code) => (process.exitCode = code ?? 1));
