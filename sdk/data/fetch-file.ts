/**
 * One download over HTTP into `NAME.part`, however often the line is cut: what has arrived is kept and asked for no more
 * (Range, with If-Range where the server gave a strong ETag), a server that sends everything again is begun anew, and
 * what is whole by its size has still to pass its SHA-256. Whose bytes those were does not matter, then: a part may come
 * from one mirror and the rest from another. Where they turn out to be wrong, the part that was there gets the blame
 * first, and is begun anew; then the address does, and the next one is asked.
 */
import * as z from "zod";
import { messageOf, WidefieldError, type ErrorCode } from "../errors.ts";
import { type Files, replaceFile, systemCode } from "../platform/files.ts";
import type { Download } from "./fetch-sources.ts";

export interface RetryOptions {
  /** How many times in a row a connection may fail before an address is given up. Default 5. */
  readonly attempts?: number;
  /** Before the second attempt; doubled for each that follows. Default 1000. */
  readonly delayMs?: number;
  /** A connection on which nothing arrives for so long is taken for cut. Default 60,000. */
  readonly stallMs?: number;
}

export interface Transfer {
  readonly files: Files;
  readonly retry: RetryOptions;
  readonly signal: AbortSignal | undefined;
  readonly log: (line: string) => void;
  /** Bytes of the file that are there. */
  readonly onBytes: (done: number) => void;
}

/** Attempts are counted anew after a connection that brought so many bytes that were never there before. */
const PROGRESS_BYTES = 2 ** 20;

/** A connection that failed, and may do better next time. */
class Interrupted extends Error {}

/** An address that is of no use. */
class Unavailable extends Error {
  readonly code: ErrorCode;

  constructor(message: string, code: ErrorCode = "E_IO") {
    super(message);
    this.code = code;
  }
}

/**
 * Downloads to `partOf(path)` from the first address that has the file, and verifies it. The caller renames.
 *
 * @returns how many bytes were there before
 * @throws WidefieldError E_IO where no address could be read to the end (the part is kept); E_CORRUPT where what arrived
 *   from every address is not what was published (the part is removed); E_ABORTED
 */
export async function downloadPart(
  path: string,
  download: Download,
  bases: readonly string[],
  transfer: Transfer,
): Promise<{ readonly resumedFrom: number }> {
  const { files, log } = transfer;
  const part = partOf(path);
  const resumedFrom = (await files.size(part)) ?? 0;
  const problems: Unavailable[] = [];
  for (const base of bases) {
    const url = `${base}${download.file}`;
    try {
      await downloadVerified(url, path, download, transfer);
      return { resumedFrom };
    } catch (thrown) {
      if (!(thrown instanceof Unavailable)) throw thrown;
      problems.push(thrown);
      if (problems.length < bases.length) log(`${thrown.message}; trying the next address`);
    }
  }
  const done = (await files.size(part)) ?? 0;
  const corrupt = problems.length > 0 && problems.every(({ code }) => code === "E_CORRUPT");
  const goesOn =
    done === 0
      ? "nothing was kept; check the network or give another address with --url, and run the same command again"
      : `${done} of ${download.bytes} bytes are kept in ${part}, and the same command goes on from there`;
  throw new WidefieldError(
    corrupt ? "E_CORRUPT" : "E_IO",
    `${download.file}: ${problems.map(({ message }) => message).join("; ")}; ${goesOn}`,
    { details: { file: download.file, done, bytes: download.bytes, part } },
  );
}

export function partOf(path: string): string {
  return `${path}.part`;
}

/** Where the ETag of a part is kept, with the address that gave it. */
function tagOf(part: string): string {
  return `${part}.etag`;
}

export async function removePart(files: Files, path: string): Promise<void> {
  await removeScratch(files, partOf(path));
}

async function removeScratch(files: Files, part: string): Promise<void> {
  await files.remove(tagOf(part));
  await files.remove(part);
}

