/** Losses of class scores, their gradients and the labels' ranks, against float64 loops. */
import { classLoss, ClassLossOperation, type ClassLossName } from "../kernels/class-loss.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, normals, worst, type Case, type Row } from "./row.ts";

const NAMES = Object.keys(ClassLossOperation) as ClassLossName[];

const SHAPES = [
  [1, 1],
  [0, 10],
  [65, 2],
  [67, 10],
  [13, 63],
  [11, 65],
  [5, 257],
  [3, 5003],
] as const;

interface Expected {
  readonly loss: number;
  /** What an error of the loss is measured by. */
  readonly lossScale: number;
  readonly gradient: readonly number[];
  readonly gradientScale: readonly number[];
  readonly rank: number;
}

/** Nearer than this to where a hinge has two derivatives, either may come out. */
const KINK = 1e-5;

function reference(name: ClassLossName, scores: Float32Array, label: number): Expected {
  const own = scores[label] ?? NaN;
  const rank = scores.reduce((count, x, k) => count + Number(x > own || (x === own && k < label)), 0);
  const largest = scores.reduce((most, x) => Math.max(most, x), -Infinity);
  const spread = 1 + scores.reduce((most, x) => Math.max(most, largest - x), 0);
  // The label's term is left out of a sum, and added in a log1p, so that float64 keeps what is small.
  const others = scores.reduce((sum, x, k) => (k === label ? sum : sum + Math.exp(x - own)), 0);
  const p = (k: number): number => Math.exp((scores[k] ?? NaN) - own) / (1 + others);
  if (name === "crossEntropy") {
    const gradient = Array.from(scores, (_, k) => (k === label ? -others / (1 + others) : p(k)));
    const gradientScale = gradient.map((value) => Math.abs(value) * spread + TINY);
    return { loss: Math.log1p(others), lossScale: Math.log1p(others) * spread, gradient, gradientScale, rank };
  }
  const logHinge = name === "logHinge";
  const distances = Array.from(scores, (x, k) => {
    const value = logHinge ? x - own - Math.log1p(others) : x;
    return k === label ? 1 - value : 1 + value;
  });
  const sign = (k: number): number => (k === label ? -1 : 1);
  const terms = distances.map((distance) => Math.max(0, distance));
  if (name === "squaredHinge") {
    const gradient = terms.map((term, k) => 2 * sign(k) * term);
    const gradientScale = Array.from(scores, (x) => 2 + 2 * Math.abs(x));
    const lossScale = scores.reduce((sum, x) => sum + (1 + Math.abs(x)) ** 2, 0);
    return { loss: terms.reduce((sum, term) => sum + term ** 2, 0), lossScale, gradient, gradientScale, rank };
  }
  const truncated = name === "truncatedHinge";
  const loss = terms.reduce((sum, term) => sum + (truncated ? Math.min(2, term) : term), 0);
  const lossScale = distances.reduce((sum, distance) => sum + 1 + Math.abs(distance), 0) * (logHinge ? spread : 1);
  const slopes = distances.map((distance, k) => (distance > 0 && !(truncated && distance >= 2) ? sign(k) : 0));
  const near = distances.map((distance) => Math.abs(distance) < KINK || (truncated && Math.abs(distance - 2) < KINK));
  if (!logHinge) {
    const gradientScale = near.map((kink) => (kink ? Infinity : 1));
    return { loss, lossScale, gradient: slopes, gradientScale, rank };
  }
  const active = slopes.filter((slope) => slope > 0).length;
  const gradient = slopes.map((slope, k) => {
    if (active === 0) return k === label ? -others / (1 + others) : p(k);
    return slope - p(k) * (active - 1);
  });
  const kinked = near.some((kink) => kink);
  const gradientScale = gradient.map((value) =>
    kinked ? Infinity : (active === 0 ? Math.abs(value) + TINY : 1) * spread,
  );
  return { loss, lossScale, gradient, gradientScale, rank };
}

/** Below the smallest normal number over the tolerance, a GPU may flush what it computes to 0. */
const TINY = 2 ** -126 / 1e-6;

