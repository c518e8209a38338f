/**
 * What a covariance program costs per pair of images, from its steps alone: for plans, tables of architectures, and the
 * fraction of a machine's peak that a measured rate means.
 */
import type { Program, Step } from "./program.ts";

export interface ProgramCost {
  /** A pair's maps that are live at once, in float32. */
  readonly bytes: number;
  /** Standard deviations and pixels kept per image, in float32: two images' worth is read for a pair. */
  readonly tableBytes: number;
  /** Of box filters, biases and sums of branches. */
  readonly additions: number;
  /** Pixels that go through a nonlinearity. */
  readonly nonlinearities: number;
  /** Floating-point operations, all together. */
  readonly operations: number;
}

/**
 * Operations of a nonlinearity on one pixel: s s', the distance |s s' - |K||, its quotient u, sqrt(u), a polynomial of
 * degree 5 in u, and what joins them.
 */
const NONLINEARITY = 22;

export function programCost(program: Program): ProgramCost {
  let [additions, nonlinearities, operations] = [0, 0, 0];
  for (const step of program.steps) {
    const cost = stepCost(step);
    additions += cost.additions;
    nonlinearities += cost.nonlinearities;
    operations += cost.additions + cost.nonlinearities * NONLINEARITY + cost.products;
  }
  return {
    bytes: 4 * program.mapPixels,
    tableBytes: 4 * (program.imageFloats + program.tablePixels),
    additions,
    nonlinearities,
    operations,
  };
}

interface StepCost {
  readonly additions: number;
  readonly nonlinearities: number;
  readonly products: number;
}

function stepCost(step: Step): StepCost {
  switch (step.kind) {
    case "input": {
      const pixels = step.height * step.width;
      const scaled = step.scale === 1 ? 0 : pixels;
      return { additions: pixels * (step.channels - 1), nonlinearities: 0, products: pixels * step.channels + scaled };
    }
    case "conv": {
      const pixels = step.outHeight * step.outWidth;
      const across = step.inHeight * step.outWidth * passAdditions(step.filterWidth, step.strideWidth);
      const down = pixels * passAdditions(step.filterHeight, step.strideHeight);
      const own = linear(step, pixels);
      return { ...own, additions: own.additions + across + down };
    }
    case "relu":
      return { additions: 0, nonlinearities: step.height * step.width, products: 0 };
    case "mean": {
      const own = linear(step, 1);
      return { ...own, additions: own.additions + step.height * step.width - 1 };
    }
  }
}

/** weight * K + bias; ones and zeros cost nothing. */
function linear({ weight, bias }: { readonly weight: number; readonly bias: number }, pixels: number): StepCost {
  return { additions: bias === 0 ? 0 : pixels, nonlinearities: 0, products: weight === 1 ? 0 : pixels };
}

/**
 * Additions per sum of a window's values along one axis: from one window's end to the next by running sums in both
 * directions (van Herk), 3 - 3 / window of them for each pixel passed, or one by one where that is fewer.
 */
function passAdditions(window: number, stride: number): number {
  return Math.min(window - 1, (3 - 3 / window) * stride);
}
