/**
 * The float64 kernels on a tiled lower triangle. Each factorisation kernel runs behind those that prepare its input,
 * and is judged by its residual: what it computed, multiplied back.
 */
import {
  choleskyDiagonal,
  choleskyPanel,
  choleskyUpdate,
  tileDiagonal,
  tileLoad,
  tileRows,
  triangularSolve,
} from "../kernels/linalg.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, sample, worst, type Case, type Data, type LargeCase, type Launch, type Row } from "./row.ts";

/** Entries that are checked of a matrix too large to be checked whole. */
const CHECKED = 2048;

/** [rows, tile]: one row, one tile, whole tiles, and a last tile of every remainder modulo 4. */
const SIZES = [
  [1, 16],
  [3, 16],
  [16, 16],
  [17, 16],
  [61, 16],
  [64, 32],
  [131, 32],
  [190, 64],
] as const;

/** Where things lie; written anew from the description in `assembly/linalg/tiles.ts`, which it checks. */
class Layout {
  readonly n: number;
  readonly tile: number;
  readonly blocks: number;
  readonly padded: number;
  readonly offsets: Uint32Array<ArrayBuffer>;
  readonly bytes: number;

  constructor(n: number, tile: number) {
    this.n = n;
    this.tile = tile;
    this.blocks = tileRows(n, tile);
    this.padded = Math.ceil(n / 4) * 4;
    const offsets: number[] = [];
    let bytes = 0;
    for (let i = 0; i < this.blocks; i++) {
      for (let j = 0; j <= i; j++) {
        offsets.push(bytes);
        bytes += this.extent(i) * this.extent(j) * 8;
      }
    }
    this.offsets = Uint32Array.from(offsets);
    this.bytes = bytes;
  }

  extent(block: number): number {
    return Math.min(this.tile, this.padded - block * this.tile);
  }

  /** Index of entry (row, column), row >= column, among all doubles of the tiles. */
  at(row: number, column: number): number {
    const [i, j] = [Math.floor(row / this.tile), Math.floor(column / this.tile)];
    const [r, c] = [row - i * this.tile, column - j * this.tile];
    const tile = (this.offsets[(i * (i + 1)) / 2 + j] ?? NaN) / 8;
    return tile + ((r >> 2) * this.extent(j) + c) * 4 + (r & 3);
  }
}

/** Symmetric with a diagonal in [1, 1.25) and eigenvalues in about [0.7, 1.6]: noise of norm 0.3 beside it. Row-major. */
function positiveDefinite(random: RandomStream, n: number): Float64Array<ArrayBuffer> {
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) a[i * n + j] = a[j * n + i] = (random.uniform32() - 0.5) / (2 * Math.sqrt(n));
    a[i * n + i] = 1 + 0.25 * random.uniform32();
  }
  return a;
}

function diagonalOf(a: Float64Array, n: number): Float64Array<ArrayBuffer> {
  return Float64Array.from({ length: n }, (_, i) => a[i * n + i] ?? NaN);
}

/** Loads the matrix `a` and its diagonal, as a factorisation does. */
function loadLaunches({ n, tile }: Layout): Launch[] {
  const whole = { tile, n, row: 0, column: 0, rows: n, columns: n, wide: 1 };
  return [
    launch(tileLoad, whole, ["a", "table", "tiles"]),
    launch(tileDiagonal, { tile, n }, ["diagonal", "table", "tiles"]),
  ];
}

interface Matrix {
  readonly layout: Layout;
  readonly a: Float64Array<ArrayBuffer>;
  readonly buffers: Readonly<Record<string, Data | number>>;
}

function matrix(random: RandomStream, n: number, tile: number): Matrix {
  const layout = new Layout(n, tile);
  const a = positiveDefinite(random, n);
  const buffers = {
    a,
    diagonal: diagonalOf(a, n),
    table: layout.offsets,
    tiles: layout.bytes,
    pivots: layout.padded * 8,
    status: new Uint32Array(2),
  };
  return { layout, a, buffers };
}

/**
 * The largest |A - L L'| over rows and columns < `columns`, over `upTo` (the columns of L that are done), in units of
 * sqrt(a_ii a_jj). A correct factorisation stays below (n + 1) 2^-53 of it (Higham 2002, theorem 10.3).
 */
function residual(
  { layout, a }: Matrix,
  places: readonly number[],
  tiles: Float64Array,
  status: Uint32Array,
  columns: number,
): number {
  if (status[0] !== 0) return Infinity;
  const { n } = layout;
  return worst(places.length, (index) => {
    const place = places[index] ?? 0;
    const [i, j] = [Math.floor(place / n), place % n];
    if (j > i || j >= columns) return 0;
    let sum = 0;
    for (let p = 0; p <= j; p++) sum += (tiles[layout.at(i, p)] ?? NaN) * (tiles[layout.at(j, p)] ?? NaN);
    const scale = Math.sqrt((a[i * n + i] ?? NaN) * (a[j * n + j] ?? NaN));
    return errorOf(sum, a[i * n + j] ?? NaN, scale);
  });
}

