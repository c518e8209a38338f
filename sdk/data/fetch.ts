/**
 * Downloading a published dataset into a folder: what is there already, by its digest, is left alone; what is not is
 * downloaded (`fetch-file.ts`), verified, and renamed or unpacked (`fetch-archive.ts`). A run that is cut short anywhere
 * goes on where it was.
 */
import * as z from "zod";
import { WidefieldError } from "../errors.ts";
import { sha256 } from "../platform/digest.ts";
import { type Files, replaceFile } from "../platform/files.ts";
import { lockFile } from "../platform/lock.ts";
import { otherContent, unpackArchive } from "./fetch-archive.ts";
import { downloadPart, partOf, removePart, type RetryOptions, type Transfer } from "./fetch-file.ts";
import { type Archive, type DatasetSource, type Download, SOURCES } from "./fetch-sources.ts";
import { GzipError, gunzip } from "./gzip.ts";
import { DATASETS, findNamed } from "./registry.ts";

export interface FetchOptions {
  /** `nodeFiles()` in Node and Deno. */
  readonly files: Files;
  /** Default: `data/NAME` in the working directory. Created where it is not there. */
  readonly dataDir?: string;
  /** A base address to use in place of the official one and its mirrors. */
  readonly url?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: FetchProgress) => void;
  /** Takes a line about what is being done: retries, mirrors. */
  readonly log?: (line: string) => void;
  readonly retry?: RetryOptions;
  /** Default: `SOURCES`. */
  readonly sources?: readonly DatasetSource[];
}

export interface FetchProgress {
  readonly file: string;
  /** Bytes of all that this run has to download, including what an earlier one left. */
  readonly done: number;
  readonly total: number;
  /** Bytes per second of this run; 0 at first. */
  readonly rate: number;
}

export interface FetchedFile {
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly status: "present" | "downloaded" | "unpacked";
}

export interface FetchReport {
  readonly name: string;
  /** What `loadDataset` calls it. */
  readonly dataset: string;
  readonly folder: string;
  readonly files: readonly FetchedFile[];
  /** Over the network, in this run. */
  readonly downloadedBytes: number;
}

/**
 * Downloads a dataset.
 *
 * @throws WidefieldError E_CONFIG for names that are not downloaded, and addresses that are none; E_DATA where other files
 *   stand in the place of the dataset's; E_CORRUPT where what arrived is not what was published; E_IO where the network or
 *   the disk failed (what arrived is kept); E_LOCKED where another process downloads into the folder; E_ABORTED
 */
export async function fetchDataset(name: string, options: FetchOptions): Promise<FetchReport> {
  const source = findSource(name, options.sources ?? SOURCES);
  const { files } = options;
  const folder = folderOf(options.dataDir ?? `data/${source.name}`);
  const bases = options.url === undefined ? source.bases : [baseOf(options.url)];
  await makeFolders(files, folder);
  const lock = await lockFile(files, `${folder}/.fetch.lock`, {
    name: `the download into ${folder}`,
    advice: "wait for it to end, or choose another folder (--data-dir)",
  });
  try {
    const run = new Run(folder, bases, options);
    const { archive } = source;
    const fetched = archive === undefined ? await run.files(source) : await run.archive(source, archive);
    return { name: source.name, dataset: source.dataset, folder, files: fetched, downloadedBytes: run.downloadedBytes };
  } finally {
    await lock.release();
  }
}

function findSource(name: string, sources: readonly DatasetSource[]): DatasetSource {
  const wanted = name.toLowerCase();
  const known = DATASETS.find((entry) => entry.name === wanted);
  if (known === undefined || sources.some((source) => source.name === wanted))
    return findNamed(name, sources, "dataset to download is named");
  const reason =
    known.files === undefined
      ? "it is made from a seed and needs no files"
      : known.shape === undefined
        ? "its files are your own"
        : "no address with known digests is known for it";
  throw new WidefieldError("E_CONFIG", `${known.name} is not downloaded: ${reason}`, { details: { name: known.name } });
}

