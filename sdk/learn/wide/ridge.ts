/**
 * Ridge regression of the models that are linear in what they learn (`design.ts`), over a grid of ridges: conjugate
 * gradients on the normal equations
 *
 *     (A'A / n + lambda I) theta = A'Y / n
 *
 * of the mean over n images of the squared error, summed over outputs, plus lambda |theta|^2, intercepts included. All
 * outputs are one vector, so that an iteration is one pass over the features, and all lambdas share the products (multi-shift).
 */
import type { Engine } from "../../engine/engine.ts";
import { WidefieldError } from "../../errors.ts";
import { multiShiftCg, type MultiShiftSolution } from "../../linalg/multi-shift-cg.ts";
import type { LinearOperator } from "../../linalg/operator.ts";
import { requireLambdas } from "../krr.ts";
import { WideDesign, type Inputs } from "./design.ts";
import { leastBytes, parameterCount, type LinearWideModel } from "./linear-model.ts";
import { requireSizes } from "./wide-network.ts";

/** Iterations and relative residual of Ghorbani et al. 2020. */
export const WIDE_ITERATIONS = 750;
export const WIDE_TOLERANCE = 1e-4;

/** Vectors of parameters that multi-shift conjugate gradients hold: for a lambda, and for all of them. */
const VECTORS_A_LAMBDA = 5;
const COMMON_VECTORS = 8;

export interface WideRidgeOptions {
  readonly lambdas: readonly number[];
  /** Default: `WIDE_ITERATIONS`. */
  readonly maxIterations?: number | undefined;
  /** Relative residual; default `WIDE_TOLERANCE`. */
  readonly tolerance?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: WideRidgeProgress) => void) | undefined;
}

export interface WideRidgeProgress {
  readonly iteration: number;
  readonly maxIterations: number;
  /** Relative, of the smallest lambda under way. */
  readonly residual: number;
}

/** One lambda's solution. */
export interface WideRidgeFit {
  readonly lambda: number;
  /** [V (width x outputs), b (outputs), and of `nt` G (width x inputs)], row-major. */
  readonly theta: Float64Array;
  /** False where the residual is above the tolerance: at the cap on iterations, or where rounding keeps it there. */
  readonly converged: boolean;
  readonly iterations: number;
  readonly relativeResidual: number;
}

/** A model on an engine, for fits and predictions. `dispose` frees its memory. */
export class WideRidge {
  readonly design: WideDesign;
  /** Bytes that the host may hold in vectors of parameters. */
  private readonly hostBytes: number;

  /** Throws E_CONFIG, and E_MEMORY where the budget does not hold the model and the vectors of one lambda. */
  static async open(engine: Engine, model: LinearWideModel, rows?: number): Promise<WideRidge> {
    const { memoryBytes: budget } = engine;
    const { name, width, inputs, outputs } = model;
    requireSizes(name, { width, inputs, outputs });
    const [least, vectors] = [leastBytes(model), vectorBytes(model)];
    if (!(least + vectors <= budget)) throw tooLarge(model, least, vectors, budget);
    // Half of the budget is the backend's: more rows a block gain little, and more lambdas at once spare whole passes. What
    // does not fit so has one lambda at a time.
    const rest = budget - vectors;
    const memoryBytes = least > budget / 2 ? rest : Math.min(budget / 2, rest);
    const design = await WideDesign.open(engine, model, { memoryBytes, ...(rows === undefined ? {} : { rows }) });
    return new WideRidge(design, budget - design.bytes);
  }

  private constructor(design: WideDesign, hostBytes: number) {
    this.design = design;
    this.hostBytes = hostBytes;
  }

  /**
   * Fits for every lambda, the largest first; those that memory does not hold at once are solved for in groups. `targets`:
   * [count, outputs].
   *
   * Throws E_CONFIG, E_SHAPE, E_ABORTED, and E_NOT_POSITIVE_DEFINITE where lambda = 0 leaves the equations singular.
   */
  async *fits(inputs: Inputs, targets: Float64Array, options: WideRidgeOptions): AsyncGenerator<WideRidgeFit> {
    const { maxIterations = WIDE_ITERATIONS, tolerance = WIDE_TOLERANCE, signal, onProgress } = options;
    requireLambdas(options.lambdas);
    const lambdas = [...options.lambdas].sort((a, b) => b - a);
    const size = this.groupSize();
    const b = await this.design.adjoint(inputs, targets, signal);
    const rhs = b.map((value) => value / inputs.count);
    const operator = normalEquations(this.design, inputs);
    for (let first = 0; first < lambdas.length; first += size) {
      const { solutions } = await multiShiftCg(operator, rhs, lambdas.slice(first, first + size), {
        ...{ maxIterations, tolerance, signal, keepStagnated: true },
        onProgress: onProgress && (({ iteration, residual }) => onProgress({ iteration, maxIterations, residual })),
      });
      for (const solution of solutions) yield fitOf(solution);
    }
  }

  /** The model's outputs for images, [count, outputs]. Throws E_SHAPE, E_ABORTED. */
  predict(inputs: Inputs, { theta }: Pick<WideRidgeFit, "theta">, signal?: AbortSignal): Promise<Float64Array> {
    return this.design.predict(inputs, theta, signal);
  }

  dispose(): void {
    this.design.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private groupSize(): number {
    const vectors = this.hostBytes / (8 * this.design.parameters);
    return Math.max(1, Math.floor((vectors - COMMON_VECTORS) / VECTORS_A_LAMBDA));
  }
}

/** Bytes of the vectors of parameters that conjugate gradients hold for one lambda. */
function vectorBytes(model: LinearWideModel): number {
  return 8 * parameterCount(model) * (COMMON_VECTORS + VECTORS_A_LAMBDA);
}

function tooLarge(model: LinearWideModel, least: number, vectors: number, budget: number): WidefieldError {
  const { name, width, inputs, outputs } = model;
  const mebibytes = (bytes: number) => Math.ceil(bytes / 2 ** 20);
  return new WidefieldError(
    "E_MEMORY",
    `${name} of ${width} units, ${inputs} inputs and ${outputs} outputs needs ${mebibytes(least)} MiB for its weights and ` +
      `one image, and ${mebibytes(vectors)} MiB for the vectors of conjugate gradients; the budget is ` +
      `${Math.floor(budget / 2 ** 20)} MiB: raise it, or choose a smaller width`,
    { details: { neededBytes: least + vectors, memoryBytes: budget } },
  );
}

/** A'A / n. */
function normalEquations(design: WideDesign, inputs: Inputs): LinearOperator {
  return {
    n: design.parameters,
    async apply(x, vectors, signal) {
      const product = await design.gram(inputs, x, vectors, signal);
      for (let i = 0; i < product.length; i++) product[i] = (product[i] as number) / inputs.count;
      return product;
    },
  };
}

function fitOf({ lambda, x, converged, iterations, relativeResidual }: MultiShiftSolution): WideRidgeFit {
  return { lambda, theta: x, converged, iterations, relativeResidual };
}
