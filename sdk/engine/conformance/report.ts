/** What the suite found, in words and as a table. */
import type { RowResult } from "./conformance.ts";

/** One line for each kernel that is off: its error, and the case. */
export function offRows(results: readonly RowResult[]): string[] {
  return results
    .filter(({ ok }) => !ok)
    .map(({ kernel, worstCase, maxError, tolerance }) => `${kernel}: error ${maxError} > ${tolerance} in ${worstCase}`);
}

const COLUMNS = ["kernel", "cases", "largest error", "tolerance", "rate", ""] as const;

/** A table for people, one line a kernel. */
export function conformanceTable(results: readonly RowResult[]): string {
  const lines = results.map(({ kernel, cases, maxError, tolerance, rate, unit, ok }) => [
    kernel,
    String(cases),
    maxError.toExponential(1),
    tolerance.toExponential(0),
    rate === undefined ? "" : `${formatRate(rate)} ${unit}`,
    ok ? "ok" : "OFF",
  ]);
  const widths = COLUMNS.map((title, at) => Math.max(title.length, ...lines.map((line) => line[at]?.length ?? 0)));
  return [COLUMNS, ...lines]
    .map((line) =>
      line
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** Three digits, thousands in groups. */
function formatRate(rate: number): string {
  if (rate < 100) return rate.toPrecision(3);
  return Math.round(Number(rate.toPrecision(3))).toLocaleString("en-US");
}
