/** From a kernel's name or architecture, and two sets of inputs, to what computes tiles of it. */
import { programCost } from "../covariance/cost.ts";
import { GramTiles, gramTile } from "../covariance/gram-tiles.ts";
import type { SizedTiles, TileBudget } from "../covariance/kernel-tiles.ts";
import { stepSize, type Program } from "../covariance/program.ts";
import { recursionOf } from "../covariance/recursion.ts";
import { type Kinds, type Precision, ProgramTiles } from "../covariance/tiles.ts";
import type { Backend } from "../engine/backend.ts";
import { float64Backend, type Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { compile } from "./arch.ts";
import { closedTiles, type ClosedTileOptions } from "./closed-tiles.ts";
import { imageBlock, shapeOf, type ImageSet } from "./image-set.ts";
import type { ArchKernel, KernelSpec } from "./kernel-spec.ts";
import { formatShape } from "./layer.ts";

/**
 * What computes tiles of a kernel between two sets (`columns` the same object as `rows`: a symmetric matrix). Throws
 * E_SHAPE where the inputs do not fit the kernel or each other, E_CONFIG for a precision that is none and for an NTK
 * that there is none of, E_DATA for pixels that are not finite.
 */
export async function specTiles(
  engine: Engine,
  spec: KernelSpec,
  rows: ImageSet,
  columns: ImageSet,
  precision: Precision,
  options: ClosedTileOptions = {},
): Promise<SizedTiles> {
  if (spec.name === "arch") return archTiles(engine, spec, [spec.kind], rows, columns, precision, options);
  requireInputs(rows, columns, precision);
  return closedTiles(engine, spec, rows, columns, precision, options);
}

/** The same for kernels of an architecture, several of which one computation gives. */
export async function archTiles(
  engine: Engine,
  { arch, parametrisation = "ntk" }: Pick<ArchKernel, "arch" | "parametrisation">,
  kinds: Kinds,
  rows: ImageSet,
  columns: ImageSet,
  precision: Precision,
  budget: TileBudget = {},
): Promise<SizedTiles> {
  requireInputs(rows, columns, precision);
  const ntk = kinds.includes("ntk");
  const program = compile(arch, shapeOf(rows.shape), ntk ? { ntk, parametrisation } : undefined);
  const rowBlock = imageBlock(rows, "X");
  const columnBlock = columns === rows ? rowBlock : imageBlock(columns, "Y");
  const backend = precision === "f64" ? await float64Backend(engine) : engine.backend;
  const { memoryBytes = engine.memoryBytes, whole = false } = budget;
  const matrix = whole ? kinds.length * rowBlock.count * columnBlock.count * (precision === "f64" ? 8 : 4) : 0;
  const settings = {
    backend,
    kinds,
    rows: rowBlock,
    columns: columnBlock,
    precision,
    memoryBytes: Math.max(0, memoryBytes - matrix),
  };
  const size = { exponent: program.exponent, rows: rowBlock.count, columns: columnBlock.count };
  const recursion = recursionOf(program);
  if (recursion !== undefined) {
    const tile = gramTile(size.rows, size.columns, precision);
    return { tiles: new GramTiles({ ...settings, recursion }), ...size, tile };
  }
  const tiles = new ProgramTiles({ ...settings, program });
  if (tiles.spills) engine.log(spillNotice(program, backend));
  return { tiles, ...size, tile: usualTile(program) };
}

function requireInputs(rows: ImageSet, columns: ImageSet, precision: Precision): void {
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
}

/** Operations of a tile that takes some ten seconds on two cores: progress, Ctrl-C and resuming go by tiles. */
const TILE_OPERATIONS = 6e11;

/** The lanes of a wasm vector: smaller tiles would leave some idle. */
const SMALLEST_TILE = 4;

/** Rows and columns of a tile where nobody says otherwise: 256, or fewer where pairs are expensive. */
function usualTile(program: Program): number {
  const pairs = TILE_OPERATIONS / programCost(program).operations;
  return Math.max(SMALLEST_TILE, Math.min(DEFAULT_TILE, 2 ** Math.floor(Math.log2(Math.sqrt(pairs)))));
}

export const DEFAULT_TILE = 256;

function spillNotice({ steps }: Program, { info }: Backend): string {
  const sizes = steps.flatMap((step) => [stepSize(step).in, stepSize(step).out]);
  const [height, width] = sizes.reduce((most, size) => (size[0] * size[1] > most[0] * most[1] ? size : most));
  const [fast, slow] = info.backend === "wasm" ? ["a thread's scratch", "main"] : ["workgroup memory", "device"];
  return `maps of ${height} x ${width} pixels do not fit in ${fast}: layer by layer through ${slow} memory`;
}
