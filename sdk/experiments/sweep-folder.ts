/**
 * The folder of a sweep over noise levels and models (`record-folder.ts`):
 *
 *     sweep.json                       the grid: problem, levels, models with their ridges, ranges
 *     cells/level-07.ntk2.json         one finished cell
 *     results.csv, results.jsonl       all finished cells in the grid's order
 */
import * as z from "zod";
import type { Json } from "../covariance/store/manifest.ts";
import type { Files } from "../platform/files.ts";
import { commonConfig, currentConfig, RecordFolder, type RecordKind } from "./record-folder.ts";
import { sweepCsv, sweepRowSchema, type SweepRow } from "./sweep-row.ts";

const configSchema = z.strictObject({ ...commonConfig, grid: z.json() });

type StoredConfig = z.infer<typeof configSchema>;

/** `cells`: their names, in the grid's order. */
function kindOf(cells: readonly string[]): RecordKind<StoredConfig, string, SweepRow> {
  return {
    name: "sweep",
    part: "cell",
    config: configSchema,
    sharedOf: (config) => config,
    stemOf: ({ cell }) => cell,
    keyOf: (stem) => (cells.includes(stem) ? stem : undefined),
    parseRow: (value, cell) => {
      const row = sweepRowSchema.parse(value);
      if (row.cell !== cell) throw new Error(`it is of ${row.cell}`);
      return row;
    },
    again: () => "computes that cell again",
    inOrder: (finished) => cells.flatMap((cell) => finished.get(cell) ?? []),
    csv: sweepCsv,
  };
}

export class SweepFolder extends RecordFolder<StoredConfig, string, SweepRow> {
  /**
   * Begins a sweep in a folder (made where its parent is there), or goes on with it. `grid` is all that its cells have in
   * common, `cells` their names.
   *
   * @throws WidefieldError E_MISMATCH, line by line, for the folder of another grid, or one that holds other things;
   *   E_CORRUPT for a damaged record; E_IO
   */
  static async open(files: Files, path: string, grid: Json, cells: readonly string[]): Promise<SweepFolder> {
    const folder = new SweepFolder(files, path, kindOf(cells));
    await folder.begin({ ...currentConfig, grid });
    return folder;
  }
}
