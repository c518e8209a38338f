/** What a sweep records of a cell, one model at one noise level: a row, as JSON and as lines of CSV. */
import * as z from "zod";
import { crc32c } from "../platform/crc32c.ts";
import { csvCell } from "./krr-files.ts";

const scoresSchema = z.strictObject({
  squaredError: z.number().min(0),
  r2: z.number().nullable(),
  accuracy: z.number().min(0).max(1).nullable(),
});

const fitSchema = z.strictObject({
  lambda: z.number(),
  /** Null where the ridge was too small for the kernel, which `reason` tells. */
  train: scoresSchema.nullable(),
  test: scoresSchema.nullable(),
  reason: z.string().nullable(),
});

export const sweepRowSchema = z.strictObject({
  /** Names the cell within its sweep, and its file: "level-07.poly2-c0.125". */
  cell: z.string().regex(/^[\w.+-]+$/),
  level: z.number(),
  /** The line of the chart that it belongs to; of models that differ in a parameter the best stands for the line. */
  line: z.string(),
  /** The model with all its parameters. */
  model: z.json(),
  dataset: z.strictObject({ name: z.string(), sha256: z.string() }),
  /** failed: no ridge of the grid could be solved with, or the kernel overflowed; it would fail again. */
  status: z.enum(["done", "failed"]),
  reason: z.string().nullable(),
  fits: z.array(fitSchema),
  method: z.string().nullable(),
  seconds: z.strictObject({ kernel: z.number(), solve: z.number() }),
  backend: z.string(),
  adapter: z.string(),
  threads: z.int(),
});

export type SweepRow = z.infer<typeof sweepRowSchema>;
export type SweepFit = SweepRow["fits"][number];

/** As a file holds it: the checksum finds damage that leaves valid JSON. Rows of earlier versions have none. */
const recordedSchema = z.looseObject({ crc32c: z.string().optional() });

/** Of all the row's other fields, as JSON. */
function checksumOf(row: object): string {
  return crc32c(new TextEncoder().encode(JSON.stringify(row)))
    .toString(16)
    .padStart(8, "0");
}

/** The row with its checksum. */
export function sealedRow(row: SweepRow): SweepRow & { readonly crc32c: string } {
  return { ...row, crc32c: checksumOf(row) };
}

/** The row of a record. Throws where it is none, or not what was recorded. */
export function openedRow(value: unknown): SweepRow {
  const { crc32c: stored, ...row } = recordedSchema.parse(value);
  if (stored !== undefined && stored !== checksumOf(row)) throw new Error("its checksum is that of another row");
  return sweepRowSchema.parse(row);
}

const SCORES = ["squaredError", "r2", "accuracy"] as const;
const NAMES = ["squared_error", "r2", "accuracy"] as const;

const HEAD = [
  ...["cell", "level", "line", "lambda"],
  ...["train", "test"].flatMap((set) => NAMES.map((name) => `${set}_${name}`)),
  ...["method", "kernel_seconds", "solve_seconds", "backend", "adapter", "threads", "reason"],
];

/** One line a lambda; a failed cell has one without. */
export function sweepCsv(rows: readonly SweepRow[]): string {
  const lines = rows.flatMap((row) => {
    const { cell, level, line, method, seconds, backend, adapter, threads } = row;
    const where = [method ?? undefined, seconds.kernel, seconds.solve, backend, adapter, threads];
    const fits: (SweepFit | undefined)[] = row.fits.length === 0 ? [undefined] : row.fits;
    return fits.map((fit) => {
      const scores = [fit?.train, fit?.test].flatMap((set) => SCORES.map((name) => set?.[name] ?? undefined));
      return [cell, level, line, fit?.lambda, ...scores, ...where, fit?.reason ?? row.reason ?? undefined];
    });
  });
  return [HEAD, ...lines].map((line) => `${line.map(csvCell).join(",")}\n`).join("");
}

/** The best of a line at a level. */
export interface SweepBest {
  readonly level: number;
  readonly line: string;
  readonly cell: string;
  readonly lambda: number;
  readonly squaredError: number;
  readonly r2: number | null;
  readonly accuracy: number | null;
}

/** For each line and level the cell and lambda with the least squared test error: levels ascending, lines as they come. */
export function bestOfSweep(rows: readonly SweepRow[]): SweepBest[] {
  const best = new Map<string, SweepBest>();
  for (const { cell, level, line, fits } of rows) {
    const key = `${line} ${level}`;
    for (const { lambda, test } of fits) {
      if (test === null || test.squaredError >= (best.get(key)?.squaredError ?? Infinity)) continue;
      best.set(key, { level, line, cell, lambda, ...test });
    }
  }
  const lines = [...new Set(rows.map(({ line }) => line))];
  return [...best.values()].sort((a, b) => lines.indexOf(a.line) - lines.indexOf(b.line) || a.level - b.level);
}
