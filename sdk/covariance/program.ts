/**
 * Covariance programs: what an architecture compiles to, and what all backends interpret.
 *
 * A *diagonal* program carries, for a pair of images (x, y), maps of covariances K[p] between unit activations of x and
 * of y at the same pixel p. It starts from the product of the two images, and ends with one number. The same program,
 * run on the pair (x, x), carries variances; what a nonlinearity needs of those is kept per image in a table, so that a
 * pair only multiplies table entries.
 *
 * Maps stand in *slots*, as values stand in registers. A step reads the slot `from`, writes the slot `to`, which may be
 * the same one, and with `accumulate` adds to what `to` holds: that is how a residual sum comes without a map of its
 * own. Slots are given out by `schedule.ts`; a network without skip connections needs one.
 *
 * Scales. A deep network's covariances grow or shrink by a factor a layer (68 for the ConvNet GP), so maps hold K in
 * units of their own, which `builder.ts` chooses so that most steps multiply by nothing. The last power of two is
 * `Program.exponent`: the kernel is output * 2^exponent.
 *
 * A *full* program carries more: the covariances of all pairs of pixels, as average pooling wants them, or a second map
 * beside K, the NTK's. Its steps are the same, with `pool` and `Gradient` added; `offsets.ts` plans how they are run.
 */

/** Pixel-by-pixel product of two images, averaged over channels: K = scale * sum_c x_c y_c (scale holds 1/channels). */
export interface InputStep {
  readonly kind: "input";
  readonly to: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly scale: number;
}

/** Where a step's input comes from and where its result goes. */
interface Route {
  readonly from: number;
  readonly to: number;
  /** The result is added to the map in `to`, whose size it has. */
  readonly accumulate: boolean;
}

/** Shape of a convolution's input and output, and which input pixels its filter's taps see. */
export interface BoxGeometry {
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
}

/**
 * What a layer's own weights add to the NTK: with T the map of the NTK, in the units of K,
 *
 *     T' = weight * (sum of T, as the step sums K) + gain * K' + offset
 *
 * where K' is what the step makes of K, before it is added to anything. In the NTK parametrisation gain = 1 and
 * offset = 0 (Jacot et al. 2018, theorem 1). Without a gradient, T' = weight * (sum of T).
 */
export interface Gradient {
  readonly gain: number;
  readonly offset: number;
  /** First entry of K' in the per-image table of standard deviations. */
  readonly table: number;
}

/** K' = weight * (sum of K) + bias, where `weight` and `bias` are the layer's. */
interface Linear {
  readonly weight: number;
  readonly bias: number;
  /** Absent: the step has no weights of its own, or the program no NTK. */
  readonly gradient?: Gradient | undefined;
}

/** K'[p] = weight * (sum over the filter's taps at p of K) + bias; taps outside the map count zero. A box filter. */
export interface ConvStep extends Route, BoxGeometry, Linear {
  readonly kind: "conv";
  /**
   * First entry of its input's standard deviations in the per-image table: where only one image's tap lies inside its
   * map, two pixels with an offset between them are so far apart (`offsets.ts`). Absent: there are no such taps.
   */
  readonly edge?: number | undefined;
}

/** K' = weight * K + bias. */
export interface AffineStep extends Route, Linear {
  readonly kind: "affine";
  readonly height: number;
  readonly width: number;
}

/** Shape of a pool's input and output, and its windows, which lie inside the input. */
export interface PoolGeometry {
  readonly inHeight: number;
  readonly inWidth: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly windowHeight: number;
  readonly windowWidth: number;
  readonly strideHeight: number;
  readonly strideWidth: number;
}

/**
 * Average pooling: K'[p, q] = mean of K over all pairs of a pixel in the window at p and one in the window at q, which is
 * why it needs the covariances between pixels. The NTK's map is averaged alike.
 */
export interface PoolStep extends PoolGeometry {
  readonly kind: "pool";
  readonly from: number;
  readonly to: number;
  /**
   * First entry, counted in pixels of the output, of the images' spreads within windows: see `offsets.ts`. Their rests, if
   * any, follow.
   */
  readonly table: number;
}

