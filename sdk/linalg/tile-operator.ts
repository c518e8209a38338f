/**
 * Matrices in float32 tiles as operators: a symmetric matrix, in memory or on disk, of which the lower triangle is read,
 * and features Phi, which stand for Phi Phi'. What tiles they have is decided here; how products are made of them, in
 * `tile-products.ts`.
 */
import { WidefieldError } from "../errors.ts";
import { wasmOf, type LinalgTarget } from "./target.ts";
import { operatorRows, type LinearOperator } from "./operator.ts";
import { runs, type Range } from "./range.ts";
import type { SymmetricSource, Values } from "./source.ts";
import { symmetricEntries } from "./symmetric-entries.ts";
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

/** Side of the tiles that a matrix without blocks of its own is read in: 4 MiB. */
const TILE = 1024;

/**
 * A symmetric matrix in float32; its blocks are read as they are, of a matrix without any in squares of 1024. Those that
 * do not stay in memory are read once a product: products of several vectors share the pass.
 *
 * Throws E_SHAPE for a matrix without rows, E_CONFIG without the wasm backend. Products throw what reading throws, E_DATA
 * for an entry that is not finite (named, when its tile is first read), E_CONFIG for blocks of float64, E_MEMORY,
 * E_ABORTED and, after `dispose`, E_CLOSED.
 */
export async function tileOperator(
  target: LinalgTarget,
  source: SymmetricSource,
  options: TileOperatorOptions = {},
): Promise<TileOperator> {
  const { n, exponent, blockSize = TILE } = source;
  operatorRows({ n, apply: (x) => x });
  const products = new TileProducts(await wasmOf(target), lowerTiles(source, blockSize), options);
  return {
    n,
    exponent,
    get residentBytes() {
      return products.residentBytes;
    },
    totalBytes: products.totalBytes,
    apply: (x, vectors, signal) => products.exclusively(() => products.symmetric(n, x, vectors, signal)),
    entries: (rows, columns) => symmetricEntries(source, rows, columns),
    dispose: () => products.dispose(),
    [Symbol.asyncDispose]: () => products.dispose(),
  };
}

function lowerTiles(source: SymmetricSource, blockSize: number): Tile[] {
  const sides = runs(source.n, blockSize);
  return sides.flatMap((rows, i) =>
    sides.slice(0, i + 1).map((columns, j): Tile => ({
      rows,
      columns,
      diagonal: i === j,
      load: async () => source.block(rows.begin, rows.end, columns.begin, columns.end),
    })),
  );
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
  const tiles = runs(n, height).map((rows): Tile => ({
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
