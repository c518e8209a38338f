/**
 * Matrices in float32 tiles as operators: a symmetric kernel matrix, in memory or on disk, of which the lower triangle is
 * read, and features Phi, which stand for Phi Phi'. What tiles they have is decided here; how products are made of them,
 * in `tile-products.ts`.
 */
import type { KernelMatrix } from "../covariance/matrix.ts";
import { columnRange, rowRange, snakeOrder, type Range } from "../covariance/store/grid.ts";
import { KernelStore } from "../covariance/store/store.ts";
import type { Backend } from "../engine/backend.ts";
import { WidefieldError } from "../errors.ts";
import type { LinalgTarget } from "./cholesky.ts";
import { operatorRows, type LinearOperator } from "./operator.ts";
import type { Values } from "./source.ts";
import { TileProducts, type Tile, type TileOperatorOptions } from "./tile-products.ts";

export type { TileOperatorOptions };

export interface TileOperator extends LinearOperator, AsyncDisposable {
  /** Bytes of tiles that are in the engine's memory, and of all tiles. */
  readonly residentBytes: number;
  readonly totalBytes: number;
  /** Releases the engine's memory, once the product under way has ended. Idempotent. */
  dispose(): Promise<void>;
  readonly entries: (rows: Range, columns: Range) => Promise<Float64Array>;
}

/** Side of the tiles that a matrix without a grid of its own is read in: 4 MiB. */
const TILE = 1024;

/**
 * A symmetric kernel matrix; a store's tiles are read as they are, of any other matrix blocks of 1024. A store is streamed
 * at most once a product: products of several vectors share the pass.
 *
 * Throws E_SHAPE for a matrix that is not square, E_CONFIG for one that is not symmetric, or without the wasm backend.
 * Products throw what reading throws, E_DATA for an entry that is not finite (named, when its tile is first read) or
 * that float32 does not hold, E_MEMORY, E_ABORTED and, after `dispose`, E_CLOSED.
 */
export async function tileOperator(
  target: LinalgTarget,
  matrix: KernelMatrix | KernelStore,
  options: TileOperatorOptions = {},
): Promise<TileOperator> {
  const facts = matrix instanceof KernelStore ? { ...matrix.grid, exponent: matrix.manifest.exponent } : pick(matrix);
  const { rows: n, columns, symmetric, exponent } = facts;
  if (n !== columns)
    throw new WidefieldError("E_SHAPE", `a matrix of ${n} x ${columns} cannot be solved with: it must be square`);
  operatorRows({ n, apply: (x) => x });
  if (!symmetric)
    throw new WidefieldError("E_CONFIG", "conjugate gradients need a symmetric matrix, and this one is not marked so");
  const tiles = matrix instanceof KernelStore ? storeTiles(matrix) : matrixTiles(matrix);
  const products = new TileProducts(await wasmOf(target), tiles, options);
  const read = (rows: Range, part: Range): Promise<Values> =>
    matrix instanceof KernelStore ? matrix.readBlock(rows, part, "f32") : matrix.read(rows, part);
  return {
    n,
    exponent,
    get residentBytes() {
      return products.residentBytes;
    },
    totalBytes: products.totalBytes,
    apply: (x, vectors, signal) => products.exclusively(() => products.symmetric(n, x, vectors, signal)),
    entries: async (rows, part) => Float64Array.from(await read(rows, part)),
    dispose: () => products.dispose(),
    [Symbol.asyncDispose]: () => products.dispose(),
  };
}

export interface FeatureSource {
  /** Rows of Phi: data points. */
  readonly n: number;
  /** Columns of Phi. */
  readonly features: number;
  /** Rows [begin, end), row-major. Asked for again in each product where memory does not hold them all. */
  rows(begin: number, end: number): Values | Promise<Values>;
}

/**
 * Phi Phi' without forming it: two passes over Phi for a product. Errors as in `tileOperator`.
 */
export async function featureOperator(
  target: LinalgTarget,
  source: FeatureSource,
  options: TileOperatorOptions = {},
): Promise<TileOperator> {
  const { n, features } = source;
  operatorRows({ n, apply: (x) => x });
  if (!Number.isSafeInteger(features) || features < 1)
    throw new WidefieldError("E_SHAPE", `features must be a whole number of at least 1, not ${features}`);
  const height = Math.max(1, Math.min(n, Math.floor((TILE * TILE) / features)));
  const all = { begin: 0, end: features };
  const tiles = ranges(n, height).map((rows): Tile => ({
    rows,
    columns: all,
    diagonal: false,
    load: async () => source.rows(rows.begin, rows.end),
  }));
  const products = new TileProducts(await wasmOf(target), tiles, options);
  return {
    n,
    get residentBytes() {
      return products.residentBytes;
    },
    totalBytes: products.totalBytes,
    apply: (x, vectors, signal) => products.exclusively(() => products.gram(n, features, x, vectors, signal)),
    async entries(rows, columns) {
      const [left, right] = [await source.rows(rows.begin, rows.end), await source.rows(columns.begin, columns.end)];
      const width = columns.end - columns.begin;
      return new Float64Array((rows.end - rows.begin) * width).map((_, at) => {
        const [i, j] = [Math.floor(at / width) * features, (at % width) * features];
        let total = 0;
        for (let k = 0; k < features; k++) total += (left[i + k] as number) * (right[j + k] as number);
        return total;
      });
    },
    async diagonal() {
      const squares = new Float64Array(n);
      for (let begin = 0; begin < n; begin += height) {
        const end = Math.min(n, begin + height);
        const phi = await source.rows(begin, end);
        for (let i = begin, at = 0; i < end; i++) {
          let total = 0;
          for (let k = 0; k < features; k++, at++) total += (phi[at] as number) ** 2;
          squares[i] = total;
        }
      }
      return squares;
    },
    dispose: () => products.dispose(),
    [Symbol.asyncDispose]: () => products.dispose(),
  };
}

function pick({ rows, columns, symmetric, exponent }: KernelMatrix) {
  return { rows, columns, symmetric, exponent };
}

async function wasmOf(target: LinalgTarget): Promise<Backend> {
  const backend = "cpu" in target ? await target.cpu() : target;
  if (backend.info.backend === "wasm") return backend;
  throw new WidefieldError("E_CONFIG", `float64 work needs the wasm backend, not ${backend.info.backend}`);
}

function storeTiles(store: KernelStore): Tile[] {
  return snakeOrder(store.grid).map((tile) => ({
    rows: rowRange(store.grid, tile.i),
    columns: columnRange(store.grid, tile.j),
    diagonal: tile.i === tile.j,
    load: () => store.readTile(tile),
  }));
}

function matrixTiles(matrix: KernelMatrix): Tile[] {
  const sides = ranges(matrix.rows, TILE);
  return sides.flatMap((rows, i) =>
    sides
      .slice(0, i + 1)
      .map((columns, j): Tile => ({ rows, columns, diagonal: i === j, load: () => matrix.read(rows, columns) })),
  );
}

function ranges(n: number, size: number): Range[] {
  return Array.from({ length: Math.ceil(n / size) }, (_, k) => ({ begin: k * size, end: Math.min(n, (k + 1) * size) }));
}
