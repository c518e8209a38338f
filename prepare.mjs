/**
 * Makes a fresh clone ready: installs what package-lock.json asks for, and builds. Each step runs only where something
 * has changed since the last time. Needs nothing but Node and npm.
 *
 *     import { prepare } from "./prepare.mjs";   or   node prepare.mjs
 */
import { createHash } from "node:crypto";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

function run(command, args) {
  const result = spawnSync(command, args, {
    cwd: at("."),
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32",
  });
  if (result.status === 0) return;
  console.error(`widefield: ${command} ${args.join(" ")} failed${result.error ? `: ${result.error.message}` : ""}`);
  process.exit(result.status ?? 1);
}

function filesUnder(folder) {
  return readdirSync(at(folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes("generated"))
    .map((entry) => `${entry.parentPath}/${entry.name}`)
    .sort();
}

function digest(files) {
  const hash = createHash("sha256");
  for (const file of files) hash.update(file).update(readFileSync(file));
  return hash.digest("hex");
}

/** Runs a step unless its inputs are those of the last time; `made` must exist as well. */
function step(name, inputs, made, work) {
  const stamp = at(`build/${name}.stamp`);
  const now = digest(inputs);
  if (existsSync(at(made)) && existsSync(stamp) && readFileSync(stamp, "utf8") === now) return;
  work();
  mkdirSync(at("build"), { recursive: true });
  writeFileSync(stamp, now);
}

export function prepare() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    console.error(`widefield needs Node 20.19 or newer; this is ${process.versions.node}`);
    process.exit(1);
  }
  const lock = at("package-lock.json");
  // Not `npm ci`, which would take a running session's node_modules away from under it.
  step("install", [lock], "node_modules/esbuild/package.json", () =>
    run("npm", ["install", "--no-save", "--no-audit", "--no-fund"]),
  );
  const sources = ["assembly", "shaders", "sdk", "cli"].flatMap(filesUnder);
  const settings = ["package.json", "build.mjs", "asconfig.json", "tsconfig.json", "tsconfig.build.json"].map(at);
  step("build", [lock, ...settings, ...sources], "dist/cli.js", () => run(process.execPath, [at("build.mjs")]));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) prepare();
