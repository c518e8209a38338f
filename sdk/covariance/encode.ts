/**
 * Covariance programs as words of 32 bits: the form that shaders and assembly read.
 *
 * Beside what a step says itself, the words say what it means for the line layout of the GPU (`shaders/covariance.wgsl`),
 * where one map at a time, the *held* one, is in registers and the others lie in *places* of workgroup memory: which
 * place to load before a step, where to keep its result, and which of two orientations a map has, as every convolution
 * with windows transposes it.
 */
import { isNonlinearity, NO_TABLE, stepSize, type Program, type Step } from "./program.ts";

/** Words per encoded step. */
export const STEP_WORDS = 48;

/** No place, in the words `load`, `keep` and `addend`. */
export const NO_PLACE = 0xffffffff;

export const StepKind = { input: 0, conv: 1, affine: 2, rectifier: 3, step: 4, erf: 5, mean: 6, pool: 7 } as const;

/** How the line layout gets a step's operands and keeps its result. */
export interface LineRoute {
  /** Place to load into the registers before the step, or NO_PLACE where they hold its input already. */
  readonly load: number;
  /** Place to keep the result in, or NO_PLACE where nobody reads it from memory. */
  readonly keep: number;
  /** Place of the map to which the result is added, or NO_PLACE. */
  readonly addend: number;
  /** The addend has the other orientation than the result. */
  readonly across: boolean;
  /** The result's width runs along the registers, not its height. */
  readonly turned: boolean;
}

/**
 * The words of a program, STEP_WORDS a step:
 *
 *     0 kind   1 channels   2 inHeight   3 inWidth   4 outHeight   5 outWidth
 *     6 filterHeight   7 filterWidth   8 strideHeight   9 strideWidth   10 dilationHeight   11 dilationWidth
 *     12 padTop   13 padLeft   14 table   15 from   16 to   17 accumulate
 *     18 load   19 keep   20 addend   21 across (1) + turned (2)
 *     22 factor   23 bias   24 positive   25 negative (f32)
 *     26 factor   28 bias   30 positive   32 negative (f64)
 *     34 gain   35 offset (f32)   36 gain   38 offset (f64)   40 learns   41 to 47: see `encode-full.ts`
 *     45 edge, of a convolution (elsewhere see `encode-full.ts`): the table of its input, or NO_TABLE
 *
 * factor is the step's weight or scale, of a rectifier its curve; bias is erf's offset too. A pool's windows stand in
 * the words of a filter. `table` is a nonlinearity's or a pool's own, or that of a linear step's gradient, which the
 * step has where `learns` is 1. All steps fill the sizes in and out; words that a step has no use for are zero.
 */
export function encodeProgram(program: Program): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(program.steps.length * STEP_WORDS);
  const view = new DataView(words.buffer);
  const { routes } = lineRoutes(program);
  program.steps.forEach((step, index) => {
    const base = index * STEP_WORDS;
    const size = stepSize(step);
    // A convolution without windows only weighs its pixels: interpreters need not know of it.
    words[base] = StepKind[step.kind === "conv" && !hasWindows(step) ? "affine" : step.kind];
    words.set([...size.in, ...size.out], base + 2);
    if (step.kind === "input") words[base + 1] = step.channels;
    if (step.kind === "conv") {
      const { filterHeight, filterWidth, strideHeight, strideWidth } = step;
      const { dilationHeight, dilationWidth, padTop, padLeft } = step;
      words.set(
        [filterHeight, filterWidth, strideHeight, strideWidth, dilationHeight, dilationWidth, padTop, padLeft],
        base + 6,
      );
      words[base + 45] = step.edge ?? NO_TABLE;
    }
    if (step.kind === "pool") {
      const { windowHeight, windowWidth, strideHeight, strideWidth } = step;
      words.set([windowHeight, windowWidth, strideHeight, strideWidth, 1, 1], base + 6);
    }
    if (isNonlinearity(step) || step.kind === "pool") words[base + 14] = step.table;
    const gradient = "gradient" in step ? step.gradient : undefined;
    if (gradient !== undefined) {
      words[base + 14] = gradient.table;
      words[base + 40] = 1;
      [gradient.gain, gradient.offset].forEach((value, at) => {
        view.setFloat32((base + 34 + at) * 4, value, true);
        view.setFloat64((base + 36 + 2 * at) * 4, value, true);
      });
    }
    if (step.kind !== "input") words[base + 15] = step.from;
    words[base + 16] = step.to;
    words[base + 17] = "accumulate" in step && step.accumulate ? 1 : 0;
    const route = routes[index];
    if (route !== undefined) {
      words.set([route.load, route.keep, route.addend], base + 18);
      words[base + 21] = (route.across ? 1 : 0) + (route.turned ? 2 : 0);
    }
    constantsOf(step).forEach((value, at) => {
      view.setFloat32((base + 22 + at) * 4, value, true);
      view.setFloat64((base + 26 + 2 * at) * 4, value, true);
    });
  });
  return words;
}

