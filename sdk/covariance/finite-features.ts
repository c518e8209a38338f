/**
 * The kernel of a finite random-feature model, K = 1 + relu(X W / sqrt(d)) relu(X W / sqrt(d))', for one draw of W.
 *
 * W comes in blocks of BLOCK columns, block b from its own stream (seed, "random features", b): drawn on the backend when
 * it is used, never stored, the same whatever the width, the memory or the number of images. A block's products are
 * float32, as a matmul makes them, and are added up in float64 on the host: 2,048 terms lose 5e-7 at most, at random, and
 * the sum over blocks loses nothing, so that the error falls with the width.
 *
 * All blocks have to meet all pairs. What is kept is either features (n x 2,048 floats a block) or sums (8 bytes a pair):
 * here the sums of a *panel* of rows with all columns, as high as half of the memory budget allows. Each panel draws and
 * multiplies the features of its columns anew: 2 d operations a feature and column, where the products of a panel of r
 * rows take 2 r. In one panel of 5,000 rows (200 MB) that is a sixth more work at d = 784, in five of 1,000 nearly as
 * much again.
 */
import { WidefieldError } from "../errors.ts";
import type { Backend, Slot } from "../engine/backend.ts";
import { elementwise, ElementwiseOperation } from "../engine/kernels/elementwise.ts";
import { matmul } from "../engine/kernels/matmul.ts";
import { reduce, ReduceOperation } from "../engine/kernels/reduce.ts";
import { randomNormal } from "../engine/kernels/random-normal.ts";
import { streamAddress } from "../engine/rng.ts";
import { fixedBytes } from "../engine/wasm/layout.ts";
import { sha256 } from "../platform/digest.ts";
import type { FiniteFeatures } from "./closed-kernel.ts";
import { FeatureSums, removeSums, type Checkpoint, type Range } from "./feature-sums.ts";
import type { KernelTiles } from "./kernel-tiles.ts";
import { requireFinite, type ImageBlock } from "./tiles.ts";

/** Columns of W that are drawn and multiplied at a time. */
export const BLOCK = 2048;
/** Images whose features are multiplied at a time. */
const CHUNK = 1024;

export interface FeatureProgress {
  /** The rows whose sums are being made, of all. */
  readonly rows: Range;
  readonly rowsTotal: number;
  readonly blocksDone: number;
  readonly blocksTotal: number;
}

export interface FeatureSettings {
  readonly backend: Backend;
  readonly kernel: FiniteFeatures;
  readonly rows: ImageBlock;
  /** The same object as `rows` for a symmetric matrix: only entries with column <= row are then asked for. */
  readonly columns: ImageBlock;
  /** Budget of the job that the tiles are for; half of it may go to sums. */
  readonly memoryBytes: number;
  readonly checkpoint?: Checkpoint | undefined;
  /** Stops after the block under way, and keeps the sums. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: FeatureProgress) => void) | undefined;
}

/** Images of a chunk and their features, on the backend. */
interface Chunk extends Range {
  readonly images: Slot;
  readonly features: Slot;
}

export class FiniteFeatureTiles implements KernelTiles {
  readonly outputs = 1;
  private readonly settings: FeatureSettings;
  private readonly symmetric: boolean;
  private panel: FeatureSums | undefined;
  /** Rows of the panel before. */
  private previous: Range | undefined;
  private identity: string | undefined;

  constructor(settings: FeatureSettings) {
    this.settings = settings;
    this.symmetric = settings.rows === settings.columns;
  }

  /** Bytes of sums, of features and images on the backend, of a block of W, and of the images that the caller holds. */
  peakBytes(tileRows: number, tileColumns: number, memoryBytes: number): number {
    const { backend, rows, columns } = this.settings;
    const sums = Math.min(rows.count, this.panelRows(tileRows, memoryBytes)) * columns.count * 8;
    const images = rows.count + (this.symmetric ? 0 : columns.count);
    const scratch = backend.info.backend === "wasm" ? fixedBytes(backend.info.threads) : 0;
    const chunk = Math.min(CHUNK, Math.max(rows.count, columns.count));
    const working = 4 * (BLOCK * rows.floats + chunk * BLOCK + 4 * chunk * chunk);
    const tile = 4 * tileRows * tileColumns;
    return scratch + sums + images * 4 * (3 * rows.floats + BLOCK) + working + tile;
  }