/** From one address. What was there before may be a part of something else: with it the file is wrong once, without it the address is. */
async function downloadVerified(url: string, path: string, download: Download, transfer: Transfer): Promise<void> {
  const { files, log } = transfer;
  const part = partOf(path);
  for (;;) {
    const had = (await files.size(part)) ?? 0;
    await downloadFrom(url, part, download, transfer);
    const found = await files.sha256(part);
    if (found === download.sha256) {
      await files.remove(tagOf(part));
      return;
    }
    await removePart(files, path);
    const problem = `what arrived has SHA-256 ${found}, and the published file ${download.sha256}`;
    if (had === 0)
      throw new Unavailable(`${url}: ${problem}: it was changed or damaged on the way, and is removed`, "E_CORRUPT");
    log(`${url}: ${problem}; the ${had} bytes that were here before may be another file's, and it is begun anew`);
  }
}

async function downloadFrom(url: string, part: string, download: Download, transfer: Transfer): Promise<void> {
  const { files, log, signal, onBytes } = transfer;
  const { attempts = 5, delayMs = 1000 } = transfer.retry;
  // The most that was ever there: bytes that come a second time, from a server that always begins anew, are no progress.
  let reached = 0;
  for (let failures = 0; ;) {
    let had = (await files.size(part)) ?? 0;
    if (had > download.bytes) {
      await files.remove(part);
      had = 0;
    }
    onBytes(had);
    reached = Math.max(reached, had);
    if (had === download.bytes) return;
    try {
      requireGoingOn(signal, download, had);
      await attempt(url, part, had, download, transfer);
    } catch (thrown) {
      const done = (await files.size(part)) ?? 0;
      requireGoingOn(signal, download, done);
      if (!(thrown instanceof Interrupted)) throw thrown;
      failures = done - reached >= PROGRESS_BYTES ? 1 : failures + 1;
      const problem = `${url}: ${thrown.message}`;
      if (failures >= attempts) throw new Unavailable(`${problem} (attempt ${failures} of ${attempts})`);
      const wait = delayMs * 2 ** (failures - 1);
      log(`${problem} after ${done} of ${download.bytes} bytes; trying again in ${wait / 1000} s`);
      await sleep(wait, signal);
    }
  }
}

function requireGoingOn(signal: AbortSignal | undefined, { file, bytes }: Download, done: number): void {
  if (signal?.aborted !== true) return;
  const message = `stopped after ${done} of ${bytes} bytes of ${file}; the same command goes on from there`;
  throw new WidefieldError("E_ABORTED", message, { details: { file, done, bytes } });
}

async function sleep(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", wake);
      resolve();
    };
    const timer = setTimeout(wake, milliseconds);
    if (signal?.aborted === true) wake();
    else signal?.addEventListener("abort", wake);
  });
}

/** One connection, from byte `had` on. */
async function attempt(url: string, part: string, had: number, download: Download, transfer: Transfer): Promise<void> {
  const { files, log, signal, retry, onBytes } = transfer;
  const { stallMs = 60_000 } = retry;
  const stalled = new AbortController();
  const stall = () => stalled.abort();
  let timer = setTimeout(stall, stallMs);
  let reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | undefined;
  try {
    const response = await connection(async () =>
      fetch(url, {
        headers: await requestHeaders(files, url, part, had),
        signal: signal === undefined ? stalled.signal : AbortSignal.any([signal, stalled.signal]),
      }),
    );
    reader = response.body?.getReader();
    let at = startOf(response, url, had, download);
    if (at === undefined) {
      await files.remove(part);
      throw new Interrupted("the server cannot go on from the part that is here, which is begun anew");
    }
    if (at < had) {
      log(`${url}: the server sends the whole file again`);
      await files.remove(part);
    }
    await keepTag(files, url, part, response.headers.get("etag"));
    const file = await files.openScratch(part);
    let other: Unavailable | undefined;
    try {
      while (other === undefined) {
        const piece = await connection(async () => reader?.read());
        if (piece === undefined || piece.done) break;
        clearTimeout(timer);
        timer = setTimeout(stall, stallMs);
        if (at + piece.value.length > download.bytes) other = tooLong(url, download);
        else {
          await file.write(piece.value, at);
          at += piece.value.length;
          onBytes(at);
        }
      }
      await file.sync();
    } finally {
      await file.close();
    }
    // A stream of no announced length that ends in good order was whole: a page, most likely.
    if (at < download.bytes && response.status === 200 && !response.headers.has("content-length"))
      other ??= wrongSize(url, String(at), download);
    if (other !== undefined) {
      // What it sent would spoil the next address's file.
      await removeScratch(files, part);
      throw other;
    }
    if (at < download.bytes) throw new Interrupted("the connection was closed");
  } catch (thrown) {
    if (stalled.signal.aborted) throw new Interrupted(`nothing arrived for ${stallMs / 1000} s`);
    throw thrown;
  } finally {
    clearTimeout(timer);
    // A body that is left unread would hold its connection.
    await reader?.cancel().catch(() => undefined);
  }
}

