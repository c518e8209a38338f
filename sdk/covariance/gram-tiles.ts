/**
 * Computes tiles of kernels that are recursions (`recursion.ts`): a matmul makes the products of two blocks' points, and
 * the kernel `recursion` turns them into kernel values where they stand. In float64 `recursionF64` does both.
 *
 * What a value is made of does not depend on its tile: a product's sum over the numbers of a point is taken in one order,
 * and everything behind it treats both images alike. So K(i, j) and K(j, i) are the same bits, too.
 */
import type { Backend, Slot } from "../engine/backend.ts";
import { matmul } from "../engine/kernels/matmul.ts";
import { recursion, recursionF64, Wanted } from "../engine/kernels/recursion.ts";
import { fixedBytes } from "../engine/wasm/layout.ts";
import { BlockCache, blockBudget } from "./block-cache.ts";
import type { KernelTiles } from "./kernel-tiles.ts";
import type { Values } from "./matrix.ts";
import { imageTable, TABLE_ROWS, tablePitch } from "./recursion-images.ts";
import { restorePowers, restoreVariances, requireRoom, type Sizes } from "./recursion-scale.ts";
import { encodeRecursion, NEAR, type Recursion } from "./recursion.ts";
import { requireFinite, type ImageBlock, type Kinds, type Precision } from "./tiles.ts";

/** Most rows and columns of a tile where nobody says otherwise: 4 MiB in float32, and well under a second. */
export const LARGEST_GRAM_TILE = 1024;
const SMALLEST_TILE = 256;

/**
 * Rows and columns of a tile where nobody says otherwise: as a matmul likes them, but not much larger than the matrix, as
 * a stored tile is as large as all others. In float64 pairs take their time.
 */
export function gramTile(rows: number, columns: number, precision: Precision): number {
  const most = precision === "f64" ? SMALLEST_TILE : LARGEST_GRAM_TILE;
  return Math.max(SMALLEST_TILE, Math.min(most, 2 ** Math.ceil(Math.log2(Math.max(rows, columns)))));
}

export interface GramSettings {
  readonly backend: Backend;
  readonly recursion: Recursion;
  /** What tiles hold: K, theta, or both, K first whatever the order here. */
  readonly kinds: Kinds;
  readonly rows: ImageBlock;
  /** The same object as `rows` for a symmetric matrix. */
  readonly columns: ImageBlock;
  readonly precision: Precision;
  /** Budget of the job that the tiles are for; blocks of images are kept in a part of it. */
  readonly memoryBytes: number;
}

interface Block {
  readonly points: Slot;
  readonly table: Slot;
  /** K(x, x) and theta(x, x), as many of them as there are outputs. */
  readonly variances: readonly Float64Array[];
  readonly sizes: readonly Sizes[];
  /** Whether a power of two was taken out of an image. */
  readonly isShifted: boolean;
  readonly bytes: number;
}

export class GramTiles implements KernelTiles {
  readonly outputs: number;
  private readonly settings: GramSettings;
  private readonly words: Slot;
  private readonly blocks: BlockCache<Block>;
  private output: { readonly slot: Slot; readonly bytes: number } | undefined;
  private disposed = false;

  constructor(settings: GramSettings) {
    this.settings = settings;
    this.outputs = settings.kinds.length;
    const { backend, rows, columns, memoryBytes } = settings;
    const words = encodeRecursion(settings.recursion);
    this.words = backend.allocate(words.byteLength, "recursion");
    backend.write(this.words, 0, words);
    this.blocks = new BlockCache<Block>({
      rows,
      columns,
      memoryBytes,
      bytes: (images) => this.blockBytes(images),
      make: (images, begin, end) => this.makeBlock(images, begin, end),
      free: (block) => {
        backend.free(block.points);
        backend.free(block.table);
      },
    });
  }

  /** Bytes of a tile, with the blocks that it needs, those kept from others, and what making one takes. */
  peakBytes(tileRows: number, tileColumns: number, memoryBytes: number): number {
    const { backend, rows, columns } = this.settings;
    const blocks = this.blockBytes(tileRows) + this.blockBytes(tileColumns);
    const held = (rows.count + (rows === columns ? 0 : columns.count)) * rows.floats * this.scalar;
    // In float64, rounded, and staged where a write has to wait.
    const making = (8 / this.scalar + 2) * this.blockBytes(Math.max(tileRows, tileColumns));
    const scratch = backend.info.backend === "wasm" ? fixedBytes(backend.info.threads) : 0;
    const tile = 2 * this.outputs * tileRows * tileColumns * this.scalar;
    return scratch + Math.max(blocks, blockBudget(memoryBytes)) + blocks + held + making + tile;
  }

  /** See `KernelTiles`. Throws E_OVERFLOW. */
  variances(begin: number, end: number): Promise<Float64Array> {
    const { variances } = this.blocks.get("rows", begin, end);
    for (const values of variances) requireFinite(values, 1, begin, undefined);
    const images = end - begin;
    const all = new Float64Array(this.outputs * images);
    variances.forEach((values, output) => all.set(values, output * images));
    return Promise.resolve(all);
  }

