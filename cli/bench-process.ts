/**
 * One row of a benchmark in a process of its own, so that the peak of its memory is that of this row and of nothing
 * before it. The child is this command line again, with the hidden command `bench row`; it is told what to measure, and
 * tells what it found, in messages. It lives no longer than its parent.
 */
import { fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { messageOf, WidefieldError, type ErrorCode } from "../sdk/errors.ts";
import { benchLinalg, type LinalgBenchRow } from "../sdk/experiments/bench-linalg.ts";
import type { LinalgBench } from "../sdk/experiments/bench-workloads.ts";
import { nodeFiles, open } from "../sdk/index.node.ts";

export interface RowRequest extends Omit<LinalgBench, "scratch"> {
  readonly threads?: number | undefined;
  readonly memory?: string | undefined;
  readonly seed?: number | undefined;
  /** A folder. */
  readonly scratch?: string | undefined;
}

export interface MeasuredRow extends LinalgBenchRow {
  /** Peak resident size of the whole process, the runtime included. */
  readonly peakBytes: number;
  /** Its resident size with the engine open and nothing in it. */
  readonly baseBytes: number;
}

export interface RowHooks {
  readonly signal: AbortSignal;
  readonly onProgress: (done: number, of: number) => void;
}

type Order = { readonly request: RowRequest } | { readonly abort: true };
type Report =
  | { readonly done: number; readonly of: number }
  | { readonly row: MeasuredRow }
  | { readonly error: { readonly message: string; readonly code: ErrorCode | undefined } };

/** Milliseconds between two looks at the resident size, where the system keeps no peak of it. */
const SAMPLING = 10;

/** Measures a row, in a child process where the runtime is Node. Throws what the row throws, E_DEVICE if it dies. */
export function measureRow(request: RowRequest, hooks: RowHooks): Promise<MeasuredRow> {
  return "Deno" in globalThis ? measure(request, hooks, false) : measureInChild(request, hooks);
}

function measureInChild(request: RowRequest, { signal, onProgress }: RowHooks): Promise<MeasuredRow> {
  const child = fork(process.argv[1] ?? "", ["bench", "row"], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const stop = (): void => void child.send({ abort: true } satisfies Order);
  signal.addEventListener("abort", stop);
  return new Promise<MeasuredRow>((resolve, reject) => {
    child.on("message", (report: Report) => {
      if ("row" in report) resolve(report.row);
      else if ("done" in report) onProgress(report.done, report.of);
      else if (report.error.code === undefined) reject(new Error(report.error.message));
      else reject(new WidefieldError(report.error.code, report.error.message));
    });
    child.on("error", reject);
    // Not "exit": messages may still be under way then.
    child.on("close", (code, killer) => {
      // Where a row or an error came before, this changes nothing.
      if (signal.aborted) reject(stopped());
      else reject(died(code, killer));
    });
    child.send({ request } satisfies Order);
    if (signal.aborted) stop();
  }).finally(() => signal.removeEventListener("abort", stop));
}

function stopped(): WidefieldError {
  return new WidefieldError("E_ABORTED", "the benchmark was stopped");
}

function died(code: number | null, killer: NodeJS.Signals | null): WidefieldError {
  const how = killer === null ? `ended with exit code ${code ?? "unknown"}` : `was killed by ${killer}`;
  const why =
    killer === "SIGKILL" || killer === "SIGABRT" ? ": most likely memory ran out; give it less with --memory" : "";
  return new WidefieldError("E_DEVICE", `its process ${how}${why}`);
}

/** The hidden command that a child runs. */
export function benchRowCommand(): Command {
  return new Command("row").action(async () => {
    if (process.send === undefined)
      throw new WidefieldError("E_CONFIG", "bench row is what bench linalg runs for itself; it is of no use alone");
    const controller = new AbortController();
    // A terminal's Ctrl-C reaches parent and child: the parent says what comes of it.
    process.on("SIGINT", () => undefined);
    process.on("disconnect", () => process.exit(130));
    const request = await new Promise<RowRequest>((resolve) => {
      process.on("message", (order: Order) => {
        if ("request" in order) resolve(order.request);
        else controller.abort();
      });
    });
    // An eigenproblem does not look at a signal, and leaves nothing behind.
    if (request.method === "eigh" || request.method === "eigenvalues")
      controller.signal.addEventListener("abort", () => process.exit(130));
    const hooks: RowHooks = { signal: controller.signal, onProgress: (done, of) => void report({ done, of }) };
    try {
      await report({ row: await measure(request, hooks, true) });
    } catch (thrown) {
      await report({ error: { message: messageOf(thrown), code: codeOf(thrown) } });
    }
    process.exit();
  });
}

/** Arrays that a runtime refuses are RangeErrors. */
function codeOf(thrown: unknown): ErrorCode | undefined {
  if (thrown instanceof WidefieldError) return thrown.code;
  return thrown instanceof RangeError ? "E_MEMORY" : undefined;
}

/** Resolves when the parent has it. */
function report(message: Report): Promise<void> {
  return new Promise((resolve) => {
    process.send?.(message, undefined, {}, () => resolve());
  });
}

/** `alone`: nothing else has run in this process, so that the peak which the system keeps is this row's. */
async function measure(request: RowRequest, { signal, onProgress }: RowHooks, alone: boolean): Promise<MeasuredRow> {
  const { threads, memory, seed, scratch, ...bench } = request;
  const engine = await open({ backend: "wasm", threads, memory, seed });
  const baseBytes = process.memoryUsage.rss();
  let sampled = baseBytes;
  const timer = setInterval(() => (sampled = Math.max(sampled, process.memoryUsage.rss())), SAMPLING);
  try {
    const place = scratch === undefined ? {} : { scratch: { files: await nodeFiles(), folder: scratch } };
    const row = await benchLinalg(engine, { ...bench, ...place }, { signal, onProgress });
    sampled = Math.max(sampled, process.memoryUsage.rss());
    return { ...row, baseBytes, peakBytes: alone ? (systemPeak() ?? sampled) : sampled };
  } finally {
    clearInterval(timer);
    await engine.close();
  }
}

/** Linux tells the peak of this process alone; what `getrusage` tells includes the parent's, from before the exec. */
function systemPeak(): number | undefined {
  try {
    const kibibytes = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    return kibibytes === undefined ? undefined : 1024 * Number(kibibytes);
  } catch {
    return undefined;
  }
}