  /** K(x, x) of the row images [begin, end). Throws E_OVERFLOW, E_ABORTED. */
  async variances(begin: number, end: number): Promise<Float64Array> {
    const { kernel, rows, backend } = this.settings;
    const values = new Float64Array(end - begin).fill(1);
    const blocksTotal = Math.ceil(kernel.width / BLOCK);
    for (let from = begin; from < end; from += CHUNK) {
      const range = { begin: from, end: Math.min(from + CHUNK, end) };
      const work = new BlockWork(backend, kernel, rows, rows, range, range);
      try {
        for (let block = 0; block < blocksTotal; block++) {
          this.tell(range, block);
          if (this.settings.signal?.aborted === true) throw this.stopped(block, "nothing was kept");
          await work.addSquares(block, values.subarray(from - begin));
        }
        this.tell(range, blocksTotal);
      } finally {
        work.dispose();
      }
    }
    requireFinite(values, 1, begin, undefined);
    return values;
  }

  /** See `KernelTiles`. Throws E_OVERFLOW, and E_ABORTED when the signal stops it. */
  async compute(
    rowBegin: number,
    rowEnd: number,
    columnBegin: number,
    columnEnd: number,
    diagonal: boolean,
  ): Promise<Float32Array<ArrayBuffer>> {
    const columns = columnEnd - columnBegin;
    const panel = await this.panelOf(rowBegin, rowEnd);
    const tile = new Float32Array((rowEnd - rowBegin) * columns);
    for (let row = rowBegin; row < rowEnd; row++) {
      for (let column = columnBegin; column < columnEnd; column++) {
        const mirrored = diagonal && column > row;
        const sum = mirrored ? panel.at(column, row) : panel.at(row, column);
        tile[(row - rowBegin) * columns + column - columnBegin] = 1 + sum;
      }
    }
    requireFinite(tile, columns, rowBegin, columnBegin);
    return tile;
  }

  computeTile(
    rowBegin: number,
    rowEnd: number,
    columnBegin: number,
    columnEnd: number,
    diagonal: boolean,
  ): Promise<Float32Array> {
    return this.compute(rowBegin, rowEnd, columnBegin, columnEnd, diagonal);
  }

  /** Removes what was kept to go on from. To be called when the tiles themselves are safe. */
  async finished(): Promise<void> {
    if (this.settings.checkpoint !== undefined) await removeSums(this.settings.checkpoint);
  }

  /** Nothing is held on the backend between blocks. */
  dispose(): void {
    this.panel = undefined;
  }

  /** Rows of a panel: whole chunks, at least those that a tile touches. */
  private panelRows(tileRows: number, memoryBytes: number): number {
    const affordable = Math.floor(memoryBytes / 2 / (8 * this.settings.columns.count * CHUNK)) * CHUNK;
    return Math.max(affordable, (Math.ceil((tileRows - 1) / CHUNK) + 1) * CHUNK);
  }

  /** The sums of a panel that holds these rows, made now or before. */
  private async panelOf(rowBegin: number, rowEnd: number): Promise<FeatureSums> {
    const { rows, columns, memoryBytes, checkpoint } = this.settings;
    const known = this.panel;
    if (known !== undefined && known.rows.begin <= rowBegin && rowEnd <= known.rows.end) return known;
    this.panel = undefined; // its memory is the next one's
    const begin = Math.floor(rowBegin / CHUNK) * CHUNK;
    const end = Math.min(rows.count, begin + this.panelRows(rowEnd - rowBegin, memoryBytes));
    const panel = new FeatureSums({ begin, end }, { begin: 0, end: this.symmetric ? end : columns.count });
    this.identity ??= await this.identify();
    if (checkpoint !== undefined) await panel.load(checkpoint, this.identity);
    await this.accumulate(panel, columns, { checkpoint, identity: this.identity });
    // Tiles of the panel before may still be on their way to disk: the one before that has long been written.
    if (checkpoint !== undefined && this.previous !== undefined) await removeSums(checkpoint, this.previous);
    this.previous = known?.rows;
    this.panel = panel;
    return panel;
  }

