/**
 * The float64 kernels on a tiled lower triangle. Each factorisation kernel runs behind those that prepare its input,
 * and is judged by its residual: what it computed, multiplied back.
 */
import {
  choleskyFactor,
  choleskyUpdate,
  tileDiagonal,
  tileLoad,
  tileRows,
  triangularSolve,
} from "../kernels/linalg.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, sample, worst, type Case, type Data, type Launch, type Row } from "./row.ts";

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

/**
 * Where things lie in a window that holds everything; written anew from the descriptions in `kernels/linalg.ts` and
 * `assembly/linalg/tiles.ts`, which it checks.
 */
class Layout {
  readonly n: number;
  readonly tile: number;
  readonly blocks: number;
  readonly padded: number;
  /** Byte offset of the first tile of each column. */
  readonly offsets: Uint32Array<ArrayBuffer>;
  readonly bytes: number;

  constructor(n: number, tile: number) {
    this.n = n;
    this.tile = tile;
    this.blocks = tileRows(n, tile);
    this.padded = Math.ceil(n / 4) * 4;
    const offsets: number[] = [];
    let bytes = 0;
    for (let j = 0; j < this.blocks; j++) {
      offsets.push(bytes);
      for (let i = j; i < this.blocks; i++) bytes += this.extent(i) * this.extent(j) * 8;
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
    const tile = (this.offsets[j] ?? NaN) / 8 + (i - j) * this.tile ** 2;
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
function loadLaunches({ n, tile, padded }: Layout): Launch[] {
  const whole = { tile, n, row: 0, column: 0, rows: n, columns: n, wide: 1 };
  return [
    launch(tileLoad, whole, ["a", "table", "tiles"]),
    launch(tileDiagonal, { tile, n, begin: 0, end: padded }, ["diagonal", "table", "tiles"]),
  ];
}

interface Matrix {
  readonly layout: Layout;
  readonly a: Float64Array<ArrayBuffer>;
  readonly buffers: Record<string, Data | number>;
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
 * The largest |A - L L'| in units of sqrt(a_ii a_jj). A correct factorisation stays below (n + 1) 2^-53 of it (Higham 2002, theorem 10.3).
 */
function residual({ layout, a }: Matrix, places: readonly number[], tiles: Float64Array, status: Uint32Array): number {
  if (status[0] !== 0) return Infinity;
  const { n } = layout;
  return worst(places.length, (index) => {
    const place = places[index] ?? 0;
    const [i, j] = [Math.floor(place / n), place % n];
    if (j > i) return 0;
    let sum = 0;
    for (let p = 0; p <= j; p++) sum += (tiles[layout.at(i, p)] ?? NaN) * (tiles[layout.at(j, p)] ?? NaN);
    const scale = Math.sqrt((a[i * n + i] ?? NaN) * (a[j * n + j] ?? NaN));
    return errorOf(sum, a[i * n + j] ?? NaN, scale);
  });
}

/**
 * A factorisation in windows of random widths, which here are all one buffer: for each, choleskyUpdate with the columns
 * before it, in one command or several, and choleskyFactor, likewise.
 */
function factorCase(random: RandomStream, n: number, tile: number, widest: number): Case {
  const whole = matrix(random, n, tile);
  const { blocks } = whole.layout;
  const launches = loadLaunches(whole.layout);
  const left = ["table", "tiles", "table", "tiles"];
  const factor = ["table", "tiles", "pivots", "status", "finished"];
  const names: string[] = [];
  for (let begin = 0; begin < blocks;) {
    const end = Math.min(blocks, begin + 1 + random.below(widest));
    names.push(String(end - begin));
    const panel = { tile, n, rowBegin: 0 };
    for (let leftBegin = 0; leftBegin < begin;) {
      const leftEnd = Math.min(begin, leftBegin + 1 + random.below(begin));
      launches.push(launch(choleskyUpdate, { ...panel, first: begin, end, leftBegin, leftEnd }, left));
      leftBegin = leftEnd;
    }
    // As if the columns before had been finished elsewhere.
    const finished = `finished${begin}`;
    for (let first = begin; first < end;) {
      const last = Math.min(end, first + 1 + random.below(end - first));
      const params = { ...panel, first, end: last, windowBegin: begin };
      launches.push(launch(choleskyFactor, params, [...factor.slice(0, 4), finished]));
      first = last;
    }
    whole.buffers[finished] = new Uint32Array(blocks).fill(begin);
    begin = end;
  }
  const places = sample(random, n * n, n > 256 ? CHECKED : Infinity);
  return {
    name: `n=${n}, tiles of ${tile}, windows of ${names.join(", ")} columns`,
    buffers: whole.buffers,
    launches,
    outputs: ["tiles", "status"],
    loose: true, // above the diagonal, diagonal tiles hold nothing
    check: (output) => residual(whole, places, new Float64Array(output("tiles")), new Uint32Array(output("status"))),
  };
}

function factorRow(kernel: unknown, widest: number): Row {
  return {
    kernel: kernel as KernelSchema,
    measure: "sqrt(a_ii a_jj), of A - L L'",
    tolerance: 1e-14,
    reason:
      "(n + 1) 2^-53 is guaranteed (Higham 2002, theorem 10.3), 2e-14 for n = 190; roundings of either sign leave under a tenth.",
    unit: "GFLOP/s",
    *cases(random) {
      for (const [n, tile] of SIZES) for (const most of [1, widest]) yield factorCase(random, n, tile, most);
      yield factorCase(random, 1000, 128, widest);
    },
    // A launch consumes its input, and the counts of finished columns: there is nothing to repeat.
    large: () => undefined,
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
  const first = random.below(layout.blocks);
  const [begin, end] = [
    first * tile,
    Math.min(layout.padded, (first + 1 + random.below(layout.blocks - first)) * tile),
  ];
  return {
    name: `n=${n}, tiles of ${tile}, rows ${begin} to ${end}`,
    buffers: { diagonal, table: layout.offsets, tiles: before },
    launches: [launch(tileDiagonal, { tile, n, begin, end }, ["diagonal", "table", "tiles"])],
    outputs: ["tiles"],
    check: (output) => {
      const expected = before.slice();
      for (let row = begin; row < layout.padded; row++) {
        if (row >= n)
          for (let column = begin; column < Math.min(end, row); column++) expected[layout.at(row, column)] = 0;
        if (row < end) expected[layout.at(row, row)] = row < n ? (diagonal[row] ?? NaN) : 1;
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
  const launches: Launch[] = [];
  const step = (block: number, update: 0 | 1, solve: 0 | 1): void => {
    launches.push(
      launch(triangularSolve, { tile, n, block, transpose, update, solve, strips }, ["table", "tiles", "rhs"]),
    );
  };
  for (let turn = 0; turn < layout.blocks; turn++) {
    const block = transpose === 1 ? layout.blocks - 1 - turn : turn;
    // In one command, or in two, as between two windows.
    const apart = random.below(2) === 1;
    if (turn > 0 && apart) step(block, 1, 0);
    step(block, turn > 0 && !apart ? 1 : 0, 1);
  }
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
  factorRow(choleskyFactor, 1000),
  factorRow(choleskyUpdate, 3),
  triangularSolveRow,
];