/** factor, bias, positive, negative. */
function constantsOf(step: Step): readonly number[] {
  switch (step.kind) {
    case "input":
    case "step":
      return [step.scale];
    case "rectifier":
      return [step.curve, 0, step.positive, step.negative];
    case "erf":
      return [step.scale, step.offset];
    case "pool":
      return [1 / (step.windowHeight * step.windowWidth) ** 2];
    case "conv":
    case "affine":
    case "mean":
      return [step.weight, step.bias];
  }
}

/** Whether a convolution moves or sums pixels: all but 1 x 1 filters of stride 1 without padding. */
function hasWindows(step: Step): boolean {
  if (step.kind !== "conv") return false;
  const { filterHeight, filterWidth, strideHeight, strideWidth, padTop, padLeft } = step;
  const moved = filterHeight * filterWidth * strideHeight * strideWidth !== 1 || padTop + padLeft !== 0;
  return moved || step.outHeight !== step.inHeight || step.outWidth !== step.inWidth;
}

/** The routes of all steps, and the number of places that they use. */
export function lineRoutes(program: Program): { readonly routes: readonly LineRoute[]; readonly places: number } {
  const { steps } = program;
  // Which results are read from memory: those that are not in the registers when a step asks for them.
  const writer = new Map<number, number>(); // slot -> the step that wrote it last
  const kept = new Set<number>();
  let held = -1; // slot in the registers
  steps.forEach((step, index) => {
    const demand = (slot: number): void => {
      const source = writer.get(slot);
      if (source !== undefined) kept.add(source);
    };
    if (step.kind !== "input" && step.from !== held) demand(step.from);
    if ("accumulate" in step && step.accumulate) demand(step.to);
    writer.set(step.to, index);
    held = step.to;
  });
  // Slots that are kept get places; orientations go along with the maps.
  const places = new Map<number, number>();
  const placeOf = (slot: number): number => {
    const place = places.get(slot) ?? places.size;
    places.set(slot, place);
    return place;
  };
  const keptTurned = new Map<number, boolean>();
  let turned = false;
  held = -1;
  const routes = steps.map((step, index): LineRoute => {
    let load: number = NO_PLACE;
    if (step.kind === "input") turned = false;
    if (step.kind !== "input" && step.from !== held) {
      load = placeOf(step.from);
      turned = keptTurned.get(step.from) ?? false;
    }
    if (step.kind === "mean") turned = false; // one pixel
    if (hasWindows(step)) turned = !turned;
    const adds = "accumulate" in step && step.accumulate;
    const addend = adds ? placeOf(step.to) : NO_PLACE;
    const across = adds && keptTurned.get(step.to) !== turned;
    const keep = kept.has(index) ? placeOf(step.to) : NO_PLACE;
    keptTurned.set(step.to, turned);
    held = step.to;
    return { load, keep, addend, across, turned };
  });
  return { routes, places: places.size };
}
