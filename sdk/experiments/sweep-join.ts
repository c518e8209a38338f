/** Finished sweeps read back, and several of them joined for one figure: kernels beside networks, on the same images. */
import * as z from "zod";
import { differences } from "../covariance/store/manifest.ts";
import { messageOf, WidefieldError } from "../errors.ts";
import type { Files } from "../platform/files.ts";
import { openedRow, type SweepRow } from "./sweep-row.ts";

/** A sweep's folder, as far as figures go. */
export interface FinishedSweep {
  readonly path: string;
  readonly problem: string;
  readonly train: string;
  readonly test: string;
  readonly rows: readonly SweepRow[];
}

/** Of every kind of sweep. */
const gridSchema = z.looseObject({
  grid: z.looseObject({
    problem: z.string(),
    settings: z.json(),
    train: z.string(),
    test: z.string(),
  }),
});

/** The finished cells of a folder, in their names' order. Throws E_DATA for the folder of no sweep, E_CORRUPT, E_IO. */
export async function readSweep(files: Files, path: string): Promise<FinishedSweep> {
  const file = `${path}/sweep.json`;
  const bytes = await files.read(file);
  if (bytes === undefined)
    throw new WidefieldError("E_DATA", `${path} is not a sweep's folder: it has no sweep.json`, { details: { path } });
  const { grid } = parsed(file, bytes, (value) => gridSchema.parse(value));
  const names = (await files.list(`${path}/cells`)).filter((name) => name.endsWith(".json") && !name.startsWith("."));
  const rows: SweepRow[] = [];
  for (const name of names.sort()) {
    const cell = `${path}/cells/${name}`;
    const content = await files.read(cell);
    if (content !== undefined) rows.push(parsed(cell, content, openedRow));
  }
  const { problem, train, test } = grid;
  return { path, problem, train, test, rows };
}

function parsed<T>(path: string, bytes: Uint8Array, parse: (value: unknown) => T): T {
  try {
    return parse(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : messageOf(cause);
    throw new WidefieldError("E_CORRUPT", `${path} is damaged: ${reason}; run its sweep again without it`, {
      cause,
      details: { path },
    });
  }
}

/**
 * All rows of sweeps of one problem, in the order given. A line that folders have in common is one where they divided its
 * levels or ridges; where its models differ, in a seed, in epochs, each folder's gets its path behind its name.
 *
 * Throws E_MISMATCH where they are of other images, which no figure could compare: another problem, other ranges, or other
 * data at a level.
 */
export function joinSweeps(sweeps: readonly FinishedSweep[]): FinishedSweep {
  const [first, ...others] = sweeps;
  if (first === undefined) throw new WidefieldError("E_CONFIG", "there are no sweeps to join");
  const ofImages = ({ problem, train, test }: FinishedSweep) => ({ problem, train, test });
  const data = new Map(first.rows.map(({ level, dataset }) => [level, dataset.sha256]));
  for (const other of others) {
    const lines = [...differences(ofImages(first), ofImages(other))];
    for (const { level, dataset } of other.rows) {
      const known = data.get(level);
      if (known !== undefined && known !== dataset.sha256)
        lines.push(`level ${level}: dataset.sha256: ${known} -> ${dataset.sha256}`);
      data.set(level, known ?? dataset.sha256);
    }
    if (lines.length === 0) continue;
    throw new WidefieldError(
      "E_MISMATCH",
      `${first.path} and ${other.path} are sweeps of other images, and a figure of both would compare nothing:\n` +
        [...new Set(lines)].map((line) => `  ${line}\n`).join("") +
        "Choose sweeps of one problem with the same --train, --test, --rng, --noise-seed and files.",
      { details: { paths: [first.path, other.path], differences: lines } },
    );
  }
  return { ...first, rows: sweeps.flatMap((sweep) => rowsApart(sweep, sweeps)) };
}

/** A sweep's rows, whose lines do not run into another sweep's of the same name. */
function rowsApart(sweep: FinishedSweep, sweeps: readonly FinishedSweep[]): SweepRow[] {
  const lines = new Set(sweep.rows.map(({ line }) => line));
  const shared = new Set(
    [...lines].filter((line) => {
      const own = modelsOf(sweep, line);
      return sweeps.some((other) => ![own, ""].includes(modelsOf(other, line)));
    }),
  );
  return sweep.rows.map((row) => (shared.has(row.line) ? { ...row, line: `${row.line} (${sweep.path})` } : row));
}

/** All models of a line; "" for a line that the sweep does not have. */
function modelsOf({ rows }: FinishedSweep, line: string): string {
  const models = rows.flatMap((row) => (row.line === line ? [JSON.stringify(row.model)] : []));
  return [...new Set(models)].sort().join("\n");
}
