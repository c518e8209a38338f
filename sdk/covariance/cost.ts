/** What a program costs per pair of images: arithmetic to compare rates with, and bytes of state. */
import { isNonlinearity, stepSize, type ConvStep, type Program, type Step } from "./program.ts";
import { offsetPixels, offsetPlan } from "./offsets.ts";
import { programShape } from "./shape.ts";

export interface ProgramCost {
  /** Additions, products and square roots of one pair, as the fast kernels do them. */
  readonly operations: number;
  /** The same of each step. */
  readonly operationsOfSteps: readonly number[];
  /** Nonlinearities taken, over all pixels and layers. */
  readonly nonlinearities: number;
  /** Bytes of one pair's maps in float32: what has to fit into workgroup memory, and four times that into L1. */
  readonly mapBytes: number;
  /** Bytes of one image and its standard deviations in float32, once. (The wasm tables hold both twice, with 1/s.) */
  readonly imageBytes: number;
}

/**
 * Operations at a pixel, counted in `assembly/covariance/kappa.ts` (a relu) and `angles.ts`: sums, products, roots and a
 * relu's maximum; no comparisons and no masks.
 */
const NONLINEARITY = { rectifier: 17, step: 22, erf: 36 } as const;

/**
 * The same of full programs, per pixel of every offset: with D alone, and with the NTK's map beside it (see `offsets.ts`).
 * Counted in `assembly/fullCovariance.ts`.
 */
const FULL_NONLINEARITY = { nngp: { rectifier: 19, step: 22, erf: 60 }, ntk: { rectifier: 33, step: 22, erf: 66 } };
/** n, h, d and k of a pixel, where a linear step adds k to the NTK and nobody has them yet. */
const FULL_GRADIENT = 9;

export function programCost(program: Program): ProgramCost {
  const pixels = pixelsOfSteps(program);
  const operationsOfSteps = program.steps.map((step, index) =>
    program.full === undefined
      ? operationsOf(step)
      : fullOperationsOf(step, program.steps[index + 1], pixels[index] ?? 0, program.full.ntk),
  );
  const { slots, mapPixels, sumPixels } = programShape(program);
  const bend = (sum: number, step: Step, index: number): number =>
    sum + (isNonlinearity(step) ? (pixels[index] ?? 0) : 0);
  return {
    operations: operationsOfSteps.reduce((sum, each) => sum + each, 0),
    operationsOfSteps,
    nonlinearities: program.steps.reduce(bend, 0),
    mapBytes: 4 * (slots * mapPixels + sumPixels) * (program.full?.ntk === true ? 2 : 1),
    imageBytes: 4 * (program.imageFloats + program.tablePixels),
  };
}

/** Pixels that each step works on: of its output, or over all the offsets that it is needed at. */
function pixelsOfSteps(program: Program): number[] {
  if (program.full !== undefined) return offsetPlan(program).steps.map(({ at }) => offsetPixels(at));
  return program.steps.map((step) => stepSize(step).out[0] * stepSize(step).out[1]);
}

function fullOperationsOf(step: Step, next: Step | undefined, pixels: number, ntk: boolean): number {
  const maps = ntk ? 2 : 1;
  const sum = "accumulate" in step && step.accumulate ? pixels * maps : 0;
  switch (step.kind) {
    case "input":
      return pixels * 3 * step.channels;
    case "conv":
    case "affine":
    case "mean": {
      // A full map's window sums, times its share of pixels.
      const [height, width] = stepSize(step).out;
      const windows = step.kind === "conv" ? (windowOperations(step) / (height * width)) * pixels : 0;
      // The nonlinearity behind a layer takes the same k.
      const known = next !== undefined && isNonlinearity(next) && next.table === step.gradient?.table;
      const own = (known ? 0 : FULL_GRADIENT) + (step.gradient?.gain === 1 ? 1 : 2);
      const gradient = step.gradient === undefined ? 0 : pixels * own;
      return Math.round(maps * (windows + linearOperations(step, pixels)) + gradient + sum);
    }
    case "pool":
      return pixels * maps;
    default:
      return pixels * FULL_NONLINEARITY[ntk ? "ntk" : "nngp"][step.kind] + sum;
  }
}

function operationsOf(step: Step): number {
  const [height, width] = stepSize(step).out;
  const pixels = height * width;
  const sum = "accumulate" in step && step.accumulate ? pixels : 0;
  switch (step.kind) {
    case "input":
      return pixels * 2 * step.channels;
    case "conv":
      return windowOperations(step) + linearOperations(step, pixels) + sum;
    case "affine":
      return linearOperations(step, pixels) + sum;
    case "mean":
      return step.height * step.width + 2;
    case "pool":
      return step.inHeight * step.inWidth;
    default:
      return pixels * NONLINEARITY[step.kind] + sum;
  }
}

function linearOperations({ weight, bias }: { weight: number; bias: number }, pixels: number): number {
  return pixels * ((weight === 1 ? 0 : 1) + (bias === 0 ? 0 : 1));
}

/** Sums down the columns, then along the rows. */
function windowOperations(step: ConvStep): number {
  const down = additionsPerWindow(step.filterHeight, step.strideHeight === 1 && step.dilationHeight === 1);
  const along = additionsPerWindow(step.filterWidth, step.strideWidth === 1 && step.dilationWidth === 1);
  return Math.round(step.outHeight * (step.inWidth * down + step.outWidth * along));
}

/**
 * Windows that slide by one share sums: pairs of 3 and of 4 taps, as in `assembly/covariance/window.ts`, and from there
 * on van Herk's, w - 1, w - 2 and w - 1 additions for each w outputs.
 */
function additionsPerWindow(taps: number, dense: boolean): number {
  if (!dense || taps < 3) return taps - 1;
  if (taps === 3) return 1.5;
  return (3 * taps - 4) / taps;
}
