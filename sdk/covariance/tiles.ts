/**
 * Computes tiles of a kernel matrix by running a covariance program on a backend.
 *
 * Images come in blocks (the rows or columns of a tile). A block's table is computed when a tile first needs it and
 * kept while the budget allows, least recently used first out; the values do not depend on when that happens.
 */
import { WidefieldError } from "../errors.ts";
import type { Backend, Slot } from "../engine/backend.ts";
import type { Workspace } from "../engine/kernels/covariance.ts";
import { fixedBytes } from "../engine/wasm/layout.ts";
import { BlockCache, blockBudget } from "./block-cache.ts";
import type { KernelTiles } from "./kernel-tiles.ts";
import type { Program } from "./program.ts";
import { type Kinds, type Precision, programKernels, type ProgramKernels } from "./program-kernels.ts";

export type { Kinds, Precision } from "./program-kernels.ts";

/** `count` images of `floats` numbers each, one after the other. */
export interface ImageBlock {
  readonly count: number;
  readonly floats: number;
  /** The images [begin, end), as one contiguous array; float64 images make float64 kernels of the pixels as they are. */
  slice(begin: number, end: number): Float32Array | Float64Array;
}

interface Block {
  readonly table: Slot;
  readonly variances: Slot;
  readonly bytes: number;
}

export interface TileSettings {
  readonly backend: Backend;
  readonly program: Program;
  readonly rows: ImageBlock;
  /** The same object as `rows` for a symmetric matrix. */
  readonly columns: ImageBlock;
  readonly precision: Precision;
  /** Which kernels come out, NNGP before NTK; default NNGP alone. Of a program without an NTK only that. */
  readonly kinds?: Kinds | undefined;
  /** Budget of the job that the tiles are for; tables are kept in a part of it. */
  readonly memoryBytes: number;
}

export class ProgramTiles implements KernelTiles {
  private readonly settings: TileSettings;
  private readonly kernels: ProgramKernels;
  private readonly words: Slot;
  private readonly workspace: Slot;
  private readonly blocks: BlockCache<Block>;
  private output: { readonly slot: Slot; readonly floats: number } | undefined;
  private disposed = false;

  constructor(settings: TileSettings) {
    this.settings = settings;
    const { program, backend, rows, columns, memoryBytes } = settings;
    for (const side of [rows, columns]) {
      if (side.floats !== program.imageFloats)
        throw new WidefieldError(
          "E_SHAPE",
          `images of ${side.floats} numbers, but the program takes ${program.imageFloats}`,
        );
    }
    this.kernels = programKernels({ ...settings, kinds: settings.kinds ?? ["nngp"] });
    const { words, workspace, tableBytes, outputs } = this.kernels;
    this.blocks = new BlockCache<Block>({
      rows,
      columns,
      memoryBytes,
      bytes: (images) => tableBytes(images) + images * outputs * this.scalar,
      make: (images, begin, end) => this.makeBlock(images, begin, end),
      free: ({ table, variances }) => {
        backend.free(table);
        backend.free(variances);
      },
    });
    const slots: Slot[] = [];
    try {
      slots.push((this.words = backend.allocate(words.byteLength, "covariance program")));
      slots.push((this.workspace = allocateMaps(backend, workspace)));
      backend.write(this.words, 0, words);
    } catch (error) {
      for (const slot of slots) backend.free(slot);
      throw error;
    }
  }

  get outputs(): number {
    return this.kernels.outputs;
  }

  /**
   * Bytes of a tile with the tables, variances and images that it needs, and of the tables kept from other tiles. Tables
   * that make room are only freed once the commands before them have run, and writes and reads that have to wait are
   * staged: both are counted, and so are the images that the caller holds.
   */
  peakBytes(tileRows: number, tileColumns: number, memoryBytes: number): number {
    const { backend, rows, columns, program } = this.settings;
    const images = tileRows + tileColumns;
    const { tableBytes, workspace, outputs } = this.kernels;
    const block = tableBytes(tileRows) + tableBytes(tileColumns) + images * outputs * this.scalar;
    const uploads = 4 * Math.max(tileRows, tileColumns) * program.imageFloats * this.scalar;
    const held = (rows.count + (rows === columns ? 0 : columns.count)) * program.imageFloats * this.scalar;
    const scratch = (backend.info.backend === "wasm" ? fixedBytes(backend.info.threads) : 0) + workspace.bytes;
    const tables = Math.max(block, blockBudget(memoryBytes)) + block;
    return scratch + tables + uploads + held + 2 * outputs * tileRows * tileColumns * this.scalar;
  }

  /**
   * Whether a pair's maps are too large for workgroup memory, or for a wasm thread's scratch: they go through the
   * backend's memory layer by layer, which is slower.
   */
  get spills(): boolean {
    return this.kernels.spills;
  }

  /** K(x, x) of the row images [begin, end), scaled like the program's output. Throws E_OVERFLOW. */
  async variances(begin: number, end: number): Promise<Float64Array> {
    const block = this.blocks.get("rows", begin, end);
    const images = end - begin;
    const variances = await this.readFloats(block.variances, this.outputs * images);
    for (let output = 0; output < this.outputs; output++)
      requireFinite(variances.subarray(output * images, (output + 1) * images), 1, begin, undefined);
    return variances;
  }

