/**
 * Products with a matrix in float32 tiles. Tiles are widened exactly, all arithmetic is float64 (the kernels are in
 * `assembly/linalg/tileProduct.ts`). As many tiles as a budget allows stay in the engine's memory; the others are read
 * again for each product, the next one while the last is multiplied.
 */
import type { Backend, Slot } from "../engine/backend.ts";
import { tileFold, tileProduct } from "../engine/kernels/index.ts";
import { partDoubles, ProductDirection, productParts } from "../engine/kernels/krylov.ts";
import { WidefieldError } from "../errors.ts";
import { throwIfAborted } from "./krylov.ts";
import { requireFiniteRow } from "./operator.ts";
import type { Range } from "./range.ts";
import type { Values } from "./source.ts";

export interface TileOperatorOptions {
  /** Bytes of tiles that stay in the engine's memory; default half of what the engine may take. */
  readonly memoryBytes?: number | undefined;
}

export interface Tile {
  readonly rows: Range;
  readonly columns: Range;
  /** Row-major, without padding. */
  load(): Promise<Values>;
  /** On the diagonal of a symmetric matrix: its lower triangle is mirrored. */
  readonly diagonal: boolean;
}

function cells({ rows, columns }: Tile): number {
  return (rows.end - rows.begin) * (columns.end - columns.begin);
}

/** The kernels would read past the end of a shorter block. */
function requireBlock(n: number, x: Float64Array, vectors: number): void {
  if (Number.isSafeInteger(vectors) && vectors >= 1 && x.length === n * vectors) return;
  throw new WidefieldError(
    "E_SHAPE",
    `a block of ${vectors} vectors of a matrix of ${n} rows holds ${n * vectors} numbers, and ${x.length} were given`,
    { details: { n, vectors, length: x.length } },
  );
}

interface Buffer {
  readonly slot: Slot;
  readonly bytes: number;
}

/** The engine's memory and commands behind an operator of tiles. One product at a time. */
export class TileProducts {
  readonly totalBytes: number;
  residentBytes = 0;
  private readonly backend: Backend;
  private readonly tiles: readonly Tile[];
  private readonly memoryBytes: number;
  private readonly resident = new Map<Tile, Slot>();
  private readonly checked = new Set<Tile>();
  private readonly buffers = new Map<string, Buffer>();
  /** Whether memory has been too small for all tiles, or is bound to be. */
  private streams: boolean;
  private last: Promise<unknown> = Promise.resolve();
  private disposed = false;

  constructor(backend: Backend, tiles: readonly Tile[], { memoryBytes }: TileOperatorOptions) {
    if (memoryBytes !== undefined && !(memoryBytes >= 0))
      throw new WidefieldError(
        "E_CONFIG",
        `memoryBytes must be a number of bytes that is not negative, not ${memoryBytes}`,
      );
    this.backend = backend;
    this.tiles = tiles;
    this.memoryBytes = memoryBytes ?? backend.info.maxBufferBytes / 2;
    this.totalBytes = tiles.reduce((bytes, tile) => bytes + 4 * cells(tile), 0);
    this.streams = this.totalBytes > Math.min(this.memoryBytes, backend.info.maxBufferBytes / 2);
  }

