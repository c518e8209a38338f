/**
 * The conformance suite: every kernel against a plain float64 loop, on whatever backend it is given. It runs in the
 * tests of every runtime and in `widefield selftest`, so nothing here or below may belong to one runtime.
 *
 * Alone in `engine/`, the suite looks upwards, to `arch` and `covariance` for programs to run and to `learn` for the rules
 * of target propagation; nothing else in `engine/` may import it.
 */
import { WidefieldError } from "../../errors.ts";
import type { Backend } from "../backend.ts";
import { RandomStream } from "../rng.ts";
import { batchNormRows } from "./batch-norm.ts";
import { activateRows } from "./activate.ts";
import { broadcastAddRow } from "./broadcast-add.ts";
import { conv2dGradientRows } from "./conv2d-gradients.ts";
import { channelRows } from "./channels.ts";
import { classLossRow } from "./class-loss.ts";
import { conv2dRow } from "./conv2d.ts";
import { covarianceRows } from "./covariance.ts";
import { dropoutRow } from "./dropout.ts";
import { eigenRows } from "./eigen.ts";
import { elementwiseRow } from "./elementwise.ts";
import { fullDoubleRows, fullSingleRows } from "./full-covariance.ts";
import { krylovRows } from "./krylov.ts";
import { linalgRows } from "./linalg.ts";
import { matmulRow } from "./matmul.ts";
import { pool2dRows } from "./pool2d.ts";
import { optimiserRows } from "./optimisers.ts";
import { randomNormalRow } from "./random-normal.ts";
import { recursionRows } from "./recursion.ts";
import { reduceRow } from "./reduce.ts";
import { FNV_START, runCase, type Row } from "./row.ts";
import { simdPeakRow } from "./simd-peak.ts";
import { softmaxRows } from "./softmax.ts";
import { stridedCopyRow } from "./strided-copy.ts";
import { targetGradientRow } from "./target-gradient.ts";

export { hasRelaxedSimd } from "../wasm/variants.ts";

/** One row a kernel, in the kernels' order. */
export const rows: readonly Row[] = [
  matmulRow,
  elementwiseRow,
  reduceRow,
  ...covarianceRows,
  ...fullSingleRows,
  ...fullDoubleRows,
  ...linalgRows,
  conv2dRow,
  broadcastAddRow,
  randomNormalRow,
  ...krylovRows,
  ...eigenRows,
  simdPeakRow,
  ...recursionRows,
  ...conv2dGradientRows,
  ...pool2dRows,
  stridedCopyRow,
  ...channelRows,
  ...batchNormRows,
  ...softmaxRows,
  classLossRow,
  ...activateRows,
  targetGradientRow,
  dropoutRow,
  ...optimiserRows,
];

export interface ConformanceOptions {
  /** Seed of the inputs; default 0. */
  readonly seed?: number;
  /** Names of the kernels to run; default: all that the backend has. */
  readonly kernels?: readonly string[];
  /** Seconds to spend on each kernel's rate; default 0.2, and 0 measures none. */
  readonly rateSeconds?: number;
  /** Checked between kernels. */
  readonly signal?: AbortSignal;
  /** Called after each kernel. */
  readonly onRow?: (result: RowResult) => void;
}

export interface RowResult {
  readonly kernel: string;
  readonly cases: number;
  /** The largest error of all cases, relative to `measure`; NaN or Infinity where something is not a number. */
  readonly maxError: number;
  /** The case it was found in. */
  readonly worstCase: string;
  readonly measure: string;
  readonly tolerance: number;
  /** Work per second of the largest case that was timed, in `unit`; undefined where none was. */
  readonly rate: number | undefined;
  readonly unit: string;
  readonly ok: boolean;
  /** A hash of all results, bit by bit: backends that promise the same bits have the same digest for the same seed. */
  readonly digest: number;
}

/** Names of the kernels that a backend has: those without a grid of workgroups exist on wasm only. */
export function kernelsOn(backend: Backend): string[] {
  const here = rows.filter(({ kernel }) => backend.info.backend === "wasm" || kernel.geometry !== undefined);
  return here.map(({ kernel }) => kernel.name);
}

/**
 * Runs every row that the backend has. Throws the backend's WidefieldError where it cannot work at all, and E_ABORTED
 * when the signal says so.
 */
export async function runConformance(backend: Backend, options: ConformanceOptions = {}): Promise<RowResult[]> {
  const { seed = 0, kernels = kernelsOn(backend), rateSeconds = 0.2, signal, onRow } = options;
  const results: RowResult[] = [];
  for (const row of rows) {
    if (!kernels.includes(row.kernel.name)) continue;
    if (signal?.aborted === true) throw new WidefieldError("E_ABORTED", "the self-test was stopped");
    const result = await runRow(backend, row, seed, rateSeconds);
    results.push(result);
    onRow?.(result);
  }
  return results;
}

/** One line for each kernel that is off: its error, and the case. */
export function offRows(results: readonly RowResult[]): string[] {
  return results
    .filter(({ ok }) => !ok)
    .map(({ kernel, worstCase, maxError, tolerance }) => `${kernel}: error ${maxError} > ${tolerance} in ${worstCase}`);
}

async function runRow(backend: Backend, row: Row, seed: number, rateSeconds: number): Promise<RowResult> {
  const random = new RandomStream(seed, `conformance ${row.kernel.name}`);
  let [cases, maxError, worstCase, digest] = [0, 0, "", FNV_START];
  const count = (name: string, error: number): void => {
    cases++;
    if (worstCase !== "" && (error <= maxError || Number.isNaN(maxError))) return;
    maxError = error;
    worstCase = name;
  };
  for (const test of row.cases(random, backend)) {
    const outcome = await runCase(backend, test);
    count(test.name, outcome.error);
    digest = Math.imul(digest ^ outcome.digest, 0x01000193) >>> 0;
  }
  let rate: number | undefined;
  for (let level = 0; rateSeconds > 0; level++) {
    const test = row.large(level, random, backend);
    if (test === undefined) break;
    const { error, seconds = NaN } = await runCase(backend, test, rateSeconds);
    count(test.name, error);
    rate = test.work / seconds;
    // Small cases do not fill the machine: go on until one run takes a good part of the time by itself.
    if (seconds > rateSeconds / 4) break;
  }
  const { kernel, measure, tolerance, unit } = row;
  const ok = maxError <= tolerance;
  return { kernel: kernel.name, cases, maxError, worstCase, measure, tolerance, rate, unit, ok, digest };
}
