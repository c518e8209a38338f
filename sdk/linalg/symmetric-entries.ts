/** Any part of a symmetric matrix whose source only vouches for the entries on and below its diagonal. */
import { WidefieldError } from "../errors.ts";
import type { Range } from "./range.ts";
import type { SymmetricSource } from "./source.ts";

/** Entries of `rows` x `columns`, row-major; those above the diagonal are read from below it. Throws E_DATA (named there). */
export async function symmetricEntries(source: SymmetricSource, rows: Range, columns: Range): Promise<Float64Array> {
  const width = columns.end - columns.begin;
  const entries = new Float64Array((rows.end - rows.begin) * width);
  // What lies above the diagonal is what lies below it in the part with rows and columns exchanged.
  await place(rows, columns, (i, j) => (i - rows.begin) * width + j - columns.begin);
  if (rows.begin !== columns.begin || rows.end !== columns.end)
    await place(columns, rows, (i, j) => (j - rows.begin) * width + i - columns.begin);
  else
    for (let i = 0; i < width; i++)
      for (let j = 0; j < i; j++) entries[j * width + i] = entries[i * width + j] as number;
  return entries;

  /** Puts what lies on and below the diagonal of a block where `at` says, without the rows that lie above it. */
  async function place(down: Range, across: Range, at: (i: number, j: number) => number): Promise<void> {
    const begin = Math.max(down.begin, across.begin);
    const end = Math.min(across.end, down.end);
    if (begin >= down.end) return;
    const block = await source.block(begin, down.end, across.begin, end);
    const pitch = end - across.begin;
    for (let i = begin; i < down.end; i++)
      for (let j = across.begin; j < Math.min(end, i + 1); j++) {
        const value = block[(i - begin) * pitch + j - across.begin] as number;
        if (value - value !== 0) throw notFinite(i, j, value);
        entries[at(i, j)] = value;
      }
  }
}

function notFinite(row: number, column: number, value: number): WidefieldError {
  return new WidefieldError("E_DATA", `entry (${row}, ${column}) of the matrix is ${value}`, {
    details: { row, column, value },
  });
}
