/** `widefield bench linalg`: what the linear algebra does on this machine, a row for each size and method. */
import { stat } from "node:fs/promises";
import { Command } from "commander";
import { closest } from "fastest-levenshtein";
import { parseBytes } from "../sdk/engine/engine.ts";
import { messageOf, WidefieldError } from "../sdk/errors.ts";
import { BENCH_METHODS, type BenchMethod } from "../sdk/experiments/bench-workloads.ts";
import { version } from "../sdk/index.node.ts";
import { platform } from "../sdk/platform/platform.ts";
import { benchRowCommand, measureRow, type MeasuredRow, type RowRequest } from "./bench-process.ts";
import { formatBytes } from "./format.ts";
import { addOutputOptions, wholeNumber, withSession, type CommonOptions, type Session } from "./session.ts";

interface BenchOptions extends Pick<CommonOptions, "threads" | "memory" | "seed" | "json" | "quiet"> {
  readonly sizes: string;
  readonly methods: string;
  readonly rightHandSides: string;
  readonly repeats?: string;
  readonly scratch?: string;
}

interface FailedRow {
  readonly method: BenchMethod;
  readonly n: number;
  readonly vectors: number | undefined;
  readonly error: { readonly message: string; readonly code: string | null };
}

type Row = MeasuredRow | FailedRow;

export function benchCommand(): Command {
  const linalg = new Command("linalg")
    .description("Cholesky, eigenproblems and products in float64: rates, shares of the instruction set's peak, memory")
    .option("--sizes <list>", "rows of the matrices", "512,1024,2048,4096")
    .option("--methods <list>", `any of ${BENCH_METHODS.join(", ")}`, BENCH_METHODS.join(","))
    .option("--right-hand-sides <list>", "right-hand sides of solve, and vectors of product", "1,10")
    .option("--repeats <n>", "runs, of which the median counts (default: 3, or as many as begin within 20 s)")
    .option("--threads <n>", "threads (default: all cores)")
    .option("--memory <bytes>", "what a row may hold at once, such as 2GB (default: half the machine's memory)")
    .option("--scratch <folder>", "where a factor goes that memory does not hold")
    .option("--seed <n>", "seed of the matrix (default: 0)");
  addOutputOptions(linalg).action(run);
  return new Command("bench")
    .description("what the engine does on this machine")
    .addCommand(linalg)
    .addCommand(benchRowCommand(), { hidden: true });
}

async function run(options: BenchOptions): Promise<void> {
  const requests = await requestsOf(options);
  await withSession(options, async (session) => {
    const rows: Row[] = [];
    try {
      for (const [index, request] of requests.entries()) {
        if (session.signal.aborted) throw new WidefieldError("E_ABORTED", "the benchmark was stopped");
        const row = await rowOf(request, `${index + 1} of ${requests.length}`, session);
        if (!session.json) printRow(row, rows.length === 0, session);
        rows.push(row);
      }
    } finally {
      if (session.json) {
        const facts = { version, runtime: `${platform().name} ${platform().version}` };
        session.print(JSON.stringify({ ...facts, complete: rows.length === requests.length, rows }));
      }
    }
    if (!session.json) for (const text of yardstick(rows)) session.print(text);
    if (!rows.every(isMeasured)) process.exitCode = 1;
  });
}

/** A row for each size, method, and number of right-hand sides where the method has any. */
async function requestsOf(options: BenchOptions): Promise<RowRequest[]> {
  const sizes = numbersOf("--sizes", options.sizes);
  const methods = wordsOf("--methods", options.methods).map(methodOf);
  const vectors = numbersOf("--right-hand-sides", options.rightHandSides);
  const { repeats, threads, memory, seed, scratch } = options;
  const shared = {
    repeats: repeats === undefined ? undefined : countOf("--repeats", repeats),
    threads: threads === undefined ? undefined : countOf("--threads", threads),
    seed: seed === undefined ? undefined : wholeNumber("--seed", seed),
    memory,
    scratch,
  };
  if (memory !== undefined) parseBytes(memory);
  if (scratch !== undefined) await requireFolder(scratch);
  return sizes.flatMap((n) =>
    methods.flatMap((method): RowRequest[] =>
      method === "solve" || method === "product"
        ? vectors.map((count) => ({ method, n, vectors: count, ...shared }))
        : [{ method, n, ...shared }],
    ),
  );
}

function wordsOf(option: string, text: string): string[] {
  const words = text.split(",").map((word) => word.trim());
  if (words.every((word) => word !== "")) return [...new Set(words)];
  throw new WidefieldError("E_CONFIG", `${option} is a list such as a,b,c, without gaps, not "${text}"`);
}

function numbersOf(option: string, text: string): number[] {
  return wordsOf(option, text).map((word) => countOf(option, word));
}