type Stage = "diagonal" | "panel" | "update";

/** The factorisation up to a stage: the first diagonal tile, the first column of tiles, or everything. */
function factorCase(random: RandomStream, stage: Stage, n: number, tile: number): Case {
  const whole = matrix(random, n, tile);
  const launches = loadLaunches(whole.layout);
  const factor = ["table", "tiles", "pivots", "status"];
  launches.push(launch(choleskyDiagonal, { tile, n, step: 0 }, factor));
  for (let step = 0; step < (stage === "update" ? whole.layout.blocks : 1); step++) {
    if (stage !== "diagonal") launches.push(launch(choleskyPanel, { tile, n, step }, ["table", "tiles", "status"]));
    if (stage === "update") launches.push(launch(choleskyUpdate, { tile, n, step }, factor));
  }
  const columns = stage === "update" ? n : Math.min(tile, n);
  const rows = stage === "diagonal" ? columns : n;
  const places = sample(random, rows * n, n > 256 ? CHECKED : Infinity);
  return {
    name: `n=${n}, tiles of ${tile}`,
    buffers: whole.buffers,
    launches,
    outputs: ["tiles", "status"],
    loose: true, // above the diagonal, diagonal tiles hold nothing
    check: (output) =>
      residual(whole, places, new Float64Array(output("tiles")), new Uint32Array(output("status")), columns),
  };
}

function factorRow(kernel: unknown, stage: Stage, flops: (n: number, tile: number) => number): Row {
  const large = (n: number, tile: number, random: RandomStream): LargeCase => ({
    ...factorCase(random, stage, n, tile),
    work: flops(n, tile) / 1e9,
  });
  return {
    kernel: kernel as KernelSchema,
    measure: "sqrt(a_ii a_jj), of A - L L'",
    tolerance: 1e-14,
    reason:
      "(n + 1) 2^-53 is guaranteed (Higham 2002, theorem 10.3), 2e-14 for n = 190; roundings of either sign leave under a tenth.",
    unit: "GFLOP/s",
    *cases(random) {
      for (const [n, tile] of SIZES) yield factorCase(random, stage, n, tile);
    },
    large(level, random) {
      if (stage === "diagonal") return level > 0 ? undefined : large(128, 128, random);
      const n = 512 * 2 ** level;
      return n > 1024 ? undefined : large(n, 128, random);
    },
  };
}

/** A block of any place and size, in either precision, scattered into the tiles: every entry exactly where it belongs. */
function loadCase(random: RandomStream, n: number, tile: number, wide: 0 | 1): Case {
  const layout = new Layout(n, tile);
  const row = random.below(n);
  const column = random.below(row + 1);
  const rows = 1 + random.below(n - row);
  const columns = 1 + random.below(n - column);
  const values = random.fillNormal(wide === 1 ? new Float64Array(rows * columns) : new Float32Array(rows * columns));
  const untouched = new Float64Array(layout.bytes / 8).fill(-7);
  return {
    name: `n=${n}, tiles of ${tile}: ${rows} x ${columns} at (${row}, ${column}) in float${wide === 1 ? 64 : 32}`,
    buffers: { block: values, table: layout.offsets, tiles: untouched },
    launches: [launch(tileLoad, { tile, n, row, column, rows, columns, wide }, ["block", "table", "tiles"])],
    outputs: ["tiles"],
    check: (output) => {
      const expected = untouched.slice();
      for (let r = row; r < row + rows; r++) {
        for (let c = column; c < Math.min(column + columns, r + 1); c++) {
          expected[layout.at(r, c)] = values[(r - row) * columns + c - column] ?? NaN;
        }
      }
      const actual = new Float64Array(output("tiles"));
      return worst(expected.length, (index) => errorOf(actual[index], expected[index] ?? NaN, 0));
    },
  };
}

function diagonalCase(random: RandomStream, n: number, tile: number): Case {
  const layout = new Layout(n, tile);
  const diagonal = random.fillNormal(new Float64Array(n));
  const before = random.fillNormal(new Float64Array(layout.bytes / 8));
  return {
    name: `n=${n}, tiles of ${tile}`,
    buffers: { diagonal, table: layout.offsets, tiles: before },
    launches: [launch(tileDiagonal, { tile, n }, ["diagonal", "table", "tiles"])],
    outputs: ["tiles"],
    check: (output) => {
      const expected = before.slice();
      for (let row = 0; row < layout.padded; row++) {
        if (row >= n) for (let column = 0; column < row; column++) expected[layout.at(row, column)] = 0;
        expected[layout.at(row, row)] = row < n ? (diagonal[row] ?? NaN) : 1;
      }
      const actual = new Float64Array(output("tiles"));
      return worst(expected.length, (index) => errorOf(actual[index], expected[index] ?? NaN, 0));
    },
  };
}

