/** What the kernels of full programs have to know of a program before they start: see `shape.ts` for diagonal ones. */
import { encodeFull, type EncodedFull } from "./encode-full.ts";
import { programShape } from "./shape.ts";
import type { Program } from "./program.ts";

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
  readonly line: number;
  readonly statePixels: number;
  readonly nonlinearities: number;
}

/** Throws for a diagonal program, which has no such shape. */
export function fullShape(program: Program, encoded: EncodedFull = encodeFull(program)): FullShape {
  if (program.full === undefined) throw new Error("a diagonal program is none to be run in full");
  const { steps, imageFloats, tablePixels, slots, mapPixels, sumPixels, line, nonlinearities } = programShape(program);
  const { stagesAt, plan } = encoded;
  return {
    ...{ steps, imageFloats, tablePixels, slots, mapPixels, sumPixels, line, nonlinearities },
    stages: plan.stages.length,
    stagesAt,
    ntk: program.full.ntk ? 1 : 0,
    outputTable: program.full.outputTable,
    statePixels: plan.statePixels,
  };
}
