/** Runs the built command line in a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";

const cli = join(import.meta.dirname, "..", "..", "dist", "cli.js");

export interface Outcome {
  /** null where a signal ended the process. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly process: ChildProcess;
  readonly outcome: Promise<Outcome>;
}

export function start(...args: string[]): Running {
  if (!existsSync(cli)) throw new Error(`${cli} is not there: run npm run build before the tests`);
  const child = spawn(process.execPath, [cli, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const text = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (text.stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (text.stderr += chunk.toString()));
  const outcome = new Promise<Outcome>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...text }));
  });
  return { process: child, outcome };
}

export function widefield(...args: string[]): Promise<Outcome> {
  return start(...args).outcome;
}

export const wasm = ["--backend", "wasm", "--threads", "2"];

export const smallArch = {
  type: "serial",
  layers: [
    { type: "conv", filter: 5, stride: 2, weightVariance: 2, biasVariance: 0.1 },
    { type: "relu" },
    { type: "flatten" },
    { type: "dense" },
  ],
};

/** A folder for a file of tests, with an architecture in it that is quick to compute. */
export function workspace(): { path: (name: string) => string; arch: string[] } {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "widefield-cli-"));
    await writeFile(join(folder, "small.json"), JSON.stringify(smallArch));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  return {
    path: (name) => join(folder, name),
    get arch() {
      return ["--arch", join(folder, "small.json")];
    },
  };
}