/** `sure`: how far the labels' scores stand above the others, in every second row. */
function lossCase(random: RandomStream, name: ClassLossName, rows: number, classes: number, sure: number): Case {
  const scores = normals(random, rows * classes).map((value) => 1.5 * value);
  const labels = Uint32Array.from({ length: rows }, () => random.below(classes));
  labels.forEach((label, row) => {
    const at = row * classes + label;
    if (row % 2 === 0) scores[at] = (scores[at] ?? 0) + sure;
    // Every third row has two of the same score.
    if (row % 3 === 0) scores[row * classes + random.below(classes)] = scores[at] ?? 0;
  });
  const scale = Math.fround(1 / Math.max(1, rows));
  const params = { rows, classes, operation: ClassLossOperation[name], scale };
  return {
    name: `${name} of ${rows} x ${classes}, sure by ${sure}`,
    buffers: { scores, labels, losses: 4 * rows, gradient: 4 * rows * classes, ranks: 4 * rows },
    launches: [launch(classLoss, params, ["scores", "labels", "losses", "gradient", "ranks"])],
    outputs: ["losses", "gradient", "ranks"],
    check: (output) => {
      const losses = new Float32Array(output("losses"));
      const gradient = new Float32Array(output("gradient"));
      const ranks = new Float32Array(output("ranks"));
      return worst(rows, (row) => {
        const expected = reference(name, scores.subarray(row * classes, (row + 1) * classes), labels[row] ?? NaN);
        if (ranks[row] !== expected.rank) return Infinity;
        const slope = worst(classes, (k) =>
          errorOf(
            gradient[row * classes + k],
            scale * (expected.gradient[k] ?? NaN),
            scale * (expected.gradientScale[k] ?? NaN),
          ),
        );
        const error = errorOf(losses[row], expected.loss, expected.lossScale);
        return slope > error ? slope : error;
      });
    },
  };
}

/** A NaN of any place, or a label that is none, makes its row NaN, and no other; ranks of others stay what they are. */
function nanCase(random: RandomStream, name: ClassLossName): Case {
  const [rows, classes] = [6, 11];
  const plain = lossCase(random, name, rows, classes, 0);
  const scores = normals(random, rows * classes);
  const labels = Uint32Array.from({ length: rows }, () => random.below(classes - 1));
  const labelOf = (row: number): number => labels[row] ?? NaN;
  scores[1 * classes + labelOf(1)] = NaN;
  scores[3 * classes + labelOf(3) + 1] = NaN;
  labels[4] = classes;
  return {
    ...plain,
    name: `${name} of NaNs`,
    buffers: { ...plain.buffers, scores, labels },
    loose: true,
    check: (output) => {
      const losses = new Float32Array(output("losses"));
      const gradient = new Float32Array(output("gradient"));
      const ranks = new Float32Array(output("ranks"));
      const bad = (row: number): boolean => row === 1 || row === 3 || row === 4;
      const wrong =
        losses.some((loss, row) => Number.isNaN(loss) !== bad(row)) ||
        gradient.some((slope, at) => Number.isNaN(slope) !== bad(Math.floor(at / classes))) ||
        ranks.some((rank, row) => {
          const row_ = scores.subarray(row * classes, (row + 1) * classes);
          const own = labelOf(row) < classes ? (row_[labelOf(row)] ?? NaN) : NaN;
          const before = row_.reduce((n, x, k) => n + Number(x > own || (x === own && k < labelOf(row))), 0);
          return rank !== (Number.isNaN(own) ? classes : before);
        });
      return wrong ? Infinity : 0;
    },
  };
}

export const classLossRow: Row = {
  kernel: classLoss as unknown as KernelSchema,
  measure:
    "cross-entropy and its gradient: themselves, times 1 + the scores' spread; hinges: the sum of 1 + |1 - m|, or its square; " +
    "ranks are exact",
  tolerance: 3e-6,
  reason:
    "40 u, u = 2^-24: up to 32 roundings in a sum, four of an exponential or a logarithm, four behind it; a difference of " +
    "scores is rounded once, which the exponential multiplies by the difference.",
  unit: "Gscores/s",
  *cases(random) {
    for (const name of NAMES) {
      for (const [rows, classes] of SHAPES) yield lossCase(random, name, rows, classes, 0);
      for (const sure of [5, 15, 40]) yield lossCase(random, name, 31, 10, sure);
      yield nanCase(random, name);
    }
  },
  large(level, random) {
    const rows = 1024 * 8 ** level;
    return level > 1 ? undefined : { ...lossCase(random, "crossEntropy", rows, 10, 3), work: (10 * rows) / 1e9 };
  },
};