  /** See `KernelTiles`. Throws E_OVERFLOW. */
  async compute(
    rowBegin: number,
    rowEnd: number,
    columnBegin: number,
    columnEnd: number,
    diagonal: boolean,
  ): Promise<Values> {
    const { backend, precision, recursion: steps, rows: images, kinds } = this.settings;
    const [rows, columns] = [rowEnd - rowBegin, columnEnd - columnBegin];
    const rowBlock = this.blocks.get("rows", rowBegin, rowEnd);
    const columnBlock = this.blocks.get("columns", columnBegin, columnEnd, rowBlock);
    const bytes = this.outputs * rows * columns * this.scalar;
    const slot = this.outputSlot(bytes);
    const floats = images.floats;
    const wanted = kinds.reduce((sum, kind) => sum + Wanted[kind], 0);
    const angle = steps.metric === "angle" ? 1 : 0;
    const params = { rows, columns, floats, steps: steps.steps.length, slots: steps.slots, angle, wanted };
    const buffers = [this.words, rowBlock.table, columnBlock.table, rowBlock.points, columnBlock.points, slot];
    if (precision === "f64") backend.dispatch(recursionF64, params, buffers);
    else {
      const product = { m: rows, n: columns, k: floats, transposeA: 0, transposeB: 1, alpha: 1, beta: 0 };
      backend.dispatch(matmul, product, [rowBlock.points, columnBlock.points, slot]);
      backend.dispatch(recursion, { ...params, near: NEAR[steps.metric] }, buffers);
    }
    const read = await backend.read(slot, 0, bytes);
    const tile = precision === "f64" ? new Float64Array(read) : new Float32Array(read);
    for (let output = 0; output < this.outputs; output++) {
      const values = tile.subarray(output * rows * columns, (output + 1) * rows * columns);
      const own = rowBlock.variances[output];
      const [rowSizes, columnSizes] = [rowBlock.sizes[output], columnBlock.sizes[output]];
      if ((rowBlock.isShifted || columnBlock.isShifted) && rowSizes !== undefined && columnSizes !== undefined)
        restorePowers(values, rowSizes, columnSizes, rowBegin, columnBegin, precision);
      if (diagonal && own !== undefined) setDiagonal(values, own, columns, columnBegin - rowBegin);
      requireFinite(values, columns, rowBegin, columnBegin);
    }
    return tile;
  }

  /** The first output, for a store, which holds float32. */
  async computeTile(
    rowBegin: number,
    rowEnd: number,
    columnBegin: number,
    columnEnd: number,
    diagonal: boolean,
  ): Promise<Float32Array> {
    const tiles = await this.compute(rowBegin, rowEnd, columnBegin, columnEnd, diagonal);
    const tile = tiles.subarray(0, tiles.length / this.outputs);
    return tile instanceof Float32Array ? tile : Float32Array.from(tile);
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    const { backend } = this.settings;
    this.blocks.clear();
    backend.free(this.words);
    if (this.output !== undefined) backend.free(this.output.slot);
  }

  /** Bytes of a number. */
  private get scalar(): number {
    return this.settings.precision === "f64" ? 8 : 4;
  }

  private blockBytes(images: number): number {
    const { recursion: steps, rows } = this.settings;
    const numbers = images * rows.floats + steps.steps.length * TABLE_ROWS * tablePitch(images);
    return numbers * this.scalar + 8 * this.outputs * images;
  }

  private makeBlock(images: ImageBlock, begin: number, end: number): Block {
    const { backend, recursion: steps, precision, kinds, rows } = this.settings;
    const count = end - begin;
    const { points, table, exponents, reaches, ...own } = imageTable(
      steps,
      images.slice(begin, end),
      count,
      images.floats,
    );
    reaches.forEach((reach, i) => {
      requireRoom(reach, `image ${begin + i}${images === rows ? "" : " of the columns"}`, begin + i, precision);
    });
    const unscaled = [
      ...(kinds.includes("nngp") ? [own.variances] : []),
      ...(kinds.includes("ntk") ? [own.tangents] : []),
    ];
    const sizes = unscaled.map((values): Sizes => ({ exponents, sizes: values.map(Math.sqrt) }));
    const isShifted = exponents.some((exponent) => exponent !== 0);
    const variances = unscaled.map((values) => (isShifted ? restoreVariances(values, exponents, begin) : values));
    const slots: Slot[] = [];
    const upload = (values: Float64Array<ArrayBuffer>, label: string): Slot => {
      const slot = backend.allocate(values.length * this.scalar, label);
      slots.push(slot);
      backend.write(slot, 0, precision === "f64" ? values : Float32Array.from(values));
      return slot;
    };
    try {
      return {
        points: upload(points, `points of ${count} images`),
        table: upload(table, `table of ${count} images`),
        variances,
        sizes,
        isShifted,
        bytes: this.blockBytes(count),
      };
    } catch (error) {
      for (const slot of slots) backend.free(slot);
      throw error;
    }
  }

  private outputSlot(bytes: number): Slot {
    if (this.output !== undefined && this.output.bytes >= bytes) return this.output.slot;
    const { backend } = this.settings;
    if (this.output !== undefined) backend.free(this.output.slot);
    this.output = undefined;
    const slot = backend.allocate(bytes, "tile");
    this.output = { slot, bytes };
    return slot;
  }
}

/** Entries (i, i - offset) are those of an image with itself. */
function setDiagonal(tile: Values, variances: Float64Array, columns: number, offset: number): void {
  variances.forEach((value, i) => {
    const j = i - offset;
    if (j >= 0 && j < columns) tile[i * columns + j] = value;
  });
}
