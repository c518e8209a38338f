/** Numbers as people read them. */

/** "412 k pairs/s" */
export function formatRate(perSecond: number, unit: string): string {
  if (!Number.isFinite(perSecond) || perSecond <= 0) return "";
  const [divisor, prefix] = perSecond >= 1e6 ? [1e6, "M "] : perSecond >= 1e3 ? [1e3, "k "] : [1, ""];
  const value = perSecond / divisor;
  return `${value >= 100 ? value.toFixed(0) : value.toPrecision(3)} ${prefix}${unit}`;
}

/** "1.5 GiB" */
export function formatBytes(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value >= 100 ? value.toFixed(0) : value.toPrecision(3)} ${units[power] ?? ""}`;
}

/** Columns aligned: text to the left, numbers to the right. */
export function table(rows: readonly (readonly (string | number)[])[]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, String(cell).length)));
  const line = (row: readonly (string | number)[]) =>
    row.map((cell, i) =>
      typeof cell === "number" ? String(cell).padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0),
    );
  return rows.map((row) => line(row).join("  ").trimEnd()).join("\n");
}

/** "1.25 G", three digits. */
export function formatCount(count: number): string {
  if (count < 1e5) return String(Math.round(count));
  const prefixes = ["", "k", "M", "G", "T", "P", "E"];
  const power = Math.min(prefixes.length - 1, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** power;
  return `${value >= 100 ? value.toFixed(0) : value.toPrecision(3)} ${prefixes[power] ?? ""}`;
}

/** "0.2 s", "41 s", "12.3 min", "2.4 h", "3.1 days" */
export function formatDuration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${seconds.toFixed(0)} s`;
  if (seconds < 6000) return `${(seconds / 60).toFixed(1)} min`;
  return seconds < 48 * 3600 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} days`;
}
