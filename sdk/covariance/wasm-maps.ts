/**
 * Memory that the wasm kernels need for the plans and the maps of a program: `assembly/covariance/plan.ts` and
 * `map64.ts`, counted. What fits stands in a thread's scratch, else in the kernels' `workspace`, a slice for each thread.
 */
import type { Workspace } from "../engine/kernels/covariance.ts";
import { SCRATCH_BYTES } from "../engine/wasm/layout.ts";
import { stepSize, type ConvStep, type Program, type Step } from "./program.ts";

/** Bytes of a plan, rounded up, and of a slot's record. */
const PLAN_BYTES = 512;
const LANE_BYTES = 16;
const CACHE_LINE = 64;

/** The workspace of a program's kernels; `forced` has one even where the scratch would do, for tests. */
export function wasmWorkspace(program: Program, precision: "f32" | "f64", threads: number, forced = false): Workspace {
  const needed = precision === "f64" ? doubleBytes(program) : singleBytes(program);
  if (!forced && needed <= SCRATCH_BYTES) return { slices: 0, sliceFloats: 0, bytes: 0 };
  const sliceBytes = align(needed);
  return { slices: threads, sliceFloats: sliceBytes / (precision === "f64" ? 8 : 4), bytes: threads * sliceBytes };
}

function align(bytes: number): number {
  return Math.ceil(bytes / CACHE_LINE) * CACHE_LINE;
}

/** Plans and maps of four pairs; or, without plans, the maps of an image's variances, which are in float64. */
function singleBytes(program: Program): number {
  const plans = (program.steps.length + program.slots + 1) * PLAN_BYTES;
  return Math.max(plans + laneBytes(program), doubleBytes(program));
}

/** One map a slot, the sums between two passes, and a line. */
function doubleBytes({ steps, slots, mapPixels }: Program): number {
  const sums = steps.map((step) => (step.kind === "conv" ? step.inWidth * step.outHeight + step.outWidth : 0));
  return 8 * (slots * mapPixels + Math.max(0, ...sums));
}

/** The same of four pairs in float32, with the zeros that convolutions read around maps and sums. */
function laneBytes({ steps, slots }: Program): number {
  const zeros = Array.from({ length: slots }, () => ({ front: 0, behind: 0 }));
  const bytes = new Array<number>(slots).fill(0);
  for (const step of steps.toReversed()) {
    const [outHeight, outWidth] = stepSize(step).out;
    const target = zeros[step.to];
    if (target !== undefined && begins(step)) {
      const height = target.front + outHeight + target.behind;
      bytes[step.to] = Math.max(bytes[step.to] ?? 0, align(height * outWidth * LANE_BYTES));
      zeros[step.to] = { front: 0, behind: 0 };
    }
    if (step.kind !== "conv") continue;
    const source = zeros[step.from];
    if (source === undefined) continue;
    const behind = reach(step.outHeight, step.filterHeight, step.strideHeight, step.dilationHeight);
    source.front = Math.max(source.front, step.padTop);
    source.behind = Math.max(source.behind, behind - step.padTop - step.inHeight);
  }
  const convolutions = steps.filter((step) => step.kind === "conv");
  const rows = Math.max(0, ...convolutions.map(rowBytes));
  const line = Math.max(0, ...convolutions.map(lineBytes));
  return bytes.reduce((total, slot) => total + slot, 0) + align(rows) + align(line);
}

/** A step that writes a value afresh, rather than add to one or change it in place. */
function begins(step: Step): boolean {
  if ("accumulate" in step && step.accumulate) return false;
  return step.kind === "input" || step.kind === "conv" || step.kind === "mean" || step.from !== step.to;
}

function rowBytes(step: ConvStep): number {
  const span = reach(step.outWidth, step.filterWidth, step.strideWidth, step.dilationWidth);
  return Math.max(step.padLeft + step.inWidth, span) * step.outHeight * LANE_BYTES;
}

/** A line of sums, and a window's. */
function lineBytes(step: ConvStep): number {
  const line = Math.max(step.outHeight, step.outWidth);
  return (line + Math.max(step.filterHeight, step.filterWidth)) * LANE_BYTES;
}

/** Pixels from the first that the first window sees to the last that the last one sees, both included. */
function reach(outputs: number, window: number, stride: number, dilation: number): number {
  return (outputs - 1) * stride + (window - 1) * dilation + 1;
}
