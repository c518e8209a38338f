/**
 * The kernels of the symmetric eigenproblem. A kernel by itself leaves only half of an orthogonal transformation, so
 * each row runs the launches up to its own and is judged by what an exact one would preserve: the trace and the
 * Frobenius norm of the tridiagonal matrix, or A x = lambda x.
 */
import {
  eigenBack,
  eigenSizes,
  eigenSweeps,
  paddedRows,
  PANEL,
  STATE_WORDS,
  tridiagonalColumn,
  tridiagonalProduct,
  tridiagonalUpdate,
} from "../kernels/eigen.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, sample, worst, type Case, type Launch, type Row } from "./row.ts";

/** One row, one strip and less, a panel and its neighbours, an item of the product and its neighbours. */
const SIZES = [1, 2, 3, 4, 5, 31, 32, 33, 63, 65, 97, 131] as const;
/** Eigenvectors that are checked of a large matrix. */
const CHECKED = 8;

function tridiagonalLaunches(n: number): Launch[] {
  const launches: Launch[] = [];
  const columnBuffers = ["a", "vector", "partials", "left", "right", "diagonal", "offDiagonal", "factors"];
  for (let panel = 0; panel < n; panel += PANEL) {
    const end = Math.min(panel + PANEL, n);
    for (let column = panel; column < end; column++) {
      launches.push(launch(tridiagonalColumn, { n, panel, column }, columnBuffers));
      launches.push(launch(tridiagonalProduct, { n, column }, ["a", "vector", "partials"]));
    }
    if (end === n) break;
    launches.push(launch(tridiagonalColumn, { n, panel, column: end }, columnBuffers));
    launches.push(launch(tridiagonalUpdate, { n, first: end }, ["a", "left", "right"]));
  }
  return launches;
}

/** Enough turns for four sweeps an eigenvalue, though two are usual: a finished iteration's turns cost nothing. */
function sweepLaunches(n: number): Launch[] {
  return Array.from({ length: Math.ceil((4 * n) / 32) + 3 }, (_, turn) =>
    launch(eigenSweeps, { n, turn, vectors: 1 }, ["diagonal", "offDiagonal", "state", "rotations", "z"]),
  );
}

/** Kahan's sum: a plain one of n^2 squares would be further off than the kernels are. */
function accurateSum(terms: Float64Array): number {
  let [sum, lost] = [0, 0];
  for (const term of terms) {
    const next = term - lost;
    const total = sum + next;
    lost = total - sum - next;
    sum = total;
  }
  return sum;
}

/** In two commands, of which the second does not begin at a full item. */
function backLaunches(n: number): Launch[] {
  const strips = paddedRows(n) / 4;
  const first = Math.floor((2 * strips) / 3);
  return [
    { first: 0, strips: first },
    { first, strips: strips - first },
  ].map((part) => launch(eigenBack, { n, ...part }, ["a", "factors", "z", "order", "x"]));
}

type Stage = "tridiagonal" | "eigenvalues" | "eigenvectors";

/** A symmetric matrix with normal entries, decomposed as far as `stage`. */
function decomposition(random: RandomStream, n: number, stage: Stage): Case {
  const padded = paddedRows(n);
  const dense = new Float64Array(n * n);
  const a = new Float64Array(padded * padded);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) dense[i * n + j] = dense[j * n + i] = random.uniform32() - 0.5;
  }
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) a[((i >> 2) * padded + j) * 4 + (i & 3)] = dense[i * n + j] ?? NaN;
  const frobenius2 = accurateSum(dense.map((x) => x * x));
  const norm = Math.sqrt(frobenius2);
  const trace = Array.from({ length: n }, (_, i) => dense[i * n + i] ?? NaN).reduce((sum, x) => sum + x, 0);
  const kept = sample(random, n, CHECKED);
  const launches = [
    ...tridiagonalLaunches(n),
    ...(stage === "tridiagonal" ? [] : sweepLaunches(n)),
    ...(stage === "eigenvectors" ? backLaunches(n) : []),
  ];
  const preserved = (output: (name: string) => ArrayBuffer): number => {
    const d = new Float64Array(output("diagonal"));
    const e =
      stage === "tridiagonal" ? new Float64Array(output("offDiagonal")).subarray(0, n - 1) : new Float64Array(0);
    const square = d.reduce((sum, x) => sum + x * x, 0) + 2 * e.reduce((sum, x) => sum + x * x, 0);
    const sum = d.reduce((total, x) => total + x, 0);
    return Math.max(errorOf(sum, trace, n * norm), errorOf(square, frobenius2, n * frobenius2));
  };
  const pairs = (output: (name: string) => ArrayBuffer): number => {
    const d = new Float64Array(output("diagonal"));
    const x = new Float64Array(output("x"));
    return worst(kept.length, (index) => {
      const j = kept[index] ?? 0;
      const entry = (i: number): number => x[((j >> 2) * padded + i) * 4 + (j & 3)] ?? NaN;
      let [residual, length] = [0, 0];
      for (let i = 0; i < n; i++) {
        let sum = -(d[j] ?? NaN) * entry(i);
        for (let q = 0; q < n; q++) sum += (dense[i * n + q] ?? NaN) * entry(q);
        residual = Math.max(residual, Math.abs(sum));
        length += entry(i) ** 2;
      }
      return Math.max(errorOf(residual, 0, n * norm), errorOf(length, 1, n));
    });
  };
  return {
    name: `n=${n}, to the ${stage}`,
    buffers: {
      a,
      vector: eigenSizes.vector(n) * 8,
      partials: eigenSizes.partials(n) * 8,
      left: eigenSizes.panel(n) * 8,
      right: eigenSizes.panel(n) * 8,
      diagonal: n * 8,
      offDiagonal: n * 8,
      factors: new Float64Array(eigenSizes.factors(n)),
      state: new Uint32Array(STATE_WORDS),
      rotations: eigenSizes.rotations(n) * 8,
      z: padded * padded * 8,
      order: Uint32Array.from({ length: padded }, (_, j) => Math.min(j, n - 1)),
      x: padded * padded * 8,
    },
    launches,
    outputs:
      stage === "tridiagonal"
        ? ["diagonal", "offDiagonal"]
        : stage === "eigenvalues"
          ? ["diagonal"]
          : ["diagonal", "x"],
    loose: stage === "tridiagonal", // the last entry of offDiagonal is never written
    check: stage === "eigenvectors" ? (output) => Math.max(preserved(output), pairs(output)) : preserved,
  };
}

function row(kernel: unknown, stage: Stage): Row {
  return {
    kernel: kernel as KernelSchema,
    measure: "n |A|_F (residuals, the trace), n |A|_F^2 (the squares), n (|x|^2)",
    tolerance: 1e-15,
    reason: "backward stability: n orthogonal steps, each off by less than 9 x 2^-53 (Higham 2002, theorem 19.4).",
    unit: "matrices/s",
    *cases(random) {
      for (const n of SIZES) yield decomposition(random, n, stage);
    },
    // A launch consumes its input, so only the whole has a rate, and that is the benchmark's to take.
    large: () => undefined,
  };
}

export const eigenRows: readonly Row[] = [
  row(tridiagonalColumn, "tridiagonal"),
  row(tridiagonalProduct, "tridiagonal"),
  row(tridiagonalUpdate, "tridiagonal"),
  row(eigenSweeps, "eigenvalues"),
  row(eigenBack, "eigenvectors"),
];
