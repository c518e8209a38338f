/**
 * The folder of a sweep over noise levels and models:
 *
 *     sweep.json                       the grid: problem, levels, models with their ridges, ranges
 *     cells/level-07.ntk2.json         one finished cell, written whole or not at all
 *     results.csv, results.jsonl       all finished cells in the grid's order
 *
 * The cells' files are the record, the tables are made from them. Several processes may share the folder (shards).
 */
import * as z from "zod";
import { differences, type Json } from "../covariance/store/manifest.ts";
import { messageOf, WidefieldError } from "../errors.ts";
import { createFile, isAbandoned, isTemporary, readSettled, replaceFile, type Files } from "../platform/files.ts";
import { sweepCsv, sweepRowSchema, type SweepRow } from "./sweep-row.ts";

const FORMAT = 1;
const CONFIG = "sweep.json";
const cellFile = /^([\w.+-]+)\.json$/;

const configSchema = z.strictObject({
  format: z.literal(FORMAT),
  /** Version of widefield that began the sweep. */
  widefield: z.string(),
  grid: z.json(),
});

type StoredConfig = z.infer<typeof configSchema>;

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

export class SweepFolder {
  readonly path: string;
  private readonly files: Files;
  /** In the grid's order. */
  private readonly cells: readonly string[];
  private readonly finished = new Map<string, SweepRow>();

  private constructor(files: Files, path: string, cells: readonly string[]) {
    this.files = files;
    this.path = path;
    this.cells = cells;
  }

  /**
   * Begins a sweep in a folder (made where its parent is there), or goes on with it. `grid` is all that its cells have in
   * common, `cells` their names.
   *
   * @throws WidefieldError E_MISMATCH, line by line, for the folder of another grid, or one that holds other things;
   *   E_CORRUPT for a damaged record; E_IO
   */
  static async open(files: Files, path: string, grid: Json, cells: readonly string[]): Promise<SweepFolder> {
    await files.makeFolder(path);
    const asked: StoredConfig = { format: FORMAT, widefield: WIDEFIELD_VERSION, grid };
    requireSameGrid(path, await configOf(files, path, asked), asked);
    await files.makeFolder(`${path}/cells`);
    const folder = new SweepFolder(files, path, cells);
    await folder.refresh();
    return folder;
  }

  /** Finished cells, of this process and others, in the grid's order. */
  get rows(): readonly SweepRow[] {
    return this.cells.flatMap((cell) => this.finished.get(cell) ?? []);
  }

  has(cell: string): boolean {
    return this.finished.has(cell);
  }

  /** Records a finished cell, and brings the tables up to date. */
  async add(row: SweepRow): Promise<void> {
    await replaceFile(this.files, `${this.path}/cells/${row.cell}.json`, encode(`${JSON.stringify(row)}\n`));
    await this.writeTables();
  }

  /**
   * Writes the tables until no other process has finished a cell meanwhile: of several that write at once the last one
   * then has all rows.
   */
  async writeTables(): Promise<void> {
    await this.refresh();
    let written: number;
    do {
      written = this.finished.size;
      await this.write("results.csv", sweepCsv(this.rows));
      await this.write("results.jsonl", this.rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
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
    for (const name of await this.files.list(`${this.path}/cells`)) {
      const path = `${this.path}/cells/${name}`;
      if (await isAbandoned(this.files, name)) await this.files.remove(path);
      const cell = isTemporary(name) ? undefined : cellFile.exec(name)?.[1];
      if (cell === undefined || this.finished.has(cell) || !this.cells.includes(cell)) continue;
      const bytes = await this.files.read(path);
      if (bytes !== undefined) this.finished.set(cell, readRow(path, cell, bytes));
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
        `${folder} is not a sweep's folder: it holds ${others.slice(0, 3).join(", ")}${others.length > 3 ? ", ..." : ""} ` +
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
    throw new WidefieldError("E_CORRUPT", `${path} is no sweep's configuration: ${reasonOf(cause)}`, { cause });
  }
}

function readRow(path: string, cell: string, bytes: Uint8Array): SweepRow {
  try {
    const row = sweepRowSchema.parse(JSON.parse(decode(bytes)));
    if (row.cell !== cell) throw new Error(`it is of ${row.cell}`);
    return row;
  } catch (cause) {
    throw new WidefieldError(
      "E_CORRUPT",
      `${path} is damaged: ${reasonOf(cause)}; remove it, and the same command computes that cell again`,
      { cause, details: { path, cell } },
    );
  }
}

function reasonOf(cause: unknown): string {
  return cause instanceof z.ZodError ? z.prettifyError(cause) : messageOf(cause);
}

/** Of the version what a patch release leaves alone. */
function identityOf({ widefield, ...rest }: StoredConfig) {
  return { widefield: widefield.split(".").slice(0, 2).join("."), ...rest };
}

/** Differences that are told; a grid of other ridges differs in every one. */
const MOST_LINES = 12;

function requireSameGrid(path: string, stored: StoredConfig, asked: StoredConfig): void {
  const lines = differences(identityOf(stored), identityOf(asked));
  if (lines.length === 0) return;
  const more = lines.length > MOST_LINES ? [`... and ${lines.length - MOST_LINES} more`] : [];
  throw new WidefieldError(
    "E_MISMATCH",
    `${path} holds another sweep (stored -> asked for):\n` +
      [...lines.slice(0, MOST_LINES), ...more].map((line) => `  ${line}\n`).join("") +
      `Choose another folder for the new sweep, or remove the old one.`,
    { details: { path, differences: lines } },
  );
}
