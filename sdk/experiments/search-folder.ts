/**
 * The folder of a search:
 *
 *     search.json         what all seeds have in common: data, ranges, precision, jitter, the rule of the draw
 *     seeds/0031.json     one finished seed, written whole or not at all
 *     results.csv, results.jsonl   all finished seeds in the order of their numbers
 *
 * The seeds' files are the record, the tables are made from them. Several processes may share the folder (shards).
 */
import * as z from "zod";
import { createFile, isAbandoned, isTemporary, readSettled, replaceFile, type Files } from "../platform/files.ts";
import { differences } from "../covariance/store/manifest.ts";
import { messageOf, WidefieldError } from "../errors.ts";
import { SKIP_RULES } from "./search-draw.ts";
import { rowSchema, rowsToCsv, rowsToJsonLines, type SearchRow } from "./search-row.ts";

const FORMAT = 1;
const CONFIG = "search.json";
const seedFile = /^(\d+)\.json$/;

const configSchema = z.strictObject({
  format: z.literal(FORMAT),
  /** Version of widefield that began the search. */
  widefield: z.string(),
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
export type SearchConfig = Omit<StoredConfig, "format" | "widefield">;

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

export class SearchFolder {
  readonly path: string;
  private readonly files: Files;
  private readonly finished: Map<number, SearchRow>;

  private constructor(files: Files, path: string, rows: Map<number, SearchRow>) {
    this.files = files;
    this.path = path;
    this.finished = rows;
  }

  /**
   * Begins a search in a folder (made where its parent is there), or goes on with it.
   *
   * @throws WidefieldError E_MISMATCH, line by line, for the folder of another configuration, or one that holds other
   *   things; E_CORRUPT for a damaged record; E_IO
   */
  static async open(files: Files, path: string, config: SearchConfig): Promise<SearchFolder> {
    await files.makeFolder(path);
    const asked: StoredConfig = { format: FORMAT, widefield: WIDEFIELD_VERSION, ...config };
    requireSameSearch(path, await configOf(files, path, asked), asked);
    await files.makeFolder(`${path}/seeds`);
    const folder = new SearchFolder(files, path, new Map());
    await folder.refresh();
    return folder;
  }

  /** Finished seeds, of this process and others, in the order of their numbers. */
  get rows(): readonly SearchRow[] {
    return [...this.finished.values()].sort((a, b) => a.seed - b.seed);
  }

  has(seed: number): boolean {
    return this.finished.has(seed);
  }

  /** Records a finished seed, and brings the tables up to date. */
  async add(row: SearchRow): Promise<void> {
    const name = String(row.seed).padStart(4, "0");
    await replaceFile(this.files, `${this.path}/seeds/${name}.json`, encode(`${JSON.stringify(row)}\n`));
    await this.writeTables();
  }

  /**
   * Writes the tables until no other process has finished a seed meanwhile: of several that write at once the last
   * one then has all rows.
   */
  async writeTables(): Promise<void> {
    await this.refresh();
    let written: number;
    do {
      written = this.finished.size;
      await this.write("results.csv", rowsToCsv(this.rows));
      await this.write("results.jsonl", rowsToJsonLines(this.rows));
      await this.refresh();
    } while (this.finished.size > written);
  }

  /** Writes a file of this folder, whole or not at all; returns its path. */
  async write(name: string, content: string | Uint8Array): Promise<string> {
    const path = `${this.path}/${name}`;
    await replaceFile(this.files, path, typeof content === "string" ? encode(content) : content);
    return path;
  }

  private async refresh(): Promise<void> {
    for (const name of await this.files.list(`${this.path}/seeds`)) {
      const path = `${this.path}/seeds/${name}`;
      if (await isAbandoned(this.files, name)) await this.files.remove(path);
      const seed = seedFile.exec(name)?.[1];
      if (seed === undefined || this.finished.has(Number(seed))) continue;
      const bytes = await this.files.read(path);
      if (bytes !== undefined) this.finished.set(Number(seed), readRow(path, Number(seed), bytes));
    }
  }
}

/** The folder's configuration, which is `asked` where there was none. */
async function configOf(files: Files, folder: string, asked: StoredConfig): Promise<StoredConfig> {
  const path = `${folder}/${CONFIG}`;
  for (;;) {
    const bytes = await readSettled(files, path);
    if (bytes !== undefined) return readConfig(path, bytes);
    const others = (await files.list(folder)).filter((name) => !name.startsWith(".") && !isTemporary(name));
    if (others.length > 0 && !others.includes(CONFIG))
      throw new WidefieldError(
        "E_MISMATCH",
        `${folder} is not a search's folder: it holds ${others.slice(0, 3).join(", ")}${others.length > 3 ? ", ..." : ""} ` +
          `and no ${CONFIG}; choose a new or an empty folder`,
        { details: { path: folder } },
      );
    if (await createFile(files, path, encode(`${JSON.stringify(asked, null, 2)}\n`))) return asked;
  }
}

function readConfig(path: string, bytes: Uint8Array): StoredConfig {
  try {
    return configSchema.parse(JSON.parse(decode(bytes)));
  } catch (cause) {
    throw new WidefieldError("E_CORRUPT", `${path} is no search's configuration: ${reasonOf(cause)}`, { cause });
  }
}

function readRow(path: string, seed: number, bytes: Uint8Array): SearchRow {
  try {
    const row = rowSchema.parse(JSON.parse(decode(bytes)));
    if (row.seed !== seed || row.drawn.seed !== seed) throw new Error(`it is of seed ${row.seed}`);
    return row;
  } catch (cause) {
    throw new WidefieldError(
      "E_CORRUPT",
      `${path} is damaged: ${reasonOf(cause)}; remove it, and the same command runs seed ${seed} again`,
      { cause, details: { path, seed } },
    );
  }
}

function reasonOf(cause: unknown): string {
  return cause instanceof z.ZodError ? z.prettifyError(cause) : messageOf(cause);
}

/** What two searches must share: not the data set's name, and of the version what a patch release leaves alone. */
function identityOf({ widefield, dataset, ...rest }: StoredConfig) {
  return { widefield: widefield.split(".").slice(0, 2).join("."), dataset: { sha256: dataset.sha256 }, ...rest };
}

function requireSameSearch(path: string, stored: StoredConfig, asked: StoredConfig): void {
  const lines = differences(identityOf(stored), identityOf(asked));
  if (lines.length === 0) return;
  throw new WidefieldError(
    "E_MISMATCH",
    `${path} holds another search (stored -> asked for):\n${lines.map((line) => `  ${line}`).join("\n")}\n` +
      `Choose another folder for the new search, or remove the old one.`,
    { details: { path, differences: lines } },
  );
}