  /** Runs one product after the other: they share buffers. */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    const result = this.last.then(() => {
      if (this.disposed) throw new WidefieldError("E_CLOSED", "this operator has been disposed");
      return work();
    });
    this.last = result.catch(() => undefined);
    return result;
  }

  async dispose(): Promise<void> {
    this.disposed = true;
    await this.last;
    for (const slot of this.resident.values()) this.backend.free(slot);
    for (const { slot } of this.buffers.values()) this.backend.free(slot);
    this.resident.clear();
    this.buffers.clear();
    this.residentBytes = 0;
  }

  /** A X from the tiles on and below the diagonal of A. */
  async symmetric(n: number, x: Float64Array, vectors: number, signal: AbortSignal | undefined): Promise<Float64Array> {
    requireBlock(n, x, vectors);
    const [from, to] = [this.filled("x", x), this.filled("y", new Float64Array(n * vectors))];
    this.reserve(vectors);
    await this.each(signal, (tile, slot) => {
      const { forward, transposed } = ProductDirection;
      const directions = tile.diagonal ? forward : forward + transposed;
      this.multiply(
        tile,
        slot,
        { vectors, left: n, right: n, directions },
        { right: from, out: to, left: from, fold: to },
      );
    });
    return new Float64Array(await this.backend.read(to, 0, 8 * n * vectors));
  }

  /** Phi (Phi' X) from row blocks of Phi. */
  async gram(
    n: number,
    features: number,
    x: Float64Array,
    vectors: number,
    signal: AbortSignal | undefined,
  ): Promise<Float64Array> {
    requireBlock(n, x, vectors);
    const from = this.filled("x", x);
    const to = this.filled("y", new Float64Array(n * vectors));
    const middle = this.filled("z", new Float64Array(features * vectors));
    this.reserve(vectors);
    const { forward, transposed } = ProductDirection;
    const slots = { right: middle, out: to, left: from, fold: middle };
    for (const directions of [transposed, forward]) {
      await this.each(signal, (tile, slot) => {
        this.multiply(tile, slot, { vectors, left: n, right: features, directions }, slots);
      });
    }
    return new Float64Array(await this.backend.read(to, 0, 8 * n * vectors));
  }

  /** The buffers of a product, before tiles take the memory that they need. */
  private reserve(vectors: number): void {
    const largest = (sizeOf: (tile: Tile) => number) =>
      this.tiles.reduce((most, tile) => Math.max(most, sizeOf(tile)), 0);
    const partBytes = largest(
      ({ rows, columns }) => 8 * partDoubles(rows.end - rows.begin, columns.end - columns.begin, vectors),
    );
    this.buffer("parts", partBytes);
    if (this.streams)
      this.buffer(
        "streamed tile",
        largest((tile) => 4 * cells(tile)),
      );
  }

  private multiply(
    tile: Tile,
    slot: Slot,
    shape: { readonly vectors: number; readonly left: number; readonly right: number; readonly directions: number },
    slots: { readonly right: Slot; readonly out: Slot; readonly left: Slot; readonly fold: Slot },
  ): void {
    const { vectors, directions } = shape;
    const rows = tile.rows.end - tile.rows.begin;
    const columns = tile.columns.end - tile.columns.begin;
    const column = tile.columns.begin;
    const transposed = (directions & ProductDirection.transposed) !== 0;
    const parts = this.buffer("parts", transposed ? 8 * partDoubles(rows, columns, vectors) : 8);
    this.backend.dispatch(
      tileProduct,
      {
        rows,
        columns,
        row: tile.rows.begin,
        column,
        vectors,
        leftLength: shape.left,
        rightLength: shape.right,
        directions,
      },
      [slot, slots.right, slots.out, slots.left, parts],
    );
    if (!transposed) return;
    const fold = { parts: productParts(rows), columns, column, vectors, rightLength: shape.right };
    this.backend.dispatch(tileFold, fold, [parts, slots.fold]);
  }

  /** Appends work for every tile, in order. The next tile that is not in memory is read while the last is multiplied. */
  private async each(signal: AbortSignal | undefined, work: (tile: Tile, slot: Slot) => void): Promise<void> {
    const ahead = (from: number): { readonly tile: Tile; readonly values: Promise<Values> } | undefined => {
      const tile = this.tiles.slice(from).find((one) => !this.resident.has(one));
      if (tile === undefined) return undefined;
      const values = tile.load();
      values.catch(() => undefined); // seen when its turn comes, if it comes
      return { tile, values };
    };
    let next = ahead(0);
    for (const [index, tile] of this.tiles.entries()) {
      throwIfAborted(signal, 0);
      let slot = this.resident.get(tile);
      if (slot === undefined) {
        const values = this.check(tile, await (next?.tile === tile ? next.values : tile.load()));
        next = ahead(index + 1);
        // Once nothing is under way, memory is free as soon as it is freed, and bytes are copied straight to their place.
        await this.backend.finish();
        slot = this.place(tile, values.byteLength);
        this.backend.write(slot, 0, values);
      }
      work(tile, slot);
    }
  }

  /** Memory for a tile: its own while the budget lasts, else the one that all others share. */
  private place(tile: Tile, bytes: number): Slot {
    if (this.residentBytes + bytes <= this.memoryBytes) {
      const slot = this.allocated(bytes);
      if (slot !== undefined) {
        this.resident.set(tile, slot);
        this.residentBytes += bytes;
        return slot;
      }
    }
    return this.buffer("streamed tile", bytes);
  }

  /** Undefined where the engine's memory is full: the tile is then streamed. */
  private allocated(bytes: number): Slot | undefined {
    try {
      return this.backend.allocate(bytes, "a tile of the matrix");
    } catch (thrown) {
      if (thrown instanceof WidefieldError && thrown.code === "E_MEMORY") return undefined;
      throw thrown;
    }
  }

  /** A tile's values, checked when they come for the first time; a diagonal tile's upper half is made from its lower. */
  private check(tile: Tile, values: Values): Float32Array {
    const { rows, columns, diagonal } = tile;
    const width = columns.end - columns.begin;
    if (values.length !== cells(tile)) {
      throw new WidefieldError(
        "E_SHAPE",
        `rows ${rows.begin}:${rows.end} and columns ${columns.begin}:${columns.end} must have ${cells(tile)} entries, ` +
          `and ${values.length} came`,
      );
    }
    if (values instanceof Float64Array) {
      throw new WidefieldError(
        "E_CONFIG",
        "tiles are float32, and this matrix is float64: round it, or use denseOperator",
      );
    }
    if (!this.checked.has(tile)) {
      for (let i = 0; i < rows.end - rows.begin; i++) {
        const end = diagonal ? i + 1 : width;
        requireFiniteRow(values.subarray(i * width, i * width + end), rows.begin + i, columns.begin);
      }
      this.checked.add(tile);
    }
    if (!diagonal) return values;
    const mirrored = values.slice();
    for (let i = 0; i < width; i++)
      for (let j = 0; j < i; j++) mirrored[j * width + i] = mirrored[i * width + j] as number;
    return mirrored;
  }

  private filled(name: string, values: Float64Array): Slot {
    const slot = this.buffer(name, values.byteLength);
    this.backend.write(slot, 0, values);
    return slot;
  }

  private buffer(name: string, bytes: number): Slot {
    const known = this.buffers.get(name);
    if (known !== undefined && known.bytes >= bytes) return known.slot;
    if (known !== undefined) {
      this.buffers.delete(name);
      this.backend.free(known.slot);
    }
    for (;;) {
      try {
        const slot = this.backend.allocate(bytes, name);
        this.buffers.set(name, { slot, bytes });
        return slot;
      } catch (thrown) {
        if (!(thrown instanceof WidefieldError && thrown.code === "E_MEMORY" && this.evict())) throw thrown;
      }
    }
  }

  /** Gives up the tile that came last; false where none is left. Only while nothing is under way. */
  private evict(): boolean {
    const [tile, slot] = [...this.resident].at(-1) ?? [];
    if (tile === undefined || slot === undefined) return false;
    this.streams = true;
    this.resident.delete(tile);
    this.residentBytes -= 4 * cells(tile);
    this.backend.free(slot);
    return true;
  }
}