/** A whole number from 1 on. */
function countOf(option: string, text: string): number {
  const count = /^\d+$/.test(text.trim()) ? Number(text) : NaN;
  if (Number.isSafeInteger(count) && count >= 1) return count;
  throw new WidefieldError("E_CONFIG", `${option}: "${text}" is not a whole number from 1 on`);
}

function methodOf(name: string): BenchMethod {
  const known = BENCH_METHODS.find((method) => method === name);
  if (known !== undefined) return known;
  throw new WidefieldError(
    "E_CONFIG",
    `--methods: there is no "${name}"; did you mean "${closest(name, BENCH_METHODS)}"? ` +
      `methods are ${BENCH_METHODS.join(", ")}`,
  );
}

async function requireFolder(path: string): Promise<void> {
  let what: string;
  try {
    if ((await stat(path)).isDirectory()) return;
    what = "it is not a folder";
  } catch (cause) {
    what = messageOf(cause);
  }
  throw new WidefieldError("E_IO", `--scratch ${path}: ${what}; name a folder that is there`);
}

/** What failed for its size is a row, too. What no row could do otherwise (options, Ctrl-C) is thrown. */
async function rowOf(request: RowRequest, place: string, session: Session): Promise<Row> {
  const { method, n, vectors } = request;
  const label = `${place}: ${method} ${n}`;
  session.progress.update(label, 0, 1);
  try {
    const onProgress = (done: number, of: number): void => session.progress.update(label, done, of);
    return await measureRow(request, { signal: session.signal, onProgress });
  } catch (thrown) {
    const code = thrown instanceof WidefieldError ? thrown.code : null;
    if (code === "E_ABORTED" || code === "E_CONFIG") throw thrown;
    return { method, n, vectors, error: { message: messageOf(thrown), code } };
  }
}

/** Title, width; rows are printed as they come, so widths are fixed. */
const COLUMNS = [
  ["size", 6],
  ["method", 23],
  ["seconds", 10],
  ["GFLOP/s", 9],
  ["of peak", 8],
  ["GB/s", 7],
  ["of a sum", 9],
  ["peak memory", 12],
  ["of triangle", 12],
] as const;

function line(cells: readonly string[]): string {
  const padded = COLUMNS.map(([, width], index) =>
    index === 1 ? `  ${(cells[index] ?? "").padEnd(width - 2)}` : (cells[index] ?? "").padStart(width),
  );
  return padded.join("").trimEnd();
}

function printRow(row: Row, first: boolean, session: Session): void {
  if (first) session.print(line(COLUMNS.map(([title]) => title)));
  session.print(isMeasured(row) ? line(cellsOf(row)) : `${line([String(row.n), labelOf(row)])}: ${errorText(row)}`);
}

function isMeasured(row: Row): row is MeasuredRow {
  return !("error" in row);
}

/** What shares are of. */
function yardstick(rows: readonly Row[]): string[] {
  const [first, ...others] = rows.filter(isMeasured);
  if (first === undefined) return [];
  const peaks = [first, ...others].map(({ peakGflops }) => peakGflops);
  const [least, most] = [Math.min(...peaks).toFixed(1), Math.max(...peaks).toFixed(1)];
  const threads = `${first.threads} ${first.threads === 1 ? "thread" : "threads"}`;
  return [
    "",
    `wasm (${first.adapter}), ${threads}; the peak of float64 multiply-adds, measured with each row: ` +
      `${least === most ? most : `${least} to ${most}`} GFLOP/s`,
  ];
}

function errorText({ error: { message, code } }: FailedRow): string {
  return code === null ? message : `${message} [${code}]`;
}

function labelOf({ method, vectors }: Row): string {
  return vectors === undefined ? method : `${method}, ${vectors} ${vectors === 1 ? "vector" : "vectors"}`;
}

function cellsOf(row: MeasuredRow): string[] {
  const { n, seconds, gflops, shareOfPeak, gigabytesPerSecond, shareOfSum, peakBytes, where, iterations } = row;
  const suffix = where === "scratch" ? ", out of core" : iterations === undefined ? "" : `, ${iterations} iterations`;
  return [
    String(n),
    labelOf(row) + suffix,
    seconds < 1 ? seconds.toPrecision(3) : seconds.toFixed(2),
    gflops.toFixed(1),
    percent(shareOfPeak),
    gigabytesPerSecond?.toFixed(1) ?? "",
    shareOfSum === undefined ? "" : percent(shareOfSum),
    formatBytes(peakBytes),
    heldOfTriangle(row).toFixed(2),
  ];
}

/** What is held of the engine's memory; where tiles lie outside of it, by how much the process grew. */
function heldOfTriangle({ where, engineBytes, peakBytes, baseBytes, triangleBytes }: MeasuredRow): number {
  const outside = where === "buffers" || where === "scratch";
  return (outside ? peakBytes - baseBytes : engineBytes) / triangleBytes;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}
