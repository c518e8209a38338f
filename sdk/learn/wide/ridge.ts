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
import type { LinearWideModel } from "./linear-model.ts";

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
  private readonly vectorBytes: number;

  /** Throws E_CONFIG, and E_MEMORY where the model does not fit beside the vectors of one lambda. */
  static async open(engine: Engine, model: LinearWideModel, rows?: number): Promise<WideRidge> {
    // Half of the budget is the backend's: more rows a block gain little, and more lambdas at once spare whole passes.
    const memoryBytes = engine.memoryBytes / 2;
    const design = await WideDesign.open(engine, model, { memoryBytes, ...(rows === undefined ? {} : { rows }) });
    return new WideRidge(design, engine.memoryBytes - design.bytes);
  }

  private constructor(design: WideDesign, vectorBytes: number) {
    this.design = design;
    this.vectorBytes = vectorBytes;
  }

  /**
   * Fits for every lambda, the largest first; those that memory does not hold at once are solved for in groups. `targets`:
   * [count, outputs].
   *
   * Throws E_CONFIG, E_SHAPE, E_ABORTED, E_NOT_POSITIVE_DEFINITE where lambda = 0 leaves the equations singular, and
   * E_MEMORY where not one lambda fits.
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
    const vectors = Math.floor(this.vectorBytes / (8 * this.design.parameters)) - COMMON_VECTORS;
    const lambdas = Math.floor(vectors / VECTORS_A_LAMBDA);
    if (lambdas >= 1) return lambdas;
    const needed = 8 * this.design.parameters * (COMMON_VECTORS + VECTORS_A_LAMBDA);
    throw new WidefieldError(
      "E_MEMORY",
      `conjugate gradients for ${this.design.parameters} parameters need ${Math.ceil(needed / 2 ** 20)} MiB of vectors, and ` +
        `${Math.floor(Math.max(0, this.vectorBytes) / 2 ** 20)} are left beside the model: raise the budget, or choose a ` +
        "smaller width",
      { details: { neededBytes: needed, memoryBytes: this.vectorBytes } },
    );
  }
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
