/** What the kernels of full programs have to know of a program before they start: see `shape.ts` for diagonal ones. */
import { encodeFull, type EncodedFull } from "./encode-full.ts";
import { programShape } from "./shape.ts";
import type { ConvStep, Program } from "./program.ts";

export interface FullShape {
  readonly steps: number;
  readonly stages: number;
  readonly stagesAt: number;
  readonly imageFloats: number;
  readonly tablePixels: number;
  readonly ntk: number;
  readonly outputTable: number;
  readonly slots: number;
  readonly mapPixels: number;
  readonly sumPixels: number;
  readonly passPixels: number;
  readonly line: number;
  readonly statePixels: number;
  readonly nonlinearities: number;
}

/** Throws for a diagonal program, which has no such shape. */
export function fullShape(program: Program, encoded: EncodedFull = encodeFull(program)): FullShape {
  if (program.full === undefined) throw new Error("a diagonal program is none to be run in full");
  const { steps, imageFloats, tablePixels, slots, mapPixels, line, nonlinearities } = programShape(program);
  const most = (pixelsOf: (step: ConvStep) => number): number =>
    program.steps.reduce((found, step) => (step.kind === "conv" ? Math.max(found, pixelsOf(step)) : found), 1);
  const sumPixels = most(sumsOf);
  // `conv64` sums columns first, into so many pixels and a line.
  const passPixels = most((step) => step.outHeight * step.inWidth + step.outWidth);
  const { stagesAt, plan } = encoded;
  return {
    ...{ steps, imageFloats, tablePixels, slots, mapPixels, sumPixels, passPixels, line, nonlinearities },
    stages: plan.stages.length,
    stagesAt,
    ntk: program.full.ntk ? 1 : 0,
    outputTable: program.full.outputTable,
    statePixels: plan.statePixels,
  };
}

/**
 * Pixels between the two passes of a convolution, rows summed, columns not yet. Where an offset brings pixels of one image
 * beside the map, their rows are summed too; the most for the offset that all of the smaller padding takes part in, or,
 * where padding lets windows lie beyond the whole input, for the first that leaves no pixel to both images.
 */
function sumsOf(step: ConvStep): number {
  const reach = (step.outHeight - 1) * step.strideHeight + (step.filterHeight - 1) * step.dilationHeight + 1;
  const below = Math.max(0, reach - step.padTop - step.inHeight);
  const beside = step.edge === undefined ? 0 : Math.min(step.padTop, below);
  const apart = step.edge === undefined ? 0 : reach - step.inHeight;
  return Math.max(step.inHeight + beside, apart) * step.outWidth;
}
