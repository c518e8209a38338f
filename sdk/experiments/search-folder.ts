/**
 * The folder of a search (`record-folder.ts`):
 *
 *     search.json         what all seeds have in common: data, ranges, precision, jitter, the rule of the draw
 *     seeds/0031.json     one finished seed
 *     results.csv, results.jsonl   all finished seeds in the order of their numbers
 */
import * as z from "zod";
import type { Files } from "../platform/files.ts";
import { commonConfig, currentConfig, RecordFolder, type RecordKind } from "./record-folder.ts";
import { SKIP_RULES } from "./search-draw.ts";
import { rowSchema, rowsToCsv, type SearchRow } from "./search-row.ts";

const configSchema = z.strictObject({
  ...commonConfig,
  dataset: z.strictObject({ name: z.string(), sha256: z.string() }),
  /** Ranges as on the command line. */
  train: z.string(),
  validation: z.string(),
  test: z.string(),
  precision: z.enum(["f32", "f64"]),
  jitter: z.union([z.number(), z.enum(["auto", "noise"])]),
  skips: z.enum(SKIP_RULES),
});

type StoredConfig = z.infer<typeof configSchema>;
export type SearchConfig = Omit<StoredConfig, keyof typeof commonConfig>;

const kind: RecordKind<StoredConfig, number, SearchRow> = {
  name: "search",
  part: "seed",
  config: configSchema,
  // The data set's name is not among it.
  sharedOf: ({ dataset, ...rest }) => ({ dataset: { sha256: dataset.sha256 }, ...rest }),
  stemOf: ({ seed }) => String(seed).padStart(4, "0"),
  keyOf: (stem) => (/^\d+$/.test(stem) ? Number(stem) : undefined),
  parseRow: (value, seed) => {
    const row = rowSchema.parse(value);
    if (row.seed !== seed || row.drawn.seed !== seed) throw new Error(`it is of seed ${row.seed}`);
    return row;
  },
  again: (seed) => `runs seed ${seed} again`,
  inOrder: (finished) => [...finished.values()].sort((a, b) => a.seed - b.seed),
  csv: rowsToCsv,
};

export class SearchFolder extends RecordFolder<StoredConfig, number, SearchRow> {
  /**
   * Begins a search in a folder (made where its parent is there), or goes on with it.
   *
   * @throws WidefieldError E_MISMATCH, line by line, for the folder of another configuration, or one that holds other
   *   things; E_CORRUPT for a damaged record; E_IO
   */
  static async open(files: Files, path: string, config: SearchConfig): Promise<SearchFolder> {
    const folder = new SearchFolder(files, path, kind);
    await folder.begin({ ...currentConfig, ...config });
    return folder;
  }
}
