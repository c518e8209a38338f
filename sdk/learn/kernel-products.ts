/**
 * A rectangular kernel matrix times many float64 vectors, for predictions: float32 kernels on all threads (the tile
 * kernel of conjugate gradients, exact in float64), float64 ones in plain loops. Rows are read a block at a time.
 */
import type { KernelMatrix } from "../covariance/matrix.ts";
import type { Engine } from "../engine/engine.ts";
import { tileProduct } from "../engine/kernels/index.ts";
import { ProductDirection } from "../engine/kernels/krylov.ts";
import type { Backend, Slot } from "../engine/backend.ts";
import { WidefieldError } from "../errors.ts";
import { Breath } from "../linalg/breath.ts";
import { dot } from "../linalg/vectors.ts";

export interface ProductOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((rowsDone: number, rowsTotal: number) => void) | undefined;
}

/** Rows of the kernel that are in memory at a time. */
export const PRODUCT_ROWS = 256;
/** Doubles of vectors in the engine's memory: 128 MiB. Of more vectors every block takes one part after the other. */
const VECTOR_DOUBLES = 2 ** 24;

/**
 * K X, without the kernel's power of two. Vectors stand one after the other: entry i of vector v at v * columns + i, and
 * of its product at v * rows + i. Throws E_DATA for an entry that is not finite (named), E_ABORTED, E_MEMORY, and what
 * reading the kernel throws.
 */
export async function kernelTimes(
  engine: Engine,
  kernel: KernelMatrix,
  x: Float64Array,
  options: ProductOptions = {},
): Promise<Float64Array> {
  const { signal, onProgress } = options;
  const { rows, columns } = kernel;
  const vectors = x.length / columns;
  const product = new Float64Array(rows * vectors);
  const most = Math.max(1, Math.min(vectors, Math.floor(VECTOR_DOUBLES / columns)));
  let multiplier: RowMultiplier | undefined;
  try {
    for (let begin = 0; begin < rows; begin += PRODUCT_ROWS) {
      if (signal?.aborted === true)
        throw new WidefieldError("E_ABORTED", `stopped after ${begin} of ${rows} predictions`, {
          cause: signal.reason,
        });
      const end = Math.min(begin + PRODUCT_ROWS, rows);
      // Once for all vectors: it may be computed, or verified, whenever it is read.
      const block = await kernel.read({ begin, end }, { begin: 0, end: columns });
      const height = end - begin;
      requireFinite(block, begin, columns);
      for (let first = 0; first < vectors; first += most) {
        const count = Math.min(most, vectors - first);
        const some = x.subarray(first * columns, (first + count) * columns);
        let part: Float64Array;
        if (block instanceof Float64Array) part = await plainProduct(block, height, columns, some);
        else {
          multiplier ??= new RowMultiplier(await engine.cpu(), Math.min(PRODUCT_ROWS, rows), columns, most);
          part = await multiplier.times(block, height, some);
        }
        for (let v = 0; v < count; v++)
          product.set(part.subarray(v * height, (v + 1) * height), (first + v) * rows + begin);
      }
      onProgress?.(end, rows);
    }
  } finally {
    multiplier?.dispose();
  }
  return product;
}

/** Beside the kernel and the vectors, at its peak. */
export function productBytes(rows: number, columns: number, vectors: number): number {
  const height = Math.min(PRODUCT_ROWS, rows);
  const most = Math.max(1, Math.min(vectors, Math.floor(VECTOR_DOUBLES / columns)));
  // A block on both sides; the vectors that are under way, there and on their way, and their products; all products.
  return 12 * height * columns + 16 * most * (columns + height) + 8 * rows * vectors;
}

/** Throws E_DATA. */
function requireFinite(block: Float32Array | Float64Array, firstRow: number, columns: number): void {
  // The sum of products with 0 is one pass without branches.
  let sum = 0;
  for (const value of block) sum += value * 0;
  if (sum === 0) return;
  const at = block.findIndex((value) => !Number.isFinite(value));
  const [row, column] = [firstRow + Math.floor(at / columns), at % columns];
  throw new WidefieldError("E_DATA", `entry (${row}, ${column}) of the kernel is ${block[at] ?? NaN}`, {
    details: { row, column },
  });
}

async function plainProduct(
  block: Float64Array,
  height: number,
  columns: number,
  x: Float64Array,
): Promise<Float64Array> {
  const vectors = x.length / columns;
  const product = new Float64Array(height * vectors);
  const breath = new Breath();
  for (let i = 0; i < height; i++) {
    const row = block.subarray(i * columns, (i + 1) * columns);
    for (let v = 0; v < vectors; v++) product[v * height + i] = dot(row, x.subarray(v * columns, (v + 1) * columns));
    await breath.take();
  }
  return product;
}

/** The engine's memory for products of float32 blocks with up to so many vectors, which stay there from block to block. */
class RowMultiplier {
  private readonly backend: Backend;
  private readonly columns: number;
  private there: Float64Array | undefined;
  private readonly slots: Slot[] = [];
  private readonly tile: Slot;
  private readonly right: Slot;
  private readonly out: Slot;
  private readonly none: Slot;

  constructor(backend: Backend, rows: number, columns: number, vectors: number) {
    this.backend = backend;
    this.columns = columns;
    const allocate = (bytes: number, label: string): Slot => {
      const slot = backend.allocate(bytes, label);
      this.slots.push(slot);
      return slot;
    };
    try {
      this.tile = allocate(rows * columns * 4, "rows of a kernel");
      this.right = allocate(columns * vectors * 8, "vectors");
      this.out = allocate(rows * vectors * 8, "products");
      this.none = allocate(8, "nothing");
    } catch (thrown) {
      this.dispose();
      throw thrown;
    }
  }

  async times(block: Float32Array<ArrayBuffer>, height: number, x: Float64Array): Promise<Float64Array> {
    const { backend, columns, there } = this;
    const vectors = x.length / columns;
    if (there?.byteOffset !== x.byteOffset || there.buffer !== x.buffer || there.length !== x.length) {
      // A copy: the array shares its buffer with others.
      backend.write(this.right, 0, new Float64Array(x));
      this.there = x;
    }
    backend.write(this.tile, 0, block);
    backend.write(this.out, 0, new Float64Array(height * vectors));
    const size = { rows: height, columns, row: 0, column: 0, vectors, leftLength: height, rightLength: columns };
    const buffers = [this.tile, this.right, this.out, this.none, this.none];
    backend.dispatch(tileProduct, { ...size, directions: ProductDirection.forward }, buffers);
    return new Float64Array(await backend.read(this.out, 0, height * vectors * 8));
  }

  dispose(): void {
    for (const slot of this.slots) this.backend.free(slot);
    this.slots.length = 0;
  }
}
