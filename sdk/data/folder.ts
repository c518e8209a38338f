/** The files of a dataset's folder, packed or not: finding them, and saying which are missing. */
import { WidefieldError } from "../errors.ts";
import { sha256 } from "../platform/digest.ts";
import { SOURCES } from "./fetch-sources.ts";
import { gunzip, isGzip } from "./gzip.ts";
import type { ReadFile } from "./idx.ts";

export interface DataFile {
  /** As published, without `.gz`. */
  readonly name: string;
  /** Where it was found. */
  readonly path: string;
  /** Unpacked. */
  readonly bytes: number;
  /** Of the unpacked content. */
  readonly sha256: () => Promise<string>;
  /** SHA-256 of the file as it was found, where that was packed. */
  readonly packedSha256?: string;
  /** Of CIFAR's batches and SVHN's files: how many images the file holds, and the published one. */
  readonly records?: { readonly count: number; readonly published: number };
}

/** A file that is in memory. */
export interface UnpackedFile extends DataFile {
  readonly content: Uint8Array;
}

/** A file as it was found. */
export interface Found {
  readonly name: string;
  readonly path: string;
  readonly bytes: Uint8Array;
}

export interface FolderOptions {
  readonly dataDir?: string;
  readonly readFile?: ReadFile;
  /** Takes a line about what was found that the caller may want to know. */
  readonly log?: (line: string) => void;
}

/** Throws E_CONFIG where the folder, or the way to read it, is not given. */
export function requireFolder(
  name: string,
  { dataDir, readFile }: FolderOptions,
): { readonly dataDir: string; readonly readFile: ReadFile } {
  if (dataDir === undefined || dataDir === "") {
    throw new WidefieldError(
      "E_CONFIG",
      `${name} is read from files: give the folder that holds them (--data-dir, or dataDir)${downloadHint(name)}; ` +
        `"digits" is a dataset without files`,
    );
  }
  if (readFile === undefined)
    throw new WidefieldError("E_CONFIG", `${name} is read from files: give readFile, which reads one`);
  return { dataDir, readFile };
}

/** Where a file is looked for. */
export function candidates(dataDir: string, name: string): readonly string[] {
  const folder = dataDir.replace(/(?<=.)\/+$/, "");
  const path = folder === "/" ? `/${name}` : `${folder}/${name}`;
  return [path, `${path}.gz`];
}

/** The file, as it is or packed; undefined where there is neither. */
export async function findFile(dataDir: string, name: string, readFile: ReadFile): Promise<Found | undefined> {
  for (const path of candidates(dataDir, name)) {
    const bytes = await readFile(path);
    if (bytes !== undefined) return { name, path, bytes };
  }
  return undefined;
}

/** The file's content, whatever its name says about its packing. Throws GzipError (E_DATA). */
export async function unpackFound({ name, path, bytes }: Found): Promise<UnpackedFile> {
  return unpackedFile(name, path, isGzip(bytes) ? await gunzip(bytes, path) : bytes);
}

/** A file of this content. */
export function unpackedFile(name: string, path: string, content: Uint8Array): UnpackedFile {
  return { name, path, content, bytes: content.length, sha256: async () => sha256(content) };
}

/** Throws E_DATA where files are missing, with where they were looked for; `instead`: others that would do. */
export function requireNoneMissing(name: string, dataDir: string, missing: readonly string[], instead?: string): void {
  if (missing.length === 0) return;
  const plural = missing.length === 1 ? "a file is" : `${missing.length} files are`;
  const looked = missing.flatMap((file) => candidates(dataDir, file)).join(", ");
  const others = instead === undefined ? "" : `, and for ${instead}`;
  const message = `${name}: ${plural} missing in ${dataDir}; looked for ${looked}${others}${downloadHint(name)}`;
  throw new WidefieldError("E_DATA", message, { details: { dataDir, missing } });
}

function downloadHint(name: string): string {
  if (!SOURCES.some((source) => source.name === name)) return "";
  return `; \`widefield data fetch ${name}\` downloads it`;
}
