/**
 * What the methods of conjugate gradients have in common: their options, the system (A + lambda I) X = B brought to a
 * harmless scale, when to stop, and how failures are told. The methods: `cg.ts`, `block-cg.ts`, `multi-shift-cg.ts`.
 *
 * An answer's residual is always computed from the answer. The residual that a recurrence carries along drifts away from
 * it by rounding, and goes to zero even where the true one cannot: it is only used to know when to look.
 */
import { WidefieldError } from "../errors.ts";
import { Breath } from "./breath.ts";
import { operatorRows, type LinearOperator } from "./operator.ts";
import type { Preconditioner } from "./preconditioner.ts";
import type { Values } from "./source.ts";
import { dot, euclidean, scaleByPower } from "./vectors.ts";

export interface KrylovProgress {
  readonly iteration: number;
  /** Largest norm of a residual over that of its right-hand side. */
  readonly residual: number;
  readonly seconds: number;
}

export interface KrylovOptions {
  /** Stop where ||b - A x|| <= tolerance x ||b||; default 1e-8. */
  readonly tolerance?: number | undefined;
  /** Stop where ||b - A x|| <= absoluteTolerance, whichever comes first; default 0. */
  readonly absoluteTolerance?: number | undefined;
  /** Products with the matrix at most, but for those that check an answer; default 10 n, between 100 and 10,000. */
  readonly maxIterations?: number | undefined;
  /**
   * Iterations without a new smallest residual after which the true one is computed, to see whether rounding has taken
   * over; default 5 n, between 100 and 1,000.
   */
  readonly stagnationWindow?: number | undefined;
  /** Called after each iteration. */
  readonly onProgress?: ((progress: KrylovProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Why it stopped: at the relative or the absolute tolerance, or, without convergence, at the cap. */
export type KrylovStop = "relative" | "absolute" | "iterations";

export interface Settings {
  readonly tolerance: number;
  readonly absoluteTolerance: number;
  readonly maxIterations: number;
  readonly stagnationWindow: number;
}

/** Options with their defaults. Throws E_CONFIG for what cannot be meant. */
export function settingsOf(n: number, options: KrylovOptions): Settings {
  const between = (least: number, value: number, most: number) => Math.min(Math.max(least, value), most);
  const { tolerance = 1e-8, absoluteTolerance = 0 } = options;
  const { maxIterations = between(100, 10 * n, 10_000), stagnationWindow = between(100, 5 * n, 1000) } = options;
  requireNumber("tolerance", tolerance);
  requireNumber("absoluteTolerance", absoluteTolerance);
  if (!(tolerance < 1))
    throw new WidefieldError(
      "E_CONFIG",
      `tolerance must be below 1, not ${tolerance}: x = 0 has a relative residual of 1`,
    );
  for (const [name, value] of Object.entries({ maxIterations, stagnationWindow })) {
    if (Number.isSafeInteger(value) && value >= 1) continue;
    throw new WidefieldError("E_CONFIG", `${name} must be a whole number of at least 1, not ${value}`);
  }
  return { tolerance, absoluteTolerance, maxIterations, stagnationWindow };
}

/** Throws E_CONFIG for a number that is negative or not finite. */
export function requireNumber(name: string, value: number): void {
  if (value >= 0 && Number.isFinite(value)) return;
  throw new WidefieldError("E_CONFIG", `${name} must be a finite number that is not negative, not ${value}`);
}

/**
 * (A + lambda I) X = B, divided by powers of two: A by its operator's exponent, B by one that brings its largest entry
 * to [1, 2), so that squares neither overflow nor vanish. Products are counted and checked here.
 */
export class System {
  readonly operator: LinearOperator;
  readonly n: number;
  /** Right-hand sides, one after the other, scaled. */
  readonly rhs: Float64Array;
  readonly vectors: number;
  /** B is 2^rhsExponent x rhs. */
  readonly rhsExponent: number;
  readonly settings: Settings;
  /** Products with search directions so far. */
  iteration = 0;
  /** Vectors that were multiplied, those of checks included. */
  products = 0;
  /** Largest norm of a residual over that of its right-hand side, at the start and after each iteration. */
  readonly history: number[] = [];
  /** A lower bound on the norm of A, from the products. */
  private norm = 0;
  private best = Infinity;
  private bestIteration = 0;
  private readonly breath = new Breath();
  private readonly began = performance.now();
  private readonly options: KrylovOptions;

  /** `rhs`: row-major n x m. Throws E_SHAPE, E_CONFIG, and E_DATA for entries that are not finite (named). */
  constructor(operator: LinearOperator, rhs: Values, options: KrylovOptions) {
    this.n = operatorRows(operator);
    this.operator = operator;
    this.options = options;
    this.settings = settingsOf(this.n, options);
    this.vectors = rhs.length / this.n;
    if (!Number.isInteger(this.vectors) || this.vectors === 0) {
      throw new WidefieldError(
        "E_SHAPE",
        `right-hand sides of a ${this.n} x ${this.n} matrix must be ${this.n} x m numbers, row by row, m >= 1; ` +
          `${rhs.length} were given`,
        { details: { n: this.n, length: rhs.length } },
      );
    }
    const block = blockOf(rhs, this.n, this.vectors);
    const largest = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    this.rhsExponent = largest === 0 ? 0 : Math.floor(Math.log2(largest));
    this.rhs = scaleByPower(block, -this.rhsExponent);
  }

  /** A number in units of the scaled matrix. */
  scaleLambda(lambda: number): number {
    return scaleByPower(Float64Array.of(lambda), -(this.operator.exponent ?? 0))[0] as number;
  }

  /** The residual norms at which the right-hand sides count as solved. */
  targets(): Float64Array {
    const absolute = scaleByPower(Float64Array.of(this.settings.absoluteTolerance), -this.rhsExponent)[0] as number;
    return this.norms(this.rhs).map((norm) => Math.max(absolute, this.settings.tolerance * norm));
  }

  /** Norms of the vectors of a block. */
  norms(block: Float64Array): Float64Array {
    const { n } = this;
    return new Float64Array(block.length / n).map((_, v) => {
      const vector = block.subarray(v * n, (v + 1) * n);
      return Math.sqrt(dot(vector, vector));
    });
  }

  /** Norms over those of the right-hand sides; 0 where both are. The largest. */
  relative(norms: Float64Array): number {
    const scales = this.norms(this.rhs);
    return norms.reduce((most, norm, v) => {
      const ratio = norm === 0 ? 0 : norm / (scales[v % scales.length] as number);
      return ratio > most || Number.isNaN(ratio) ? ratio : most;
    }, 0);
  }

  /** (A + lambda I) X, a new array. Throws E_ABORTED, E_SHAPE and E_DATA for a product that cannot be one. */
  async multiply(x: Float64Array, lambda: number): Promise<Float64Array> {
    const { signal } = this.options;
    throwIfAborted(signal, this.iteration);
    if (await this.breath.take()) throwIfAborted(signal, this.iteration);
    const product = await this.productOf(x, signal);
    this.products += x.length / this.n;
    if (product.length !== x.length) {
      throw new WidefieldError(
        "E_SHAPE",
        `the matrix's function was given ${x.length} numbers and returned ${product.length}: it must return as many`,
        { details: { iteration: this.iteration } },
      );
    }
    const y = product.slice();
    for (let i = 0; i < y.length; i++) {
      const value = (y[i] as number) + lambda * (x[i] as number);
      if (value - value !== 0) throw this.notFinite(product, i);
      y[i] = value;
    }
    return y;
  }

  /** An operator that stops in the middle of a product does not know the iteration. */
  private async productOf(x: Float64Array, signal: AbortSignal | undefined): Promise<Float64Array> {
    try {
      return await this.operator.apply(x, x.length / this.n, signal);
    } catch (thrown) {
      if (thrown instanceof WidefieldError && thrown.code === "E_ABORTED") throwIfAborted(signal, this.iteration);
      throw thrown;
    }
  }

  /** M^-1 R for a block; R itself without a preconditioner. Throws E_SHAPE and E_DATA for what cannot be one. */
  async precondition(preconditioner: Preconditioner | undefined, r: Float64Array): Promise<Float64Array> {
    if (preconditioner === undefined) return r;
    const z = await preconditioner.apply(r, r.length / this.n);
    if (z.length !== r.length) {
      throw new WidefieldError(
        "E_SHAPE",
        `the preconditioner was given ${r.length} numbers and returned ${z.length}: it must return as many`,
        { details: { iteration: this.iteration } },
      );
    }
    const bad = z.findIndex((value) => value - value !== 0);
    if (bad < 0) return z;
    throw new WidefieldError(
      "E_DATA",
      `entry ${bad % this.n} of what the preconditioner returned is ${z[bad] as number} in iteration ${this.iteration}`,
      { details: { index: bad % this.n, iteration: this.iteration, preconditioner: true } },
    );
  }

  private notFinite(product: Float64Array, at: number): WidefieldError {
    return new WidefieldError(
      "E_DATA",
      `entry ${at % this.n} of the product with the matrix is ${product[at] as number} in iteration ${this.iteration}: the ` +
        `matrix holds entries that are not finite, or its products leave float64's range`,
      { details: { index: at % this.n, iteration: this.iteration } },
    );
  }

  /** B - (A + lambda I) X. */
  async residual(x: Float64Array, lambda: number): Promise<Float64Array> {
    const product = await this.multiply(x, lambda);
    return product.map((value, i) => (this.rhs[i] as number) - value);
  }

  /** Notes the largest relative residual after an iteration. True where none was smaller for a window: see `examine`. */
  note(residual: number): boolean {
    this.history.push(residual);
    this.options.onProgress?.({
      iteration: this.iteration,
      residual,
      seconds: (performance.now() - this.began) / 1000,
    });
    if (residual < this.best) {
      this.best = residual;
      this.bestIteration = this.iteration;
    }
    return this.iteration - this.bestIteration >= this.settings.stagnationWindow;
  }

  /**
   * Tells stagnation from a long plateau, which ill-conditioned systems have, by what only rounding brings about: the
   * residual of the recurrence, `r`, is no longer that of x. Throws E_NOT_CONVERGED then.
   */
  async examine(x: Float64Array, lambda: number, r: Float64Array): Promise<void> {
    const actual = await this.residual(x, lambda);
    const drift = this.norms(actual.map((value, i) => value - (r[i] as number)));
    const expected = this.norms(r);
    if (drift.some((norm, v) => !(norm <= (expected[v] as number) / 2))) {
      const what = `no residual was smaller for ${this.settings.stagnationWindow} iterations, and rounding errors grow`;
      throw this.stagnation(what, this.relative(this.norms(actual)));
    }
    this.bestIteration = this.iteration;
  }

  /** Restarts the count of iterations without progress. */
  forgetBest(): void {
    this.best = Infinity;
    this.bestIteration = this.iteration;
  }

  stagnation(what: string, residual: number): WidefieldError {
    return new WidefieldError(
      "E_NOT_CONVERGED",
      `conjugate gradients stagnated in iteration ${this.iteration}: ${what}; the relative residual is ` +
        `${residual.toExponential(2)}, asked for was ${this.settings.tolerance.toExponential(2)}. Raise lambda or the ` +
        `tolerance, give a better preconditioner, or factorise the matrix (cholesky)`,
      { details: { iteration: this.iteration, residual, history: this.history } },
    );
  }

  /**
   * Throws E_NOT_POSITIVE_DEFINITE unless p' A p is positive beyond rounding: `curvature` is p' A p, and `q` is A p.
   * Squares of lengths do not occur: entries of A may be as large as 1e300, or as small as 1e-300.
   */
  requirePositive(curvature: number, p: Float64Array, q: Float64Array): void {
    const [length, image] = [euclidean(p), euclidean(q)];
    if (length > 0) this.norm = Math.max(this.norm, image / length);
    const rayleigh = curvature / length / length;
    if (rayleigh > 2 ** -53 * this.norm) return;
    const value = scaleByPower(Float64Array.of(rayleigh), this.operator.exponent ?? 0)[0] as number;
    const singular = rayleigh >= -(2 ** -46) * this.norm;
    throw new WidefieldError(
      "E_NOT_POSITIVE_DEFINITE",
      `the ${this.n} x ${this.n} matrix is ${singular ? "singular to working precision" : "not positive definite"}: ` +
        `iteration ${this.iteration} met a direction along which it is ${value.toExponential(3)}; ` +
        (singular ? "raise lambda" : `a lambda of more than ${Math.abs(value).toExponential(1)} is needed`),
      { details: { iteration: this.iteration, curvature: value, singular, history: this.history } },
    );
  }

  /** Throws E_NOT_POSITIVE_DEFINITE for a preconditioner M with r' M^-1 r <= 0. */
  badPreconditioner(value: number): WidefieldError {
    return new WidefieldError(
      "E_NOT_POSITIVE_DEFINITE",
      `the preconditioner is not positive definite: r' M^-1 r was ${value} in iteration ${this.iteration}`,
      { details: { iteration: this.iteration, preconditioner: true } },
    );
  }

  /** A solution in the caller's units, row-major. Throws E_OVERFLOW where it leaves float64's range. */
  answer(x: Float64Array): Float64Array {
    const scaled = scaleByPower(x, this.rhsExponent - (this.operator.exponent ?? 0));
    const bad = scaled.findIndex((value) => value - value !== 0);
    if (bad >= 0) {
      throw new WidefieldError("E_OVERFLOW", `entry ${bad % this.n} of the solution leaves float64's range`, {
        details: { index: bad % this.n },
      });
    }
    return rowsOf(scaled, this.n, x.length / this.n);
  }

  /** Norms in the caller's units. */
  unscaled(norms: Float64Array): Float64Array {
    return scaleByPower(norms, this.rhsExponent);
  }

  /** By which tolerance residuals of these norms passed; at the cap if one did not. */
  stopOf(norms: Float64Array): KrylovStop {
    const targets = this.targets();
    const scales = this.norms(this.rhs);
    if (!norms.every((norm, v) => norm <= (targets[v % targets.length] as number))) return "iterations";
    const { tolerance } = this.settings;
    return norms.every((norm, v) => norm <= tolerance * (scales[v % scales.length] as number))
      ? "relative"
      : "absolute";
  }
}

export function throwIfAborted(signal: AbortSignal | undefined, iteration: number): void {
  if (signal?.aborted !== true) return;
  throw new WidefieldError("E_ABORTED", `conjugate gradients were stopped after ${iteration} iterations`, {
    cause: signal.reason,
    details: { iteration },
  });
}

/** A row-major n x m matrix as a block of vectors, checked. */
function blockOf(rhs: Values, n: number, m: number): Float64Array {
  const block = new Float64Array(rhs.length);
  for (let i = 0; i < n; i++) {
    for (let v = 0; v < m; v++) {
      const value = rhs[i * m + v] as number;
      if (value - value !== 0) {
        throw new WidefieldError("E_DATA", `entry (${i}, ${v}) of the right-hand sides is ${value}`, {
          details: { row: i, column: v, value },
        });
      }
      block[v * n + i] = value;
    }
  }
  return block;
}

function rowsOf(block: Float64Array, n: number, m: number): Float64Array {
  if (m === 1) return block;
  const rows = new Float64Array(block.length);
  for (let v = 0; v < m; v++) for (let i = 0; i < n; i++) rows[i * m + v] = block[v * n + i] as number;
  return rows;
}