function folderOf(dataDir: string): string {
  if (dataDir === "") throw new WidefieldError("E_CONFIG", "--data-dir is empty: name the folder to download into");
  return dataDir.replace(/(?<=.)\/+$/, "");
}

function baseOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol === "http:" || parsed?.protocol === "https:") return url.endsWith("/") ? url : `${url}/`;
  throw new WidefieldError("E_CONFIG", `--url ${url}: give the http or https address below which the files are`);
}

async function makeFolders(files: Files, folder: string): Promise<void> {
  if ((await files.size(folder)) !== undefined) return;
  const parent = folder.slice(0, Math.max(0, folder.lastIndexOf("/")));
  if (parent !== "") await makeFolders(files, parent);
  await files.makeFolder(folder);
}

const unpackedSchema = z.object({
  archive: z.string(),
  files: z.array(z.object({ name: z.string(), sha256: z.string() })),
});

/** One run of a download, and its progress. */
class Run {
  downloadedBytes = 0;
  private readonly folder: string;
  private readonly bases: readonly string[];
  private readonly options: FetchOptions;
  private readonly disk: Files;
  /** Of downloads that this run has finished, and of all it has to do. */
  private finished = 0;
  private total = 0;
  private begun: number | undefined;

  constructor(folder: string, bases: readonly string[], options: FetchOptions) {
    this.folder = folder;
    this.bases = bases;
    this.options = options;
    this.disk = options.files;
  }

  /** Files that are kept as they come. */
  async files({ dataset, downloads }: DatasetSource): Promise<readonly FetchedFile[]> {
    const present = new Map<Download, FetchedFile>();
    for (const download of downloads) {
      const file = await this.presentFile(download, contentDigests(dataset)[download.file.replace(/\.gz$/, "")]);
      if (file !== undefined) present.set(download, file);
      else this.total += download.bytes;
    }
    const fetched: FetchedFile[] = [];
    for (const download of downloads) fetched.push(present.get(download) ?? (await this.fetchFile(download)));
    return fetched;
  }

  /** The file where it is there already, unpacked or packed in whichever way; what is not it is refused. */
  private async presentFile(download: Download, content: string | undefined): Promise<FetchedFile | undefined> {
    const { file } = download;
    const path = `${this.folder}/${file}`;
    // In the order in which a loader looks for them.
    const plain = path.replace(/\.gz$/, "");
    if (plain !== path && (await this.disk.size(plain)) !== undefined) {
      const found = await this.describe(file.replace(/\.gz$/, ""), plain);
      if (found.sha256 === content) return found;
      throw content === undefined ? notComparable(plain, file) : otherContent(plain, found.sha256, content);
    }
    if ((await this.disk.size(path)) === undefined) return undefined;
    const found = await this.describe(file, path);
    if (found.sha256 === download.sha256 || (content !== undefined && (await this.contentDigest(path)) === content))
      return found;
    throw otherContent(path, found.sha256, download.sha256);
  }

  private async describe(name: string, path: string): Promise<FetchedFile> {
    const bytes = (await this.disk.size(path)) ?? 0;
    return { name, path, bytes, sha256: await this.disk.sha256(path), status: "present" };
  }

  private async contentDigest(path: string): Promise<string | undefined> {
    const packed = await this.disk.read(path);
    try {
      return packed === undefined ? undefined : await sha256(await gunzip(packed, path));
    } catch (thrown) {
      if (thrown instanceof GzipError) return undefined;
      throw thrown;
    }
  }

  private async fetchFile(download: Download): Promise<FetchedFile> {
    const path = `${this.folder}/${download.file}`;
    await this.download(path, download);
    await this.disk.rename(partOf(path), path);
    const { file: name, bytes, sha256 } = download;
    return { name, path, bytes, sha256, status: "downloaded" };
  }

