/** Kernel matrices as linear algebra reads them: in blocks on and below the diagonal, a store's in its own tiles. */
import { WidefieldError } from "../errors.ts";
import type { SymmetricSource } from "../linalg/source.ts";
import { sha256 } from "../platform/digest.ts";
import type { KernelMatrix } from "./matrix.ts";
import { columnRange, rowRange } from "./store/grid.ts";
import { identityOf } from "./store/manifest.ts";
import { KernelStore } from "./store/store.ts";

/**
 * The first n rows and columns (default: all) of a symmetric kernel matrix. A store's tiles are read whole, and its
 * identity is the SHA-256 of everything that their bytes depend on, and n; a matrix in memory has none.
 *
 * Throws E_SHAPE for a matrix that is not square, or has fewer rows, E_CONFIG for one that is not symmetric. Blocks throw
 * what reading throws.
 */
export async function kernelSource(matrix: KernelMatrix | KernelStore, n?: number): Promise<SymmetricSource> {
  const store = matrix instanceof KernelStore ? matrix : matrix.store;
  const { rows, columns, symmetric } = matrix instanceof KernelStore ? matrix.grid : matrix;
  const exponent = matrix instanceof KernelStore ? matrix.manifest.exponent : matrix.exponent;
  if (rows !== columns)
    throw new WidefieldError("E_SHAPE", `a matrix of ${rows} x ${columns} cannot be solved with: it must be square`);
  if (n !== undefined && !(n <= rows))
    throw new WidefieldError("E_SHAPE", `the leading ${n} rows were asked for of a matrix that has ${rows}`);
  if (!symmetric) throw new WidefieldError("E_CONFIG", "solves need a symmetric matrix, and this one is not marked so");
  const size = n ?? rows;
  if (store !== undefined) return storeSource(store, size);
  if (matrix instanceof KernelStore) throw new Error("a store has been dealt with");
  return {
    n: size,
    exponent,
    block: (rowBegin, rowEnd, columnBegin, columnEnd) =>
      matrix.read({ begin: rowBegin, end: rowEnd }, { begin: columnBegin, end: columnEnd }),
  };
}

async function storeSource(store: KernelStore, n: number): Promise<SymmetricSource> {
  const { grid, manifest } = store;
  const { tile } = grid;
  return {
    n,
    exponent: manifest.exponent,
    blockSize: tile,
    identity: await sha256(JSON.stringify({ ...identityOf(manifest), n })),
    block(rowBegin, rowEnd, columnBegin, columnEnd) {
      const place = { i: Math.floor(rowBegin / tile), j: Math.floor(columnBegin / tile) };
      const [rows, columns] = [rowRange(grid, place.i), columnRange(grid, place.j)];
      const [down, across] = [
        { begin: rowBegin, end: rowEnd },
        { begin: columnBegin, end: columnEnd },
      ];
      const whole = [
        [rows, down],
        [columns, across],
      ].every(([whole, asked]) => whole?.begin === asked?.begin && whole?.end === asked?.end);
      return whole && place.j <= place.i ? store.readTile(place) : store.readBlock(down, across);
    },
  };
}
