/** What a regression leaves for other programs: a table, a JSON object to repeat it from, and arrays as .npy. */
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

/** Everything but arrays; which kernel it is stands in the manifest, as `kernel`. */
export function krrJson({ rows, best, kernel, solve }: KrrResult) {
  return { rows: rows.map(rowJson), best: best === undefined ? null : rowJson(best), kernelTime: kernel, solve };
}

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