/** Windows no longer than this see so few offsets that rounding their sums does no harm. */
const FEW_OFFSETS = 4;

/** Whether a pool's sums carry rests (`offsets.ts`): those of large windows do. */
export function hasRests({ windowHeight, windowWidth }: PoolGeometry): boolean {
  return Math.max(windowHeight, windowWidth) > FEW_OFFSETS;
}

/**
 * A piecewise linear function with one corner, at 0: relu, leaky relu, absolute value. With n = s s', s and s' the images'
 * standard deviations here, and c = K / n = cos t,
 *
 *     K' = positive max(K, 0) + negative max(-K, 0) + curve n w(c),    w(c) = (sin t - t cos t) / 2 pi for c >= 0, w(-c) = w(c)
 *
 * For relu, positive = 1/2, negative = 0 and curve = 1, this is n kappa_1(c) of Cho & Saul 2009. K'(x, x) = positive K(x, x).
 */
export interface RectifierStep extends Route {
  readonly kind: "rectifier";
  readonly height: number;
  readonly width: number;
  readonly positive: number;
  readonly negative: number;
  readonly curve: number;
  /** First entry of this step in the per-image table of standard deviations, counted in pixels. */
  readonly table: number;
}

/** Heaviside's step (0 at 0): K' = scale kappa_0(K / s s'), kappa_0(cos t) = (pi - t) / 2 pi; 0 where s or s' is 0. */
export interface StepStep extends Route {
  readonly kind: "step";
  readonly height: number;
  readonly width: number;
  readonly scale: number;
  readonly table: number;
}

/** Williams 1997, eq. 11: K' = scale asin(K / s s'), where the table holds s = sqrt(K(x, x) + offset). */
export interface ErfStep extends Route {
  readonly kind: "erf";
  readonly height: number;
  readonly width: number;
  readonly scale: number;
  readonly offset: number;
  readonly table: number;
}

/** The read-out: K' = weight * (mean over p of K[p, p]) + bias, a 1 x 1 map. Never accumulates. */
export interface MeanStep extends Linear {
  readonly kind: "mean";
  readonly from: number;
  readonly to: number;
  readonly height: number;
  readonly width: number;
}

export type NonlinearityStep = RectifierStep | StepStep | ErfStep;
export type Step = InputStep | ConvStep | AffineStep | NonlinearityStep | PoolStep | MeanStep;

/** A program ends with `mean`, whose slot holds the output. */
export interface Program {
  readonly steps: readonly Step[];
  /** Maps that are live at once, at most: the slots are 0 .. slots - 1. */
  readonly slots: number;
  /** Floats of one image: channels * height * width. */
  readonly imageFloats: number;
  /** Standard deviations per image over all nonlinearities. */
  readonly tablePixels: number;
  /** Pixels of the largest map. */
  readonly mapPixels: number;
  /** kernel = output * 2^exponent. */
  readonly exponent: number;
  /** Of a full program; absent: a diagonal one. */
  readonly full?: FullProgram | undefined;
}

export interface FullProgram {
  /** Whether the NTK's map is carried beside the covariances. */
  readonly ntk: boolean;
  /** Entry of the output's standard deviation in the per-image table. */
  readonly outputTable: number;
}

/** Height and width of what a step reads and of what it gives. */
export function stepSize(step: Step): {
  readonly in: readonly [number, number];
  readonly out: readonly [number, number];
} {
  if (step.kind === "conv" || step.kind === "pool")
    return { in: [step.inHeight, step.inWidth], out: [step.outHeight, step.outWidth] };
  const size = [step.height, step.width] as const;
  return { in: size, out: step.kind === "mean" ? [1, 1] : size };
}

/** Steps that look standard deviations up. */
export function isNonlinearity(step: Step): step is NonlinearityStep {
  return step.kind === "rectifier" || step.kind === "step" || step.kind === "erf";
}

/** Entries of the table of a step that has none. */
export const NO_TABLE = 0xffffffff;