  /** See `KernelTiles.compute`. */
  async compute(
    rowBegin: number,
    rowEnd: number,
    columnBegin: number,
    columnEnd: number,
    diagonal: boolean,
  ): Promise<Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>> {
    const { backend, precision } = this.settings;
    const rows = rowEnd - rowBegin;
    const columns = columnEnd - columnBegin;
    const rowBlock = this.blocks.get("rows", rowBegin, rowEnd);
    const columnBlock = this.blocks.get("columns", columnBegin, columnEnd, rowBlock);
    const slot = this.outputSlot(this.outputs * rows * columns);
    const offset = diagonal ? rowBegin - columnBegin : undefined;
    const buffers = [this.words, rowBlock.table, columnBlock.table, rowBlock.variances, slot, this.workspace];
    this.kernels.covariances({ rows, columns, diagonal: offset }, buffers);
    const bytes = await backend.read(slot, 0, this.outputs * rows * columns * this.scalar);
    const tiles = precision === "f64" ? new Float64Array(bytes) : new Float32Array(bytes);
    for (let output = 0; output < this.outputs; output++) {
      const tile = tiles.subarray(output * rows * columns, (output + 1) * rows * columns);
      if (offset !== undefined) mirror(tile, rows, columns, offset);
      requireFinite(tile, columns, rowBegin, columnBegin);
    }
    return tiles;
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
    backend.free(this.workspace);
    if (this.output !== undefined) backend.free(this.output.slot);
  }

  /** Bytes of a number. */
  private get scalar(): number {
    return this.settings.precision === "f64" ? 8 : 4;
  }

  private makeBlock(images: ImageBlock, begin: number, end: number): Block {
    const { backend, precision } = this.settings;
    const count = end - begin;
    const table = this.kernels.tableBytes(count);
    const variances = count * this.outputs * this.scalar;
    const pixels = images.slice(begin, end);
    const source = precision === "f64" ? Float64Array.from(pixels) : Float32Array.from(pixels);
    const slots: Slot[] = [];
    const allocate = (bytes: number, label: string): Slot => {
      const slot = backend.allocate(bytes, label);
      slots.push(slot);
      return slot;
    };
    try {
      const upload = allocate(source.byteLength, `${count} images`);
      const block: Block = {
        table: allocate(table, `table of ${count} images`),
        variances: allocate(variances, `variances of ${count} images`),
        bytes: table + variances,
      };
      backend.write(upload, 0, source);
      this.kernels.variances(count, [this.words, upload, block.table, block.variances, this.workspace]);
      backend.free(upload);
      return block;
    } catch (error) {
      for (const slot of slots) backend.free(slot);
      throw error;
    }
  }

  private outputSlot(floats: number): Slot {
    if (this.output !== undefined && this.output.floats >= floats) return this.output.slot;
    const { backend } = this.settings;
    if (this.output !== undefined) backend.free(this.output.slot);
    this.output = undefined;
    const slot = backend.allocate(floats * this.scalar, "tile");
    this.output = { slot, floats };
    return slot;
  }

  private async readFloats(slot: Slot, count: number): Promise<Float64Array> {
    const { backend, precision } = this.settings;
    const bytes = await backend.read(slot, 0, count * this.scalar);
    return precision === "f64" ? new Float64Array(bytes) : Float64Array.from(new Float32Array(bytes));
  }
}

/** Copies the entries below the diagonal j - i = `diagonal` to above it. */
function mirror(tile: Float32Array | Float64Array, rows: number, columns: number, diagonal: number): void {
  for (let i = 0; i < rows; i++) {
    for (let j = Math.max(0, i + diagonal + 1); j < columns; j++) {
      tile[i * columns + j] = tile[(j - diagonal) * columns + (i + diagonal)] ?? Number.NaN;
    }
  }
}

/** Throws E_OVERFLOW, naming the first pair whose value is not finite; without `columnBegin`, of a diagonal. */
export function requireFinite(
  tile: Float32Array | Float64Array,
  columns: number,
  rowBegin: number,
  columnBegin: number | undefined,
): void {
  const bad = tile.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return;
  const row = rowBegin + Math.floor(bad / columns);
  const column = columnBegin === undefined ? row : columnBegin + (bad % columns);
  const pair = columnBegin === undefined ? `image ${row} with itself` : `images ${row} and ${column}`;
  throw new WidefieldError(
    "E_OVERFLOW",
    `the kernel of ${pair} is ${tile[bad]}: scale the pixels or the variances down`,
    { details: { row, column } },
  );
}

function allocateMaps(backend: Backend, { bytes, slices }: Workspace): Slot {
  try {
    return backend.allocate(Math.max(16, bytes), "maps");
  } catch (cause) {
    if (!(cause instanceof WidefieldError) || cause.code !== "E_MEMORY") throw cause;
    throw new WidefieldError(
      "E_MEMORY",
      `the maps of ${slices} pairs at a time need ${bytes} bytes, more than there is: ` +
        `use smaller images, a program with fewer steps, or fewer threads`,
      { cause, details: { neededBytes: bytes } },
    );
  }
}
