/** What a regression leaves for other programs: a table, a JSON object to repeat it from, and arrays as .npy. */
import * as z from "zod";
import { differences, type Json } from "../covariance/store/manifest.ts";
import { messageOf, WidefieldError } from "../errors.ts";
import { npyHeader } from "../numpy/npy.ts";
import type { RegressionScores } from "../learn/regression-scores.ts";
import { discard, type Files, temporaryName } from "../platform/files.ts";
import type { KrrResult, KrrRow } from "./krr.ts";

/** With null for what there is not, as JSON and its readers want it. */
export function scoresJson(scores: RegressionScores | undefined) {
  if (scores === undefined) return null;
  const { squaredError, r2 = null, accuracy = null } = scores;
  return { squaredError, r2, accuracy };
}

export function rowJson({ lambda, train, test, reason }: KrrRow) {
  return { lambda, train: scoresJson(train), test: scoresJson(test), reason: reason ?? null };
}

/**
 * Everything but arrays, which have one entry for each of `solvedLambdas`; which kernel it is stands in the manifest, as
 * `kernel`.
 */
export function krrJson({ rows, best, kernel, solve, model }: KrrResult) {
  const solvedLambdas = model.fits.map(({ lambda }) => lambda);
  const bestJson = best === undefined ? null : rowJson(best);
  return { rows: rows.map(rowJson), best: bestJson, solvedLambdas, kernelTime: kernel, solve };
}

const manifestSchema = z.looseObject({ job: z.record(z.string(), z.json()).optional() });

/**
 * Whether a folder's results, if it has any, are those of this job. Throws E_MISMATCH, line by line, where they are of
 * another, which they would be lost to, and E_CORRUPT for a manifest that is none.
 */
export async function requireSameJob(files: Files, folder: string, job: Readonly<Record<string, Json>>): Promise<void> {
  const path = `${folder}/manifest.json`;
  const bytes = await files.read(path);
  if (bytes === undefined) return;
  let stored: z.infer<typeof manifestSchema>;
  try {
    stored = manifestSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (cause) {
    throw new WidefieldError("E_CORRUPT", `${path} is no manifest: ${messageOf(cause)}; remove it with its results`, {
      cause,
    });
  }
  const lines = differences(stored.job ?? {}, job);
  if (lines.length === 0) return;
  const more = lines.length > MOST_LINES ? [`... and ${lines.length - MOST_LINES} more`] : [];
  throw new WidefieldError(
    "E_MISMATCH",
    `${folder} holds the results of another regression (stored -> asked for):\n` +
      [...lines.slice(0, MOST_LINES), ...more].map((line) => `  ${line}\n`).join("") +
      `Choose another folder, with this one's kernels where they are the same (--kxx ${folder}/kxx.zarr), or remove ${path}.`,
    { details: { path: folder, differences: lines } },
  );
}

/** Differences that are told; other grids of ridges differ in every one. */
const MOST_LINES = 12;

const CSV_HEAD = [
  "lambda",
  ...["train", "test"].flatMap((set) => [`${set}_squared_error`, `${set}_r2`, `${set}_accuracy`]),
  "reason",
];

/** One line a lambda; empty cells for what there is not. */
export function krrCsv(rows: readonly KrrRow[]): string {
  const cells = (scores: RegressionScores | undefined) => [scores?.squaredError, scores?.r2, scores?.accuracy];
  const lines = rows.map(({ lambda, train, test, reason }) => [lambda, ...cells(train), ...cells(test), reason]);
  return [CSV_HEAD, ...lines].map((line) => `${line.map(csvCell).join(",")}\n`).join("");
}

/** RFC 4180: quoted where a comma, a quote or a line break would be mistaken. */
export function csvCell(value: string | number | undefined): string {
  const text = value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Arrays of one shape, one after the other, as a .npy of float64, [arrays, ...shape]; whole or not at all. Throws E_IO. */
export async function writeArrays(
  files: Files,
  path: string,
  arrays: Iterable<Float64Array>,
  shape: readonly [count: number, ...rest: number[]],
): Promise<void> {
  const temporary = temporaryName(path, files.self);
  const file = await files.create(temporary);
  try {
    try {
      await file.write(npyHeader("float64", ...shape));
      for (const array of arrays) await file.write(new Uint8Array(Float64Array.from(array).buffer));
      await file.sync();
    } finally {
      await file.close();
    }
    await files.rename(temporary, path);
  } catch (error) {
    await discard(files, temporary);
    throw error;
  }
}
