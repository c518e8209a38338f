/**
 * Covariance programs: what an architecture compiles to, and what both backends interpret.
 *
 * A *diagonal* program carries, for a pair of images (x, y), one map of covariances K[p] between unit activations of x
 * and of y at the same pixel p. It starts from the product of the two images, and ends with one number. The same
 * program, run on the pair (x, x), carries variances; what a nonlinearity needs of those is kept per image in a table,
 * so that a pair only multiplies table entries.
 *
 * Scales. A deep network's covariances grow or shrink by a factor a layer (68 for the ConvNet GP), so maps hold
 * K * 2^-e with an exponent e that follows the variance of a unit input through the layers. Powers of two are exact:
 * they change no bit of any mantissa. The last exponent is `Program.exponent`: the kernel is output * 2^exponent.
 *
 * Weights. A linear step's weight is moved into the step before it where that is a `relu` or the `input`, whose
 * constants absorb it for nothing; `conv` then only adds.
 */

/** Pixel-by-pixel product of two images, averaged over channels: K = scale * sum_c x_c y_c (scale holds 1/channels). */
export interface InputStep {
  readonly kind: "input";
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly scale: number;
}

/** K'[p] = weight * (sum over the filter's taps at p of K) + bias; taps outside the map count zero. A box filter. */
export interface ConvStep {
  readonly kind: "conv";
  readonly inHeight: number;
  readonly inWidth: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly filterHeight: number;
  readonly filterWidth: number;
  readonly strideHeight: number;
  readonly strideWidth: number;
  readonly dilationHeight: number;
  readonly dilationWidth: number;
  readonly padTop: number;
  readonly padLeft: number;
  readonly weight: number;
  readonly bias: number;
}

/** K' = scale * s s' kappa_1(K / (s s')), s and s' the images' standard deviations here; kappa_1(1) = 1/2. */
export interface ReluStep {
  readonly kind: "relu";
  readonly height: number;
  readonly width: number;
  readonly scale: number;
  /** First entry of this step in the per-image table of standard deviations, counted in pixels. */
  readonly table: number;
}

/** The read-out: K' = weight * (mean of K over the map) + bias, a 1 x 1 map. */
export interface MeanStep {
  readonly kind: "mean";
  readonly height: number;
  readonly width: number;
  readonly weight: number;
  readonly bias: number;
}

export type Step = InputStep | ConvStep | ReluStep | MeanStep;

export interface Program {
  readonly steps: readonly Step[];
  /** Floats of one image: channels * height * width. */
  readonly imageFloats: number;
  /** Standard deviations per image over all relu steps. */
  readonly tablePixels: number;
  /** Pixels of the largest map. */
  readonly mapPixels: number;
  /** kernel = output * 2^exponent. */
  readonly exponent: number;
}

/** Words of 32 bits per encoded step; see `encodeProgram` for the layout that shaders and assembly read. */
export const STEP_WORDS = 24;

export const StepKind = { input: 0, conv: 1, relu: 2, mean: 3 } as const;

/**
 * The program as words of 32 bits, STEP_WORDS a step:
 *
 *     0 kind   1 channels   2 inHeight   3 inWidth   4 outHeight   5 outWidth
 *     6 filterHeight   7 filterWidth   8 strideHeight   9 strideWidth   10 dilationHeight   11 dilationWidth
 *     12 padTop   13 padLeft   14 table   15 (unused)
 *     16 weight or scale (f32)   17 bias (f32)   18, 19 (unused)
 *     20, 21 weight or scale (f64)   22, 23 bias (f64)
 *
 * relu and mean fill inHeight, inWidth (and outHeight, outWidth) too; unused words are zero.
 */
export function encodeProgram(program: Program): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(program.steps.length * STEP_WORDS);
  const view = new DataView(words.buffer);
  program.steps.forEach((step, index) => {
    const base = index * STEP_WORDS;
    words[base] = StepKind[step.kind];
    const { size, factor, bias } = shapeOf(step);
    words.set(size, base + 2);
    if (step.kind === "input") words[base + 1] = step.channels;
    if (step.kind === "relu") words[base + 14] = step.table;
    if (step.kind === "conv") {
      words.set(
        [
          step.filterHeight,
          step.filterWidth,
          step.strideHeight,
          step.strideWidth,
          step.dilationHeight,
          step.dilationWidth,
          step.padTop,
          step.padLeft,
        ],
        base + 6,
      );
    }
    view.setFloat32((base + 16) * 4, factor, true);
    view.setFloat32((base + 17) * 4, bias, true);
    view.setFloat64((base + 20) * 4, factor, true);
    view.setFloat64((base + 22) * 4, bias, true);
  });
  return words;
}

function shapeOf(step: Step): { size: [number, number, number, number]; factor: number; bias: number } {
  switch (step.kind) {
    case "input":
      return { size: [step.height, step.width, step.height, step.width], factor: step.scale, bias: 0 };
    case "relu":
      return { size: [step.height, step.width, step.height, step.width], factor: step.scale, bias: 0 };
    case "mean":
      return { size: [step.height, step.width, 1, 1], factor: step.weight, bias: step.bias };
    case "conv":
      return {
        size: [step.inHeight, step.inWidth, step.outHeight, step.outWidth],
        factor: step.weight,
        bias: step.bias,
      };
  }
}
