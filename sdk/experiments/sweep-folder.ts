/**
 * The folder of a sweep over noise levels and models (`record-folder.ts`):
 *
 *     sweep.json                       the grid: problem, levels, models with their ridges, ranges
 *     cells/level-07.ntk2.json         one finished cell
 *     results.csv, results.jsonl       all finished cells in the grid's order
 */
import * as z from "zod";
import { differences, type Json } from "../covariance/store/manifest.ts";
import type { Files } from "../platform/files.ts";
import { commonConfig, currentConfig, RecordFolder, type RecordKind } from "./record-folder.ts";
import { openedRow, sealedRow, sweepCsv, type SweepRow } from "./sweep-row.ts";

const configSchema = z.strictObject({ ...commonConfig, grid: z.json() });

type StoredConfig = z.infer<typeof configSchema>;

/** What the grid says of a cell, and its row has to say too. */
export interface GridCell extends Pick<SweepRow, "level" | "model"> {
  readonly name: string;
  readonly lambdas: readonly number[];
}

/** `cells` in the grid's order. */
function kindOf(cells: readonly GridCell[]): RecordKind<StoredConfig, string, SweepRow> {
  const named = new Map(cells.map((cell) => [cell.name, cell]));
  return {
    name: "sweep",
    part: "cell",
    config: configSchema,
    sharedOf: (config) => config,
    stemOf: ({ cell }) => cell,
    keyOf: (stem) => (named.has(stem) ? stem : undefined),
    parseRow: (value, cell) => {
      const row = openedRow(value);
      if (row.cell !== cell) throw new Error(`it is of ${row.cell}`);
      requireCell(row, named.get(cell));
      return row;
    },
    again: () => "computes that cell again",
    inOrder: (finished) => cells.flatMap(({ name }) => finished.get(name) ?? []),
    csv: sweepCsv,
  };
}

/** Throws for a row of another cell of the grid, or of no cell of it. A failed cell may have no fits. */
function requireCell({ level, model, fits }: SweepRow, cell: GridCell | undefined): void {
  if (cell === undefined) throw new Error("the grid has no such cell");
  const lambdas = fits.length === 0 ? [] : [...cell.lambdas];
  const lines = differences(
    { level: cell.level, model: cell.model, lambdas },
    { level, model, lambdas: fits.map(({ lambda }) => lambda) },
  );
  if (lines.length > 0) throw new Error(`it is not what the grid asks for (${lines[0] ?? ""})`);
}

export class SweepFolder extends RecordFolder<StoredConfig, string, SweepRow> {
  /**
   * Begins a sweep in a folder (made where its parent is there), or goes on with it. `grid` is all that its cells have in
   * common, `cells` what it has of each.
   *
   * @throws WidefieldError E_MISMATCH, line by line, for the folder of another grid, or one that holds other things;
   *   E_CORRUPT for a damaged record; E_IO
   */
  static async open(files: Files, path: string, grid: Json, cells: readonly GridCell[]): Promise<SweepFolder> {
    const folder = new SweepFolder(files, path, kindOf(cells));
    await folder.begin({ ...currentConfig, grid });
    return folder;
  }

  /** Records a finished cell with its checksum, and brings the tables up to date. */
  override async add(row: SweepRow): Promise<void> {
    await super.add(sealedRow(row));
  }
}
