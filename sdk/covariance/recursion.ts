/**
 * Recursions: kernels that are functions of the cosine between two inputs and of their norms, or of their distance. Fully
 * connected architectures are, and so are all kernels in closed form; both become steps on a few numbers per pair.
 *
 * Beside the covariance K a pair carries its *gap* d = n - |K|, with n = sqrt(K(x, x) K(z, z)). Near cosine 1 and -1 all
 * that the kernels need of angles is powers of d / n, of which n - |K| would have no digit right; and the steps pass a gap on
 * as a product. An NTK theta runs beside both. What a step needs to know of each image of a pair is worked out once per
 * image, in float64, in `recursion-images.ts`:
 *
 *     n = s s',   u = d / n = 1 - |cos t|,   turn = 1 - cos(phi - phi'),   cross(a, b) = |a| + |b| - |a + b|
 *
 *     input      d = n delta,  delta = h + h' - |p.p'|,  K = n p.p';  where that is small delta = |p -+ p'|^2 / 2 and
 *                |K| = n - d, the sign being that of p.p'
 *     affine     d' = weight d + n' turn + cross   (the bias is one more coordinate of each image, at an angle phi to others)
 *     rectifier  d' = d (positive - curve sqrt(u) P(u)),  for K < 0 with the other slope and what the slopes differ by
 *     step       K' = scale (1/2 - sqrt(u) A(u)),  for K < 0 scale sqrt(u) A(u);  d' the other of the two
 *     erf        K' = scale asin(K r r')
 *     square     K' = n^2 + 2 K^2 - n^2 u^(5/2) B(u),  for K < 0 n^2 u^(5/2) B(u)
 *     power      K' = K^degree
 *     gaussian   K' = exp(-factor d),  laplace: K' = exp(-factor sqrt(2 d)):  of the metric "distance", d = |x - z|^2 / 2 unit^2
 *     a sum      d = d1 + d2 + n turn + cross(K1, K2)   (phi: the angle between the two maps of an image)
 */
import type { ClosedKernel, Gaussian, Laplace } from "./closed-kernel.ts";
import type { Gradient, Program, Step } from "./program.ts";

interface Route {
  readonly from: number;
  readonly to: number;
  /** The result is added to what `to` holds. */
  readonly accumulate: boolean;
}

/** See `Recursion`'s metric and scale. */
export interface InputStep {
  readonly kind: "input";
  readonly to: number;
}

/** K' = weight K + bias; theta' = weight theta + gain K' + offset: see `Gradient` in `program.ts`. */
export interface AffineStep extends Route {
  readonly kind: "affine";
  readonly weight: number;
  readonly bias: number;
  readonly gain: number;
  readonly offset: number;
}

/** See `program.ts`. */
export interface RectifierStep extends Route {
  readonly kind: "rectifier";
  readonly positive: number;
  readonly negative: number;
  readonly curve: number;
}

export interface ThresholdStep extends Route {
  readonly kind: "step";
  readonly scale: number;
}

export interface ErfStep extends Route {
  readonly kind: "erf";
  readonly scale: number;
  readonly offset: number;
}

/** Cho & Saul 2009, eq. 6: |x|^2 |z|^2 J_2 / pi, J_2 = 3 sin t cos t + (pi - t) (1 + 2 cos^2 t). */
export interface SquareStep extends Route {
  readonly kind: "square";
}

export interface PowerStep extends Route {
  readonly kind: "power";
  readonly degree: number;
}

export interface RadialStep extends Route {
  readonly kind: "gaussian" | "laplace";
  readonly factor: number;
}

export type RecursionStep =
  InputStep | AffineStep | RectifierStep | ThresholdStep | ErfStep | SquareStep | PowerStep | RadialStep;

export interface Recursion {
  /** The first is the input; the last one's slot holds the output. */
  readonly steps: readonly RecursionStep[];
  readonly slots: number;
  readonly metric: "angle" | "distance";
  /** Of the input, K = scale x.z; of the metric "distance" the unit of lengths, d = |x - z|^2 / (2 scale^2). */
  readonly scale: number;
  /** kernel = output * 2^exponent. */
  readonly exponent: number;
}

/** The recursion of a program whose maps have one pixel; undefined for others. */
export function recursionOf(program: Program): Recursion | undefined {
  const [input] = program.steps;
  if (program.mapPixels !== 1 || input?.kind !== "input") return undefined;
  const { slots, exponent } = program;
  return { steps: program.steps.map(withoutPixels), slots, metric: "angle", scale: input.scale, exponent };
}

function withoutPixels(step: Step): RecursionStep {
  switch (step.kind) {
    case "input":
      return { kind: "input", to: step.to };
    case "conv": {
      // One tap of the filter sees the one pixel, or none does.
      const seen = seesPixel(step.padTop, step.dilationHeight, step.filterHeight);
      const seenAcross = seesPixel(step.padLeft, step.dilationWidth, step.filterWidth);
      return affine(step, seen && seenAcross ? step.weight : 0, step.accumulate);
    }
    case "affine":
      return affine(step, step.weight, step.accumulate);
    case "mean":
      return affine(step, step.weight, false);
    case "pool":
      return affine({ from: step.from, to: step.to, bias: 0 }, 1, false);
    case "rectifier": {
      const { from, to, accumulate, positive, negative, curve } = step;
      return { kind: "rectifier", from, to, accumulate, positive, negative, curve };
    }
    case "step":
      return { kind: "step", from: step.from, to: step.to, accumulate: step.accumulate, scale: step.scale };
    case "erf": {
      const { from, to, accumulate, scale, offset } = step;
      return { kind: "erf", from, to, accumulate, scale, offset };
    }
  }
}