  /** What sums are of: the draw, the images, and the arithmetic. */
  private async identify(): Promise<string> {
    const { kernel, rows, columns, backend } = this.settings;
    const digest = (block: ImageBlock): Promise<string> => {
      const values = Float32Array.from(block.slice(0, block.count));
      return sha256(new Uint8Array(values.buffer));
    };
    const images = [await digest(rows), this.symmetric ? "" : await digest(columns)];
    const { backend: name, adapter } = backend.info;
    return JSON.stringify({ kernel, floats: rows.floats, images, block: BLOCK, backend: name, adapter });
  }

  /** Adds all blocks that are missing in the sums. */
  private async accumulate(
    sums: FeatureSums,
    columns: ImageBlock,
    keep: { readonly checkpoint?: Checkpoint | undefined; readonly identity: string } = { identity: "" },
  ): Promise<void> {
    const { kernel, rows, signal, backend } = this.settings;
    const { checkpoint, identity } = keep;
    const blocksTotal = Math.ceil(kernel.width / BLOCK);
    if (sums.blocks === blocksTotal) return;
    const work = new BlockWork(backend, kernel, rows, columns, sums.rows, sums.columns);
    let saved = performance.now();
    try {
      this.tell(sums.rows, sums.blocks);
      while (sums.blocks < blocksTotal) {
        if (signal?.aborted === true) {
          if (checkpoint !== undefined) await sums.save(checkpoint, identity);
          throw this.stopped(sums.blocks, checkpoint === undefined ? "nothing was kept" : "the same command goes on");
        }
        await work.add(sums.blocks, sums);
        sums.blocks++;
        this.tell(sums.rows, sums.blocks);
        const due = performance.now() - saved > 1000 * (checkpoint?.seconds ?? 60);
        if (checkpoint !== undefined && (due || sums.blocks === blocksTotal)) {
          await sums.save(checkpoint, identity);
          saved = performance.now();
        }
      }
    } finally {
      work.dispose();
    }
  }

  private tell(rows: Range, blocksDone: number): void {
    const { kernel, onProgress, rows: all } = this.settings;
    onProgress?.({ rows, rowsTotal: all.count, blocksDone, blocksTotal: Math.ceil(kernel.width / BLOCK) });
  }

  private stopped(blocksDone: number, kept: string): WidefieldError {
    const blocksTotal = Math.ceil(this.settings.kernel.width / BLOCK);
    return new WidefieldError("E_ABORTED", `stopped after ${blocksDone} of ${blocksTotal} blocks; ${kept}`);
  }
}

/** The backend's side of a panel: images of all chunks, their features of one block, and a pair of chunks' products. */
class BlockWork {
  private readonly backend: Backend;
  private readonly kernel: FiniteFeatures;
  private readonly floats: number;
  private readonly slots: Slot[] = [];
  private readonly weights: Slot;
  private readonly raw: Slot;
  /** Two, made for the first block: one is read while the other is computed. */
  private products: readonly [Slot, Slot] | undefined;
  /** Bytes of a pair of chunks. */
  private readonly tile: number;
  private readonly down: readonly Chunk[];
  private readonly across: readonly Chunk[];
  private readonly symmetric: boolean;

