/**
 * What a kernel has to know of a program before it starts: the sizes that its memory and its code are cut to. The
 * result is spread into the params of the `variance` and `covariance` kernels.
 */
import { NONLINEARITIES } from "../engine/kernels/covariance.ts";
import { lineRoutes } from "./encode.ts";
import { isNonlinearity, stepSize, type ConvStep, type Program } from "./program.ts";

export interface ProgramShape {
  readonly steps: number;
  readonly imageFloats: number;
  readonly tablePixels: number;
  /** Maps that are live at once. */
  readonly slots: number;
  /** Maps that the line layout keeps in memory beside the one in its registers. */
  readonly places: number;
  /** Pixels of the largest map. */
  readonly mapPixels: number;
  /** Pixels of the largest map between the two passes of a convolution (rows summed, columns not yet). */
  readonly sumPixels: number;
  /** Longest side of any map. */
  readonly line: number;
  /** Length and leading padding of the program's most frequent dense window (stride 1, dilation 1); 0 if it has none. */
  readonly box: number;
  readonly boxPad: number;
  /** Which nonlinearities the program has: a sum of NONLINEARITIES. */
  readonly nonlinearities: number;
}

export function programShape(program: Program): ProgramShape {
  let sumPixels = 1;
  let line = 1;
  let nonlinearities = 0;
  for (const step of program.steps) {
    const size = stepSize(step);
    if (step.kind === "conv") sumPixels = Math.max(sumPixels, step.inHeight * step.outWidth);
    line = Math.max(line, ...size.in, ...size.out);
    if (isNonlinearity(step)) nonlinearities |= NONLINEARITIES[step.kind];
  }
  const { slots, imageFloats, tablePixels, mapPixels } = program;
  const { places } = lineRoutes(program);
  const steps = program.steps.length;
  const sizes = { imageFloats, tablePixels, slots, places, mapPixels, sumPixels, line };
  return { steps, ...sizes, ...denseWindow(program), nonlinearities };
}

/** The window that most passes slide by one pixel at a time: the only one worth unrolled code. */
function denseWindow(program: Program): { box: number; boxPad: number } {
  const counts = new Map<string, { box: number; boxPad: number; count: number }>();
  for (const step of program.steps) {
    if (step.kind !== "conv") continue;
    for (const { box, boxPad } of densePasses(step)) {
      const key = `${box} ${boxPad}`;
      counts.set(key, { box, boxPad, count: (counts.get(key)?.count ?? 0) + 1 });
    }
  }
  const [best] = [...counts.values()].sort((a, b) => b.count - a.count);
  return best === undefined ? { box: 0, boxPad: 0 } : { box: best.box, boxPad: best.boxPad };
}

function densePasses(step: ConvStep): { box: number; boxPad: number }[] {
  const passes = [
    { box: step.filterHeight, boxPad: step.padTop, dense: step.strideHeight === 1 && step.dilationHeight === 1 },
    { box: step.filterWidth, boxPad: step.padLeft, dense: step.strideWidth === 1 && step.dilationWidth === 1 },
  ];
  return passes.filter(({ box, dense }) => dense && box > 1);
}
