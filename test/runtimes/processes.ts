/** Sessions in child processes: Node with chosen flags, and Deno from its npm package. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { swiftshaderEnvironment } from "../swiftshader.mjs";
import type { SessionOptions, SessionReport } from "./session.mjs";

const CHILD = fileURLToPath(new URL("child.mjs", import.meta.url));
/** A process that is still there after this long did not end by itself. */
const PATIENCE = 150_000;

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, with SwiftShader as its only GPU. Rejects when it cannot start or does not end. */
export async function runProgram(program: string, args: readonly string[], patience = PATIENCE): Promise<Ended> {
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...swiftshaderEnvironment(), NO_COLOR: "1" },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (bytes: Buffer) => (stdout += bytes.toString()));
  child.stderr.on("data", (bytes: Buffer) => (stderr += bytes.toString()));
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`${program} ${args.join(" ")}: still running after ${patience} ms\n${stdout}\n${stderr}`));
    }, patience);
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr });
    });
  });
}

/** One session in a process of its own; rejects unless it reported and then ended by itself with exit code 0. */
async function runSession(program: string, args: readonly string[], options: SessionOptions): Promise<SessionReport> {
  const { code, stdout, stderr } = await runProgram(program, [...args, CHILD, JSON.stringify(options)]);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: exit ${code}\n${stdout}\n${stderr}`);
  return JSON.parse(stdout) as SessionReport;
}

export function nodeSession(options: SessionOptions, flags: readonly string[] = []): Promise<SessionReport> {
  return runSession(process.execPath, flags, options);
}

export function denoSession(options: SessionOptions): Promise<SessionReport> {
  return runSession(denoProgram(), ["run", "--no-prompt", "--allow-all", "--unstable-webgpu"], options);
}

/** The binary that the package `deno` brings; its own launcher relies on an install script that npm may not run. */
export function denoProgram(): string {
  const { resolve } = createRequire(import.meta.url);
  const { platform, arch } = process;
  const target = platform === "linux" ? `linux-${arch}-glibc` : `${platform}-${arch}`;
  const program = join(dirname(resolve(`@deno/${target}/package.json`)), platform === "win32" ? "deno.exe" : "deno");
  if (!existsSync(program)) throw new Error(`no Deno at ${program}`);
  return program;
}
