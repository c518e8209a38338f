/** What a search records of a seed: one row, as JSON and as a line of CSV. */
import * as z from "zod";
import { perLayer } from "./search-draw.ts";

const percent = z.number().min(0).max(100);

export const rowSchema = z.strictObject({
  seed: z.int().min(0),
  /** invalid: the image does not fit the network. failed: a solve or a kernel did not succeed; it would fail again. */
  status: z.enum(["done", "invalid", "failed"]),
  /** Why not, with the layer's name or the pivot; null where done. */
  reason: z.string().nullable(),
  drawn: z.strictObject({
    seed: z.int().min(0),
    weightVariance: z.number(),
    biasVariance: z.number(),
    convs: z.array(z.strictObject({ filter: z.int(), stride: z.int(), padding: z.enum(["valid", "same-tf"]) })),
    nonlinearity: z.enum(["relu", "erf"]),
    skipEvery: z.int().nullable(),
  }),
  /** Null unless done, as everything below. Errors in percent, relative jitter. */
  error: z.strictObject({ train: percent, validation: percent, test: percent }).nullable(),
  kernel: z.strictObject({ seconds: z.number(), pairs: z.int(), pairsPerSecond: z.number() }).nullable(),
  solve: z.strictObject({ seconds: z.number(), gflops: z.number(), jitter: z.number() }).nullable(),
  /** Where it ran. */
  backend: z.string(),
  adapter: z.string(),
  threads: z.int(),
});

export type SearchRow = z.infer<typeof rowSchema>;

/** The columns of the CSV file, and what stands in them. Lists over layers are single values where all are equal. */
const columns: Readonly<Record<string, (row: SearchRow) => string | number | undefined>> = {
  seed: (row) => row.seed,
  status: (row) => row.status,
  validation_error: (row) => row.error?.validation,
  test_error: (row) => row.error?.test,
  train_error: (row) => row.error?.train,
  layers: (row) => row.drawn.convs.length,
  filter: (row) => perLayer(row.drawn.convs.map(({ filter }) => filter)),
  stride: (row) => perLayer(row.drawn.convs.map(({ stride }) => stride)),
  padding: (row) => perLayer(row.drawn.convs.map(({ padding }) => padding)),
  nonlinearity: (row) => row.drawn.nonlinearity,
  skip_every: (row) => row.drawn.skipEvery ?? undefined,
  weight_variance: (row) => row.drawn.weightVariance,
  bias_variance: (row) => row.drawn.biasVariance,
  jitter: (row) => row.solve?.jitter,
  pairs: (row) => row.kernel?.pairs,
  kernel_seconds: (row) => row.kernel?.seconds,
  solve_seconds: (row) => row.solve?.seconds,
  backend: (row) => row.backend,
  adapter: (row) => row.adapter,
  threads: (row) => row.threads,
  reason: (row) => row.reason ?? undefined,
};

/** RFC 4180: quoted where a comma, a quote or a line break would be mistaken. */
function cell(value: string | number | undefined): string {
  const text = value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function rowsToCsv(rows: readonly SearchRow[]): string {
  const lines = rows.map((row) => Object.values(columns).map((value) => cell(value(row))));
  return [Object.keys(columns), ...lines].map((line) => `${line.join(",")}\n`).join("");
}

/** The best first, by validation error, then test error, then seed; what has no error comes last. */
export function sortedRows(rows: readonly SearchRow[]): SearchRow[] {
  const key = ({ error, seed }: SearchRow) => [error?.validation ?? Infinity, error?.test ?? Infinity, seed];
  return [...rows].sort((a, b) => {
    const [left, right] = [key(a), key(b)];
    const at = left.findIndex((value, i) => value !== right[i]);
    return at < 0 ? 0 : (left[at] ?? 0) < (right[at] ?? 0) ? -1 : 1;
  });
}