  /** For the pairs of images in two ranges. */
  constructor(
    backend: Backend,
    kernel: FiniteFeatures,
    rows: ImageBlock,
    columns: ImageBlock,
    down: Range,
    across: Range,
  ) {
    this.backend = backend;
    this.kernel = kernel;
    this.floats = rows.floats;
    this.symmetric = rows === columns;
    try {
      this.across = this.chunks(columns, across);
      // Panels begin and end where chunks do: a symmetric panel's rows are among its columns.
      const { begin, end } = down;
      this.down = this.symmetric
        ? this.across.filter((chunk) => chunk.begin >= begin && chunk.end <= end)
        : this.chunks(rows, down);
      const longest = (chunks: readonly Chunk[]): number => Math.max(...chunks.map((one) => one.end - one.begin));
      const [height, width] = [longest(this.down), longest(this.across)];
      this.weights = this.allocate(4 * BLOCK * this.floats, "a block of random weights");
      this.raw = this.allocate(4 * BLOCK * Math.max(height, width), "a chunk's preactivations");
      this.tile = 4 * height * width;
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** Adds the products of block `index` to the sums. */
  async add(index: number, sums: FeatureSums): Promise<void> {
    const { backend } = this;
    this.products ??= [this.allocate(this.tile, "a pair of chunks"), this.allocate(this.tile, "a pair of chunks")];
    const { products } = this;
    const width = this.draw(index);
    for (const chunk of new Set([...this.down, ...this.across])) this.features(chunk, width);
    let turn = 0;
    let last: { readonly read: Promise<ArrayBuffer>; readonly row: Chunk; readonly column: Chunk } | undefined;
    const settle = async (): Promise<void> => {
      if (last === undefined) return;
      const { read, row, column } = last;
      sums.add(new Float32Array(await read), row.begin, column.begin, column.end - column.begin);
    };
    for (const row of this.down) {
      for (const column of this.across) {
        if (this.symmetric && column.begin > row.begin) continue;
        const slot = products[turn] ?? products[0];
        turn = 1 - turn;
        const [m, n] = [row.end - row.begin, column.end - column.begin];
        const product = { m, n, k: width, transposeA: 0, transposeB: 1, alpha: 1, beta: 0 };
        backend.dispatch(matmul, product, [row.features, column.features, slot]);
        const read = backend.read(slot, 0, 4 * m * n);
        read.catch(() => undefined); // seen when its turn comes
        await settle();
        last = { read, row, column };
      }
    }
    await settle();
  }

  /** Adds |features|^2 of the rows' images, block `index` of them, one chunk after the other. */
  async addSquares(index: number, values: Float64Array): Promise<void> {
    const { backend, raw } = this;
    const width = this.draw(index);
    let at = 0;
    for (const chunk of this.down) {
      this.features(chunk, width);
      const rows = chunk.end - chunk.begin;
      const square = { count: rows * width, operation: ElementwiseOperation.multiply, alpha: 1, beta: 0 };
      backend.dispatch(elementwise, square, [chunk.features, chunk.features, raw]);
      backend.dispatch(reduce, { rows, columns: width, operation: ReduceOperation.sum }, [raw, chunk.features]);
      const sums = new Float32Array(await backend.read(chunk.features, 0, 4 * rows));
      for (const sum of sums) {
        values[at] = (values[at] ?? NaN) + sum;
        at++;
      }
    }
  }

  dispose(): void {
    for (const slot of this.slots) this.backend.free(slot);
    this.slots.length = 0;
  }

  /** Draws the weights of block `index`; their number of columns. */
  private draw(index: number): number {
    const { backend, kernel, floats } = this;
    const width = Math.min(BLOCK, kernel.width - index * BLOCK);
    const stream = streamAddress(kernel.seed, "random features", index);
    backend.dispatch(randomNormal, { count: width * floats, ...stream, scale: 1 / Math.sqrt(floats) }, [this.weights]);
    return width;
  }

  private features(chunk: Chunk, width: number): void {
    const count = chunk.end - chunk.begin;
    const product = { m: count, n: width, k: this.floats, transposeA: 0, transposeB: 1, alpha: 1, beta: 0 };
    this.backend.dispatch(matmul, product, [chunk.images, this.weights, this.raw]);
    const relu = { count: count * width, operation: ElementwiseOperation.relu, alpha: 1, beta: 0 };
    this.backend.dispatch(elementwise, relu, [this.raw, this.raw, chunk.features]);
  }

  private chunks(images: ImageBlock, range: Range): Chunk[] {
    const chunks: Chunk[] = [];
    for (let begin = range.begin; begin < range.end; begin += CHUNK) {
      const end = Math.min(begin + CHUNK, range.end);
      const pixels = Float32Array.from(images.slice(begin, end));
      const slot = this.allocate(pixels.byteLength, `${end - begin} images`);
      this.backend.write(slot, 0, pixels);
      chunks.push({ begin, end, images: slot, features: this.allocate(4 * BLOCK * (end - begin), "features") });
    }
    return chunks;
  }

  private allocate(bytes: number, label: string): Slot {
    const slot = this.backend.allocate(bytes, label);
    this.slots.push(slot);
    return slot;
  }
}
