/**
 * The folder of an experiment of many independent parts, each of which leaves one row:
 *
 *     search.json                  what all parts have in common
 *     seeds/0031.json              the row of one finished part, written whole or not at all
 *     results.csv, results.jsonl   all finished rows in their order
 *
 * The rows' files are the record, the tables are made from them. Several processes may share the folder (shards). What a
 * search and a sweep make of it stands in `search-folder.ts` and `sweep-folder.ts`.
 */
import * as z from "zod";
import { differences, type Json } from "../covariance/store/manifest.ts";
import { messageOf, WidefieldError } from "../errors.ts";
import { createFile, isAbandoned, isTemporary, readSettled, replaceFile, type Files } from "../platform/files.ts";

const FORMAT = 1;

/** Fields of every configuration, and what they are in one that is written today. */
export const commonConfig = {
  format: z.literal(FORMAT),
  /** Version of widefield that began the experiment. */
  widefield: z.string(),
};
export const currentConfig = { format: FORMAT, widefield: WIDEFIELD_VERSION } as const;

export type Config = z.infer<z.ZodObject<typeof commonConfig>> & Readonly<Record<string, Json>>;

/** What one kind of experiment has of its own. A row's key says whose it is, and its file's stem is made from it. */
export interface RecordKind<Stored extends Config, Key extends string | number, Row> {
  /** In messages, and of the configuration's file: "search". */
  readonly name: string;
  /** What a row is of: "seed". */
  readonly part: string;
  readonly config: z.ZodType<Stored>;
  /** What two configurations must share, beside the version. */
  sharedOf(config: Omit<Stored, "widefield">): Readonly<Record<string, Json>>;
  stemOf(row: Row): string;
  /** Undefined for the file of something else. */
  keyOf(stem: string): Key | undefined;
  /** Throws where the value is not the row of this key. */
  parseRow(value: unknown, key: Key): Row;
  /** What the same command does once a damaged row is removed: "runs seed 31 again". */
  again(key: Key): string;
  /** The finished rows, in the tables' order. */
  inOrder(finished: ReadonlyMap<Key, Row>): readonly Row[];
  csv(rows: readonly Row[]): string;
}

/** Differences of two configurations that are told; a grid of other ridges differs in every one. */
const MOST_LINES = 12;

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const jsonLine = (row: unknown) => `${JSON.stringify(row)}\n`;

export class RecordFolder<Stored extends Config, Key extends string | number, Row> {
  readonly path: string;
  private readonly files: Files;
  private readonly kind: RecordKind<Stored, Key, Row>;
  private readonly finished = new Map<Key, Row>();

  protected constructor(files: Files, path: string, kind: RecordKind<Stored, Key, Row>) {
    this.files = files;
    this.path = path;
    this.kind = kind;
  }

  /** Begins the experiment (its folder is made where the parent is there), or goes on with it. */
  protected async begin(asked: Stored): Promise<void> {
    await this.files.makeFolder(this.path);
    this.requireSame(await this.configOf(asked), asked);
    await this.files.makeFolder(this.rowFolder);
    await this.refresh();
  }

  /** Finished rows, of this process and others, in their order. */
  get rows(): readonly Row[] {
    return this.kind.inOrder(this.finished);
  }

  has(key: Key): boolean {
    return this.finished.has(key);
  }

  /** Records a finished part, and brings the tables up to date. */
  async add(row: Row): Promise<void> {
    await replaceFile(this.files, `${this.rowFolder}/${this.kind.stemOf(row)}.json`, encode(jsonLine(row)));
    await this.writeTables();
  }

  /**
   * Writes the tables until no other process has finished a part meanwhile: of several that write at once the last one
   * then has all rows.
   */
  async writeTables(): Promise<void> {
    await this.refresh();
    let written: number;
    do {
      written = this.finished.size;
      await this.write("results.csv", this.kind.csv(this.rows));
      await this.write("results.jsonl", this.rows.map(jsonLine).join(""));
      await this.refresh();
    } while (this.finished.size > written);
  }

