/** From a kernel in closed form and two sets of inputs to what computes its tiles. */
import { type ClosedKernel, closedKernel } from "../covariance/closed-kernel.ts";
import { FiniteFeatureTiles, type FeatureProgress } from "../covariance/finite-features.ts";
import type { Checkpoint } from "../covariance/feature-sums.ts";
import { GramTiles, gramTile } from "../covariance/gram-tiles.ts";
import type { SizedTiles, TileBudget } from "../covariance/kernel-tiles.ts";
import { closedRecursion } from "../covariance/recursion.ts";
import type { Precision } from "../covariance/tiles.ts";
import { float64Backend, type Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { imageBlock, type ImageSet } from "./image-set.ts";

export interface ClosedTileOptions extends TileBudget {
  /** Of a finite model: where its sums are kept, so that they go on where they were stopped. */
  readonly checkpoint?: Checkpoint | undefined;
  /** Of a finite model, whose tiles come all at once: stops it after the block under way. */
  readonly signal?: AbortSignal | undefined;
  readonly onFeatures?: ((progress: FeatureProgress) => void) | undefined;
}

/**
 * Tiles of the kernel between two sets (`columns` the same object as `rows`: a symmetric matrix).
 *
 * Accuracy, relative to sqrt(K(x, x) K(z, z)): float32 1e-5 (measured: 1e-6), float64 1e-10 (measured: 1e-14). Polynomials
 * multiply their base's error, 5e-7, by the degree; see `ArcCosine` for order 0 of parallel inputs. Inputs may have any
 * norms as long as their kernels are normal numbers of the format, and lie within 1e19 bandwidths of 0 in float32.
 *
 * The tiles throw E_OVERFLOW beyond that. Throws E_DATA for inputs that are not finite, E_CONFIG for parameters that cannot be meant, and for a finite model in
 * float64: it is made of float32 features, whatever the sums are taken in. `specTiles` checks what else there is.
 */
export async function closedTiles(
  engine: Engine,
  kernel: ClosedKernel,
  rows: ImageSet,
  columns: ImageSet,
  precision: Precision,
  options: ClosedTileOptions = {},
): Promise<SizedTiles> {
  const { name, ...parameters } = kernel;
  const checked = closedKernel(name, parameters);
  const rowBlock = imageBlock(rows, "X");
  const columnBlock = columns === rows ? rowBlock : imageBlock(columns, "Y");
  const { memoryBytes = engine.memoryBytes, whole = false } = options;
  const matrix = whole ? rowBlock.count * columnBlock.count * (precision === "f64" ? 8 : 4) : 0;
  const sides = { rows: rowBlock, columns: columnBlock, memoryBytes: Math.max(0, memoryBytes - matrix) };
  const tile = gramTile(rowBlock.count, columnBlock.count, precision);
  const size = { exponent: 0, rows: rowBlock.count, columns: columnBlock.count, tile };
  if (checked.name === "rf") {
    if (precision === "f64")
      throw new WidefieldError(
        "E_CONFIG",
        "kernel rf is that of float32 features, summed in float64: it has no precision f64",
      );
    const { checkpoint, signal, onFeatures: onProgress } = options;
    const { backend } = engine;
    return {
      tiles: new FiniteFeatureTiles({ backend, kernel: checked, ...sides, checkpoint, signal, onProgress }),
      ...size,
    };
  }
  const backend = precision === "f64" ? await float64Backend(engine) : engine.backend;
  const recursion = closedRecursion(checked, rowBlock.floats);
  const kinds = checked.name === "ntk2" ? (["ntk"] as const) : (["nngp"] as const);
  return { tiles: new GramTiles({ backend, recursion, kinds, ...sides, precision }), ...size };
}