  /** Brings the whole, verified file to `partOf(path)`. */
  private async download(path: string, download: Download): Promise<void> {
    const { options, finished } = this;
    let last: number | undefined;
    const transfer: Transfer = {
      files: this.disk,
      retry: options.retry ?? {},
      signal: options.signal,
      log: options.log ?? (() => undefined),
      onBytes: (done) => {
        // The first call tells what was there, and one that goes back that it is begun anew.
        if (last !== undefined && done > last) this.downloadedBytes += done - last;
        last = done;
        this.tell(download.file, finished + done);
      },
    };
    await downloadPart(path, download, this.bases, transfer);
    this.finished += download.bytes;
  }

  private tell(file: string, done: number): void {
    const now = performance.now();
    this.begun ??= now;
    const seconds = (now - this.begun) / 1000;
    const rate = seconds > 0 ? this.downloadedBytes / seconds : 0;
    this.options.onProgress?.({ file, done, total: this.total, rate });
  }

  /** Files that come in one archive, which is not kept. */
  async archive({ dataset }: DatasetSource, archive: Archive): Promise<readonly FetchedFile[]> {
    const present = await this.presentMembers(archive, contentDigests(dataset));
    if (present !== undefined) return present;
    const path = `${this.folder}/${archive.file}`;
    // One that somebody has put there will do, and stays.
    const own = (await this.disk.size(path)) === archive.bytes && (await this.disk.sha256(path)) === archive.sha256;
    if (!own) {
      this.total = archive.bytes;
      await this.download(path, archive);
    }
    const packed = own ? path : partOf(path);
    const digests = contentDigests(dataset);
    this.options.log?.(`unpacking ${archive.file}`);
    const unpacked = await unpackArchive(this.disk, packed, archive, this.folder, digests, this.options.signal);
    const list = { archive: archive.sha256, files: unpacked.map(({ name, sha256 }) => ({ name, sha256 })) };
    await replaceFile(this.disk, this.listPath, new TextEncoder().encode(`${JSON.stringify(list)}\n`));
    if (!own) await removePart(this.disk, path);
    return unpacked.map((file) => ({ ...file, status: "unpacked" }));
  }

  /** What was unpacked, for the next run: of CIFAR-10's Python version only the archive's digest is published. */
  private get listPath(): string {
    return `${this.folder}/fetched.json`;
  }

  private async presentMembers(
    archive: Archive,
    published: Readonly<Record<string, string>>,
  ): Promise<readonly FetchedFile[] | undefined> {
    const listed = await this.listed(archive);
    const present: FetchedFile[] = [];
    for (const { name } of archive.members) {
      const path = `${this.folder}/${name}`;
      if ((await this.disk.size(path)) === undefined) continue;
      const found = await this.describe(name, path);
      const expected = published[name] ?? listed[name];
      // Where no digest is known yet, the archive will tell.
      if (expected === undefined) continue;
      if (found.sha256 !== expected) throw otherContent(path, found.sha256, expected);
      present.push(found);
    }
    return present.length === archive.members.length ? present : undefined;
  }

  private async listed(archive: Archive): Promise<Readonly<Record<string, string>>> {
    const bytes = await this.disk.read(this.listPath);
    try {
      const list = unpackedSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
      return list.archive === archive.sha256
        ? Object.fromEntries(list.files.map(({ name, sha256 }) => [name, sha256]))
        : {};
    } catch {
      // Not there, or not ours: the archive will tell.
      return {};
    }
  }
}

function notComparable(plain: string, file: string): WidefieldError {
  return new WidefieldError(
    "E_DATA",
    `${plain} is there already, unpacked, and cannot be compared with the published file: only the digest of the packed ` +
      `one, ${file}, is known. Use it as it is, or move it away, or download into another folder (--data-dir)`,
    { details: { path: plain } },
  );
}

/** SHA-256 of a dataset's published files, unpacked. */
function contentDigests(dataset: string): Readonly<Record<string, string>> {
  const entry = DATASETS.find(({ name }) => name === dataset);
  return entry?.shape === undefined ? {} : (entry.files?.sha256 ?? {});
}