function affine(
  step: { readonly from: number; readonly to: number; readonly bias: number; readonly gradient?: Gradient | undefined },
  weight: number,
  accumulate: boolean,
): AffineStep {
  const { from, to, bias, gradient } = step;
  const { gain = 0, offset = 0 } = gradient ?? {};
  return { kind: "affine", from, to, accumulate, weight, bias, gain, offset };
}

function seesPixel(pad: number, dilation: number, taps: number): boolean {
  return pad % dilation === 0 && pad / dilation < taps;
}

/** From slot 0 to slot 0. */
const ROUTE = { from: 0, to: 0, accumulate: false } as const;
const INPUT = { kind: "input", to: 0 } as const;

/** kappa_1 of Cho & Saul 2009, times n: half of their order 1. */
const RELU = { ...ROUTE, kind: "rectifier", positive: 0.5, negative: 0, curve: 1 } as const;

/** The recursion of a kernel in closed form on inputs in R^dimension; a finite model's is none. */
export function closedRecursion(kernel: Exclude<ClosedKernel, { name: "rf" }>, dimension: number): Recursion {
  const of = (steps: readonly RecursionStep[]): Recursion => {
    return { steps: [INPUT, ...steps], slots: 1, metric: "angle", scale: 1, exponent: 0 };
  };
  switch (kernel.name) {
    // theta = K before the relu, theta kappa_0 + n kappa_1 behind the second layer.
    case "ntk2":
      return of([layer(1, 0, 1), RELU, layer(1, 0, 1)]);
    case "rf2":
      return of([RELU]);
    case "poly":
      return of([
        layer(1 / Math.sqrt(dimension), kernel.constant, 0),
        { ...ROUTE, kind: "power", degree: kernel.degree },
      ]);
    case "rbf":
    case "laplace":
      return radial(kernel);
    case "arccos":
      return of(Array.from({ length: kernel.depth }, () => arcCosine(kernel.order)));
  }
}

/** Lengths in a power of two near the bandwidth: exact, and neither distances nor factors leave float32 for their units. */
function radial({ name, bandwidth }: Gaussian | Laplace): Recursion {
  const unit = 2 ** Math.min(1023, Math.floor(Math.log2(bandwidth)));
  const step: RadialStep =
    name === "rbf"
      ? { ...ROUTE, kind: "gaussian", factor: (unit / bandwidth) ** 2 }
      : { ...ROUTE, kind: "laplace", factor: unit / bandwidth };
  return { steps: [INPUT, step], slots: 1, metric: "distance", scale: unit, exponent: 0 };
}

function layer(weight: number, bias: number, gain: number): AffineStep {
  return { ...ROUTE, kind: "affine", weight, bias, gain, offset: 0 };
}

function arcCosine(order: 0 | 1 | 2): RecursionStep {
  if (order === 0) return { ...ROUTE, kind: "step", scale: 2 };
  return order === 1 ? { ...RELU, positive: 1, curve: 2 } : { ...ROUTE, kind: "square" };
}

/**
 * Where a float32 product of points says that they are closer than this, or to the opposite point, in units of h + h', their gap is taken from the
 * points themselves. Products are off by e = 5e-7 (784 numbers), which changes an angle's derivative by e / (4.4 sqrt(u)) and
 * more where u is smaller: 9e-7 at 2^-6. A distance's error is e (h + h') itself: it changes exp(-delta / bandwidth^2) by
 * at most e / (near 2.7), whatever the bandwidth: 3e-6 at 2^-4.
 */
export const NEAR = { angle: 2 ** -6, distance: 2 ** -4 } as const;

/** Words per encoded step. */
export const RECURSION_WORDS = 24;

export const RecursionKind = {
  input: 0,
  affine: 1,
  rectifier: 2,
  step: 3,
  erf: 4,
  square: 5,
  power: 6,
  gaussian: 7,
  laplace: 8,
} as const satisfies Record<RecursionStep["kind"], number>;

/**
 * The words of a recursion, RECURSION_WORDS a step: 0 kind, 1 from, 2 to, 3 accumulate, 4 degree, 5 whether there is a
 * bias; then factor (weight, curve or scale), bias (or erf's offset), positive, negative, gain and offset, as float32
 * from word 6 on, and as float64 from word 12 on.
 */
export function encodeRecursion({ steps }: Recursion): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(steps.length * RECURSION_WORDS);
  const view = new DataView(words.buffer);
  steps.forEach((step, index) => {
    const base = index * RECURSION_WORDS;
    words[base] = RecursionKind[step.kind];
    if (step.kind !== "input") words[base + 1] = step.from;
    words[base + 2] = step.to;
    words[base + 3] = step.kind !== "input" && step.accumulate ? 1 : 0;
    words[base + 4] = step.kind === "power" ? step.degree : 0;
    words[base + 5] = step.kind === "affine" && step.bias > 0 ? 1 : 0;
    constantsOf(step).forEach((value, at) => {
      view.setFloat32((base + 6 + at) * 4, value, true);
      view.setFloat64((base + 12 + 2 * at) * 4, value, true);
    });
  });
  return words;
}

/** factor, bias, positive, negative, gain, offset. */
function constantsOf(step: RecursionStep): readonly number[] {
  switch (step.kind) {
    case "affine":
      return [step.weight, step.bias, 0, 0, step.gain, step.offset];
    case "rectifier":
      return [step.curve, 0, step.positive, step.negative];
    case "step":
      return [step.scale];
    case "erf":
      return [step.scale, step.offset];
    case "gaussian":
    case "laplace":
      return [step.factor];
    default:
      return [];
  }
}
