/** `kernelMatrix(engine, spec, X, Y?)`: any kernel, closed or of an architecture, as a matrix in memory. */
import type { FeatureProgress } from "../covariance/finite-features.ts";
import type { SizedTiles } from "../covariance/kernel-tiles.ts";
import { computeMatrices, type MatrixProgress, type MemoryMatrix } from "../covariance/matrix.ts";
import type { Precision } from "../covariance/tiles.ts";
import type { Engine } from "../engine/engine.ts";
import type { ImageSet } from "./image-set.ts";
import type { KernelSpec } from "./kernel-spec.ts";
import { specTiles } from "./spec-tiles.ts";

export interface KernelMatrixOptions {
  /** "f32" (default), or "f64": in float64 on wasm, far slower; finite models have none. */
  readonly precision?: Precision | undefined;
  /** Rows and columns of a tile; no value depends on it. Default: what takes seconds, 16 to 1,024. */
  readonly tile?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: MatrixProgress) => void) | undefined;
  /** Of a finite model, whose pairs come all at once. */
  readonly onFeatures?: ((progress: FeatureProgress) => void) | undefined;
}

/**
 * The kernel between inputs X and Y, [X, Y], or among X, exactly symmetric: `krr`, `gradientFlow` and `gp` take it as it
 * is. `closedKernel(name, parameters)` and `nngp(arch)` make specs.
 *
 *     const spec = closedKernel("rbf", { bandwidth: 5 });
 *     const [train, cross] = [await kernelMatrix(engine, spec, X), await kernelMatrix(engine, spec, Xtest, X)];
 *
 * Throws E_SHAPE where inputs do not fit the kernel or each other, E_CONFIG for a precision, tile or parameter that is
 * none, E_DATA for inputs that are not finite, E_MEMORY where the matrix does not fit the engine's budget, E_OVERFLOW for
 * values outside the format's range, E_ABORTED.
 */
export async function kernelMatrix(
  engine: Engine,
  spec: KernelSpec,
  X: ImageSet,
  Y?: ImageSet,
  options: KernelMatrixOptions = {},
): Promise<MemoryMatrix> {
  engine.assertOpen();
  const { precision = "f32", signal, onFeatures } = options;
  const sized = await specTiles(engine, spec, X, Y ?? X, precision, { whole: true, signal, onFeatures });
  const [matrix] = await matricesOf(engine, sized, Y === undefined, options);
  if (matrix === undefined) throw new Error("tiles have an output");
  return matrix;
}

/** The matrices of some tiles, as many as those have outputs; the tiles are disposed of. */
export async function matricesOf(
  engine: Engine,
  { tiles, tile, ...size }: SizedTiles,
  symmetric: boolean,
  options: Omit<KernelMatrixOptions, "onFeatures">,
): Promise<MemoryMatrix[]> {
  const { precision = "f32", signal, onProgress } = options;
  const { memoryBytes } = engine;
  const job = { ...size, tiles, symmetric, precision, tile: options.tile ?? tile, memoryBytes, signal, onProgress };
  try {
    return await computeMatrices(job);
  } finally {
    tiles.dispose();
  }
}