  /** Writes a file of this folder, whole or not at all; returns its path. */
  async write(name: string, content: string | Uint8Array): Promise<string> {
    const path = `${this.path}/${name}`;
    await replaceFile(this.files, path, typeof content === "string" ? encode(content) : content);
    return path;
  }

  private get rowFolder(): string {
    return `${this.path}/${this.kind.part}s`;
  }

  private async refresh(): Promise<void> {
    for (const name of await this.files.list(this.rowFolder)) {
      const path = `${this.rowFolder}/${name}`;
      if (await isAbandoned(this.files, name)) await this.files.remove(path);
      const key = name.endsWith(".json") ? this.kind.keyOf(name.slice(0, -".json".length)) : undefined;
      if (key === undefined || this.finished.has(key)) continue;
      const bytes = await this.files.read(path);
      if (bytes !== undefined) this.finished.set(key, this.readRow(path, key, bytes));
    }
  }

  /** The folder's configuration, which is `asked` where there was none. */
  private async configOf(asked: Stored): Promise<Stored> {
    const { name } = this.kind;
    const file = `${name}.json`;
    const path = `${this.path}/${file}`;
    for (;;) {
      const bytes = await readSettled(this.files, path);
      if (bytes !== undefined) return this.readConfig(path, bytes);
      const others = (await this.files.list(this.path)).filter((one) => !one.startsWith(".") && !isTemporary(one));
      if (others.length > 0 && !others.includes(file))
        throw new WidefieldError(
          "E_MISMATCH",
          `${this.path} is not a ${name}'s folder: it holds ${others.slice(0, 3).join(", ")}` +
            `${others.length > 3 ? ", ..." : ""} and no ${file}; choose a new or an empty folder`,
          { details: { path: this.path } },
        );
      if (await createFile(this.files, path, encode(`${JSON.stringify(asked, null, 2)}\n`))) return asked;
    }
  }

  private readConfig(path: string, bytes: Uint8Array): Stored {
    try {
      return this.kind.config.parse(JSON.parse(decode(bytes)));
    } catch (cause) {
      const message = `${path} is no ${this.kind.name}'s configuration: ${reasonOf(cause)}`;
      throw new WidefieldError("E_CORRUPT", message, { cause });
    }
  }

  private readRow(path: string, key: Key, bytes: Uint8Array): Row {
    try {
      return this.kind.parseRow(JSON.parse(decode(bytes)), key);
    } catch (cause) {
      throw new WidefieldError(
        "E_CORRUPT",
        `${path} is damaged: ${reasonOf(cause)}; remove it, and the same command ${this.kind.again(key)}`,
        { cause, details: { path, [this.kind.part]: key } },
      );
    }
  }

  private requireSame(stored: Stored, asked: Stored): void {
    const { path, kind } = this;
    const lines = differences(this.identityOf(stored), this.identityOf(asked));
    if (lines.length === 0) return;
    const more = lines.length > MOST_LINES ? [`... and ${lines.length - MOST_LINES} more`] : [];
    throw new WidefieldError(
      "E_MISMATCH",
      `${path} holds another ${kind.name} (stored -> asked for):\n` +
        [...lines.slice(0, MOST_LINES), ...more].map((line) => `  ${line}\n`).join("") +
        `Choose another folder for the new ${kind.name}, or remove the old one.`,
      { details: { path, differences: lines } },
    );
  }

  /** What two configurations must share: of the version what a patch release leaves alone. */
  private identityOf({ widefield, ...rest }: Stored): Readonly<Record<string, Json>> {
    return { widefield: widefield.split(".").slice(0, 2).join("."), ...this.kind.sharedOf(rest) };
  }
}

function reasonOf(cause: unknown): string {
  return cause instanceof z.ZodError ? z.prettifyError(cause) : messageOf(cause);
}
