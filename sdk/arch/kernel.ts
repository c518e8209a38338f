/** `kernel(engine, arch, X, Y?)`: the kernel of an architecture's infinitely wide network, in memory. */
import { computeMatrix, requireTile, type MatrixProgress, type Values } from "../covariance/matrix.ts";
import { stepSize, type Program } from "../covariance/program.ts";
import { type ImageBlock, type Precision, ProgramTiles, requireFinite } from "../covariance/tiles.ts";
import { checkFinite, type ImageShape } from "../data/dataset.ts";
import type { Backend } from "../engine/backend.ts";
import { float64Backend, type Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { compile, type Arch } from "./arch.ts";
import { formatShape, type Shape } from "./layer.ts";

/** Inputs one after the other; `select()` of a dataset gives one. Bytes must be made floats first. */
export interface ImageSet {
  /** [n, channels * height * width], or [n, features] for vectors. */
  readonly images: Float32Array | Float64Array;
  readonly shape: ImageShape | Shape;
}

export interface KernelOptions {
  /** "f32" (default), or "f64": the same program in float64 on wasm, far slower. */
  readonly precision?: Precision | undefined;
  /** Rows and columns of a tile; no value depends on it. Default 256. */
  readonly tile?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: MatrixProgress) => void) | undefined;
}

export interface Kernel {
  /** Row-major, [rows, columns]; exactly symmetric without Y. Kernel = value * 2^exponent. */
  readonly values: Values;
  readonly rows: number;
  readonly columns: number;
  /** 0 unless the kernel leaves float32's range. */
  readonly exponent: number;
}

export const DEFAULT_TILE = 256;

export function shapeOf(shape: ImageShape | Shape): Shape {
  return "channels" in shape ? [shape.channels, shape.height, shape.width] : shape;
}

/** Checks a set's sizes and pixels. Throws E_SHAPE, and E_DATA for a pixel that is not finite, with its index. */
export function imageBlock(set: ImageSet, name: string): ImageBlock {
  const shape = shapeOf(set.shape);
  const floats = shape.reduce((product, size) => product * size, 1);
  const count = set.images.length / floats;
  if (!Number.isInteger(count)) {
    throw new WidefieldError(
      "E_SHAPE",
      `${name}: ${set.images.length} numbers are no whole number of inputs of ${formatShape(shape)}`,
    );
  }
  if (count === 0) throw new WidefieldError("E_SHAPE", `${name}: there are no inputs`);
  const [channels, height, width] = shape.length === 3 ? shape : [1, 1, floats];
  checkFinite(set.images, { channels, height, width }, name);
  return { count, floats, slice: (begin, end) => set.images.subarray(begin * floats, end * floats) };
}

export interface TileBudget {
  /** What may be held while tiles are computed; tables are kept in a part of it. Default: the engine's budget. */
  readonly memoryBytes?: number | undefined;
  /** True: the whole matrix is held in that as well. */
  readonly whole?: boolean | undefined;
}

/** What computes tiles of the kernel between two sets (`columns` the same object as `rows`: a symmetric matrix). */
export async function kernelTiles(
  engine: Engine,
  arch: Arch,
  rows: ImageSet,
  columns: ImageSet,
  precision: Precision,
  budget: TileBudget = {},
): Promise<{
  readonly tiles: ProgramTiles;
  readonly exponent: number;
  readonly rows: number;
  readonly columns: number;
}> {
  if (!["f32", "f64"].includes(precision))
    throw new WidefieldError("E_CONFIG", `precision is "f32" or "f64", not ${JSON.stringify(precision)}`);
  if (![rows, columns].every((set) => ArrayBuffer.isView(set.images)))
    throw new WidefieldError(
      "E_CONFIG",
      "inputs are { images, shape }; options come behind X and Y (Y may be undefined)",
    );
  const [shape, other] = [shapeOf(rows.shape), shapeOf(columns.shape)];
  if (formatShape(shape) !== formatShape(other))
    throw new WidefieldError("E_SHAPE", `X has inputs of ${formatShape(shape)}, and Y of ${formatShape(other)}`);
  const program = compile(arch, shape);
  const rowBlock = imageBlock(rows, "X");
  const columnBlock = columns === rows ? rowBlock : imageBlock(columns, "Y");
  const backend = precision === "f64" ? await float64Backend(engine) : engine.backend;
  const { memoryBytes = engine.memoryBytes, whole = false } = budget;
  const matrix = whole ? rowBlock.count * columnBlock.count * (precision === "f64" ? 8 : 4) : 0;
  const tiles = new ProgramTiles({
    backend,
    program,
    rows: rowBlock,
    columns: columnBlock,
    precision,
    memoryBytes: Math.max(0, memoryBytes - matrix),
  });
  if (tiles.spills) engine.log(spillNotice(program, backend));
  return { tiles, exponent: program.exponent, rows: rowBlock.count, columns: columnBlock.count };
}

function spillNotice({ steps }: Program, { info }: Backend): string {
  const sizes = steps.flatMap((step) => [stepSize(step).in, stepSize(step).out]);
  const [height, width] = sizes.reduce((most, size) => (size[0] * size[1] > most[0] * most[1] ? size : most));
  const [fast, slow] = info.backend === "wasm" ? ["a thread's scratch", "main"] : ["workgroup memory", "device"];
  return `maps of ${height} x ${width} pixels do not fit in ${fast}: layer by layer through ${slow} memory`;
}

/**
 * The kernel (NNGP covariance) between inputs X and Y, or among X.
 *
 * Accuracy: float32 within 1e-6 relative of float64 for the ConvNet GP; float64 within 1e-12 of the exact kernel.
 *
 * Throws E_SHAPE where an architecture does not fit its inputs, E_DATA for pixels that are not finite, E_MEMORY where
 * the matrix does not fit the engine's budget, E_OVERFLOW for values outside the format's range, E_ABORTED.
 */
export async function kernel(
  engine: Engine,
  arch: Arch,
  X: ImageSet,
  Y?: ImageSet,
  options: KernelOptions = {},
): Promise<Kernel> {
  engine.assertOpen();
  const precision = options.precision ?? "f32";
  const { tiles, exponent, rows, columns } = await kernelTiles(engine, arch, X, Y ?? X, precision, { whole: true });
  try {
    const { values } = await computeMatrix({
      tiles,
      rows,
      columns,
      symmetric: Y === undefined,
      exponent,
      precision,
      tile: options.tile ?? DEFAULT_TILE,
      memoryBytes: engine.memoryBytes,
      signal: options.signal,
      onProgress: options.onProgress,
    });
    return { values, rows, columns, exponent };
  } finally {
    tiles.dispose();
  }
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
  const { tile = DEFAULT_TILE, signal, onProgress } = options;
  requireTile(tile);
  const { tiles, exponent, rows } = await kernelTiles(engine, arch, X, X, options.precision ?? "f32");
  const diagonal = new Float64Array(rows);
  const begun = performance.now();
  try {
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

/** value * 2^exponent, where the power alone may leave float64. */
function timesPower(value: number, exponent: number): number {
  const half = Math.trunc(exponent / 2);
  return value === 0 ? 0 : value * 2 ** half * 2 ** (exponent - half);
}