/** What the network refuses: the runtimes' messages ("terminated", "fetch failed") say less than their causes. */
async function connection<T>(operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (thrown) {
    if (thrown instanceof WidefieldError) throw thrown;
    const cause = thrown instanceof Error ? thrown.cause : undefined;
    const code = systemCode(cause);
    const reason = cause === undefined ? messageOf(thrown) : messageOf(cause);
    throw new Interrupted(`the connection failed (${code === undefined ? reason : `${code}: ${reason}`})`);
  }
}

async function requestHeaders(
  files: Files,
  url: string,
  part: string,
  had: number,
): Promise<Readonly<Record<string, string>>> {
  // Digests are of the bytes as they are stored, not of what a server makes of them on the way.
  const identity = { "accept-encoding": "identity" };
  if (had === 0) return identity;
  const range = { ...identity, range: `bytes=${had}-` };
  const tag = await readTag(files, part);
  return tag?.url === url ? { ...range, "if-range": tag.etag } : range;
}

/** From which byte on the response's body is; undefined where the part has to go first. */
function startOf(response: Response, url: string, had: number, download: Download): number | undefined {
  const { status, headers } = response;
  if (status === 416) return undefined;
  if (status === 408 || status === 425 || status === 429 || status >= 500)
    throw new Interrupted(`the server answers ${status} ${response.statusText}`.trimEnd());
  if (status === 404 || status === 410) throw new Unavailable(`${url} is not there (${status})`);
  if (status !== 200 && status !== 206) throw new Unavailable(`${url}: the server answers ${status}`);
  const encoding = headers.get("content-encoding") ?? "identity";
  if (encoding !== "identity") throw new Unavailable(`${url}: the server sends it as ${encoding}, not as it is`);
  if (status === 200) {
    const length = headers.get("content-length");
    if (length !== null && Number(length) !== download.bytes) throw wrongSize(url, length, download);
    return 0;
  }
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get("content-range") ?? "");
  const [, first, total = "*"] = range ?? [];
  if (total !== "*" && Number(total) !== download.bytes) throw wrongSize(url, total, download);
  return Number(first) === had ? had : undefined;
}

function wrongSize(url: string, length: string, { bytes }: Download): Unavailable {
  return new Unavailable(
    `${url} has ${length} bytes, and the published file ${bytes}: it is another file (or a page in its place)`,
    "E_CORRUPT",
  );
}

function tooLong(url: string, { bytes }: Download): Unavailable {
  return new Unavailable(`${url} has more than the published file's ${bytes} bytes: it is another file`, "E_CORRUPT");
}

const tagSchema = z.object({ url: z.string(), etag: z.string() });

async function readTag(files: Files, part: string): Promise<z.infer<typeof tagSchema> | undefined> {
  const bytes = await files.read(tagOf(part));
  if (bytes === undefined) return undefined;
  try {
    return tagSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
  } catch {
    // Without it the part is asked for all the same, and the SHA-256 tells in the end.
    return undefined;
  }
}

/** Weak tags (W/"...") are of no use with ranges (RFC 9110, 13.1.5). */
async function keepTag(files: Files, url: string, part: string, etag: string | null): Promise<void> {
  if (etag === null || !etag.startsWith('"')) await files.remove(tagOf(part));
  else await replaceFile(files, tagOf(part), new TextEncoder().encode(`${JSON.stringify({ url, etag })}\n`));
}