/** A lower triangle with a dominant diagonal, in tiles; the padding is the identity. */
function triangle(random: RandomStream, layout: Layout): Float64Array<ArrayBuffer> {
  const tiles = new Float64Array(layout.bytes / 8);
  for (let i = 0; i < layout.padded; i++) {
    for (let j = 0; j < Math.min(i, layout.n) && i < layout.n; j++) {
      tiles[layout.at(i, j)] = (2 * random.uniform32() - 1) / Math.sqrt(layout.n);
    }
    tiles[layout.at(i, i)] = i < layout.n ? 1 + 0.25 * random.uniform32() : 1;
  }
  return tiles;
}

function solveCase(random: RandomStream, n: number, tile: number, strips: number, transpose: 0 | 1): Case {
  const layout = new Layout(n, tile);
  const tiles = triangle(random, layout);
  const rhs = random.fillNormal(new Float64Array(strips * layout.padded * 4));
  const launches = Array.from({ length: layout.blocks }, (_, step) =>
    launch(triangularSolve, { tile, n, step, transpose, strips }, ["table", "tiles", "rhs"]),
  );
  const places = sample(random, strips * n * 4, CHECKED);
  return {
    name: `n=${n}, tiles of ${tile}, ${4 * strips} right-hand sides${transpose === 1 ? ", transposed" : ""}`,
    buffers: { table: layout.offsets, tiles, rhs },
    launches,
    outputs: ["rhs"],
    check: (output) => {
      const x = new Float64Array(output("rhs"));
      return worst(places.length, (index) => {
        const place = places[index] ?? 0;
        const strip = Math.floor(place / (4 * n));
        const i = Math.floor((place % (4 * n)) / 4);
        const at = (row: number): number => strip * layout.padded * 4 + row * 4 + (place % 4);
        let [sum, magnitude] = [0, 0];
        for (let p = transpose === 1 ? i : 0; p < (transpose === 1 ? n : i + 1); p++) {
          const entry = tiles[transpose === 1 ? layout.at(p, i) : layout.at(i, p)] ?? NaN;
          const term = entry * (x[at(p)] ?? NaN);
          sum += term;
          magnitude += Math.abs(term);
        }
        return errorOf(sum, rhs[at(i)] ?? NaN, magnitude);
      });
    },
  };
}

const exact = { measure: "nothing: every entry is exact", tolerance: 0, reason: "the kernel only copies." };

const tileLoadRow: Row = {
  kernel: tileLoad as unknown as KernelSchema,
  ...exact,
  unit: "GB/s",
  *cases(random) {
    for (const [n, tile] of SIZES) {
      for (const wide of [0, 1] as const) {
        for (let repeat = 0; repeat < 4; repeat++) yield loadCase(random, n, tile, wide);
      }
    }
  },
  large(level, random) {
    const n = 512 * 2 ** level;
    if (n > 1024) return undefined;
    const whole = matrix(random, n, 128);
    const places = sample(random, n * n, CHECKED);
    return {
      name: `n=${n}, tiles of 128`,
      buffers: whole.buffers,
      launches: loadLaunches(whole.layout).slice(0, 1),
      outputs: ["tiles"],
      loose: true,
      check: (output) => {
        const tiles = new Float64Array(output("tiles"));
        return worst(places.length, (index) => {
          const place = places[index] ?? 0;
          const [i, j] = [Math.floor(place / n), place % n];
          return j > i ? 0 : errorOf(tiles[whole.layout.at(i, j)], whole.a[place] ?? NaN, 0);
        });
      },
      work: (8 * n * n) / 1e9,
    };
  },
};

const tileDiagonalRow: Row = {
  kernel: tileDiagonal as unknown as KernelSchema,
  ...exact,
  unit: "GB/s",
  *cases(random) {
    for (const [n, tile] of SIZES) yield diagonalCase(random, n, tile);
  },
  large: (level, random) => (level > 0 ? undefined : { ...diagonalCase(random, 1023, 128), work: (8 * 1023) / 1e9 }),
};

const triangularSolveRow: Row = {
  kernel: triangularSolve as unknown as KernelSchema,
  measure: "(|L| |X|)_ij, of B - L X",
  tolerance: 1e-14,
  reason:
    "n 2^-53 is guaranteed (Higham 2002, theorem 8.5), 2e-14 for n = 190; roundings of either sign leave under a tenth.",
  unit: "GFLOP/s",
  *cases(random) {
    for (const [n, tile] of SIZES) {
      for (const strips of [1, 3, 9]) {
        for (const transpose of [0, 1] as const) yield solveCase(random, n, tile, strips, transpose);
      }
    }
  },
  large(level, random) {
    const n = 512 * 2 ** level;
    const strips = 16;
    if (n > 1024) return undefined;
    return { ...solveCase(random, n, 128, strips, 0), work: (4 * strips * n * n) / 1e9 };
  },
};

export const linalgRows: readonly Row[] = [
  tileLoadRow,
  tileDiagonalRow,
  factorRow(choleskyDiagonal, "diagonal", (n) => n ** 3 / 3),
  factorRow(choleskyPanel, "panel", (n, tile) => tile ** 3 / 3 + (n - tile) * tile * tile),
  factorRow(choleskyUpdate, "update", (n) => n ** 3 / 3),
  triangularSolveRow,
];
