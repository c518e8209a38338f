/** `kernel(engine, arch, X, Y?)`: the kernels of an architecture's infinitely wide network, in memory. */
import type { SizedTiles } from "../covariance/kernel-tiles.ts";
import { requireTile, type MatrixProgress, type Values } from "../covariance/matrix.ts";
import { timesPower } from "../covariance/recursion-scale.ts";
import { type Precision, requireFinite } from "../covariance/tiles.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import type { Arch } from "./arch.ts";
import type { ImageSet } from "./image-set.ts";
import { matricesOf } from "./kernel-matrix.ts";
import type { KernelKind, Parametrisation } from "./kernel-spec.ts";
import { archTiles } from "./spec-tiles.ts";

export interface KernelOptions {
  /**
   * Which kernel: "nngp" (default), the covariance of the network's outputs, "ntk", that of their gradients (Jacot et al.
   * 2018), or both of one computation: `kind: ["nngp", "ntk"]`.
   */
  readonly kind?: KernelKind | undefined;
  /** Of the NTK: "ntk" (default) or "standard", for which all layers need widths (`channels`, `units`). */
  readonly parametrisation?: Parametrisation | undefined;
  /** "f32" (default), or "f64": the same program in float64 on wasm, far slower. */
  readonly precision?: Precision | undefined;
  /** Rows and columns of a tile; no value depends on it. Default 256, fewer where pairs are expensive, more of dense nets. */
  readonly tile?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: MatrixProgress) => void) | undefined;
}

export interface KindsOptions extends Omit<KernelOptions, "kind"> {
  readonly kind: readonly KernelKind[];
}

export interface Kernel {
  /** Row-major, [rows, columns]; exactly symmetric without Y. Kernel = value * 2^exponent. */
  readonly values: Values;
  readonly rows: number;
  readonly columns: number;
  /** 0 unless the kernel leaves float32's range. */
  readonly exponent: number;
}

export type Kernels = Readonly<Record<KernelKind, Kernel>>;

/**
 * The kernel (NNGP covariance, NTK, or both) between inputs X and Y, or among X. With a list of kinds, an object that has
 * one kernel for each.
 *
 * Accuracy: float32 within 1e-6 relative of float64 for the ConvNet GP, within 1e-5 for NTKs and pooling; float64 within
 * 1e-12 of the exact kernel, and 1e-10. Relative to the entry for networks of relus on inputs that are nowhere negative;
 * otherwise entries may cancel, and errors are relative to sqrt(K(x, x) K(y, y)). Where a small pool leaves next to nothing
 * of a variance V (means of a few pixels of both signs), float32 has a rounding of V, and not of what is left.
 *
 * Throws E_SHAPE where an architecture does not fit its inputs, E_DATA for pixels that are not finite, E_MEMORY where
 * the matrix does not fit the engine's budget, E_OVERFLOW for values outside the format's range, E_ABORTED.
 */
export async function kernel(
  engine: Engine,
  arch: Arch,
  X: ImageSet,
  Y?: ImageSet,
  options?: KernelOptions,
): Promise<Kernel>;
export async function kernel(
  engine: Engine,
  arch: Arch,
  X: ImageSet,
  Y: ImageSet | undefined,
  options: KindsOptions,
): Promise<Kernels>;
export async function kernel(
  engine: Engine,
  arch: Arch,
  X: ImageSet,
  Y?: ImageSet,
  options: KernelOptions | KindsOptions = {},
): Promise<Kernel | Kernels> {
  engine.assertOpen();
  const { precision = "f32", kind = "nngp", parametrisation } = options;
  const kinds = requireKinds(kind);
  const spec = { arch, parametrisation };
  const sized = await archTiles(engine, spec, kinds, X, Y ?? X, precision, { whole: true });
  const matrices = await matricesOf(engine, sized, Y === undefined, options);
  const made = matrices.map(({ values, rows, columns, exponent }): Kernel => ({ values, rows, columns, exponent }));
  const [first, second] = made;
  if (first === undefined) throw new Error("tiles have an output");
  if (!Array.isArray(kind)) return first;
  return Object.fromEntries(kinds.map((name, at) => [name, at === 0 ? first : second])) as Kernels;
}

/** Distinct kinds, NNGP before NTK. Throws E_CONFIG for what is none. */
function requireKinds(kind: KernelKind | readonly KernelKind[]): readonly KernelKind[] {
  const asked: readonly unknown[] = typeof kind === "string" ? [kind] : kind;
  const known: readonly KernelKind[] = ["nngp", "ntk"];
  const kinds = known.filter((each) => asked.includes(each));
  if (kinds.length > 0 && asked.every((each) => known.some((name) => name === each))) return kinds;
  throw new WidefieldError("E_CONFIG", `kind is "nngp", "ntk" or a list of them, not ${JSON.stringify(kind)}`);
}

/**
 * K(x, x) of every input, in float64: kernel values, without a power of two taken out. Options and errors as for
 * `kernel`; progress counts the inputs, as pairs of their own.
 */
export async function kernelDiagonal(
  engine: Engine,
  arch: Arch,
  X: ImageSet,
  options: KernelOptions = {},
): Promise<Float64Array> {
  const { precision = "f32", kind = "nngp", parametrisation } = options;
  engine.assertOpen();
  return diagonalOf(await archTiles(engine, { arch, parametrisation }, [kind], X, X, precision), options);
}

/** K(x, x) of the rows' inputs of some tiles, which are disposed of. */
export async function diagonalOf(
  { tiles, exponent, rows, ...usual }: SizedTiles,
  { signal, onProgress, ...options }: Pick<KernelOptions, "tile" | "signal" | "onProgress">,
): Promise<Float64Array> {
  const tile = options.tile ?? usual.tile;
  const diagonal = new Float64Array(rows);
  const begun = performance.now();
  try {
    requireTile(tile);
    for (let begin = 0; begin < rows; begin += tile) {
      if (signal?.aborted === true)
        throw new WidefieldError("E_ABORTED", `stopped after ${begin} of ${rows} inputs; nothing was kept`);
      const end = Math.min(begin + tile, rows);
      const block = (await tiles.variances(begin, end)).map((value) => timesPower(value, exponent));
      requireFinite(block, 1, begin, undefined);
      diagonal.set(block, begin);
      onProgress?.({ pairsDone: end, pairsTotal: rows, seconds: (performance.now() - begun) / 1000 });
    }
  } finally {
    tiles.dispose();
  }
  return diagonal;
}
