/** A deterministic stand-in for a kernel, without anything of vitest: the child process of the SIGKILL test uses it too. */
import type { TileSource } from "../sdk/covariance/job.ts";
import type { KernelSpec } from "../sdk/covariance/store/manifest.ts";

/** A value in [0.5, 1.5) that looks random, symmetric in row and column if asked. */
export function hashValue(row: number, column: number, symmetric: boolean): number {
  const [a, b] = symmetric && column > row ? [column, row] : [row, column];
  let x = (Math.imul(a + 1, 0x9e3779b1) ^ Math.imul(b + 1, 0x85ebca77)) >>> 0;
  x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) >>> 0;
  x = Math.imul(x ^ (x >>> 12), 0x297a2d39) >>> 0;
  return Math.fround(0.5 + (x >>> 8) / 2 ** 24);
}

export interface HashSource extends TileSource {
  /** Tiles computed so far, as "i0:i1,j0:j1". */
  readonly calls: string[];
}

/** `delayMs` per tile. The upper half of a diagonal tile is nonsense, as the contract permits. */
export function hashSource(symmetric: boolean, delayMs = 0): HashSource {
  const calls: string[] = [];
  return {
    calls,
    peakBytes: (rows, columns) => 4 * (rows + columns),
    computeTile: async (rowBegin, rowEnd, colBegin, colEnd, diagonal) => {
      calls.push(`${rowBegin}:${rowEnd},${colBegin}:${colEnd}`);
      if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
      const values = new Float32Array((rowEnd - rowBegin) * (colEnd - colBegin));
      let at = 0;
      for (let row = rowBegin; row < rowEnd; row++) {
        for (let column = colBegin; column < colEnd; column++) {
          values[at++] = diagonal && column > row ? -7 : hashValue(row, column, symmetric);
        }
      }
      return values;
    },
  };
}

export function specOf(rows: number, columns: number, tile: number, changes: Partial<KernelSpec> = {}): KernelSpec {
  return {
    kind: "nngp",
    symmetric: false,
    exponent: 0,
    tile,
    precision: "f32",
    backend: "wasm",
    arch: { layers: [{ layer: "dense", weightVariance: 2.79, biasVariance: 7.86 }, { layer: "relu" }] },
    dataset: { name: "hash", sha256: "ab".repeat(32) },
    rows: [[0, rows]],
    columns: [[0, columns]],
    adapter: "test",
    threads: 1,
    seeds: {},
    ...changes,
  };
}
