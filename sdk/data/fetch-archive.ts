/**
 * Taking a dataset's files out of the .tar.gz they are published in. No name of the archive becomes a path: entries are
 * compared with the names that are wanted, and all others are passed over. All files are written beside their places and
 * renamed when every one of them is there and right.
 */
import * as tar from "tar-stream";
import { messageOf, WidefieldError } from "../errors.ts";
import { discard, type Files, isAbandoned, temporaryName } from "../platform/files.ts";
import type { Archive } from "./fetch-sources.ts";

export interface Unpacked {
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

interface Pending extends Unpacked {
  readonly temporary: string;
}

/**
 * Unpacks the wanted files of `archivePath` into `folder`, in the order of `archive.members`.
 *
 * @param digests SHA-256 by name, where known
 * @throws WidefieldError E_CORRUPT where the archive lacks a file or holds it otherwise than expected; E_DATA where a file
 *   of that name and other content is there already; E_IO; E_ABORTED
 */
export async function unpackArchive(
  files: Files,
  archivePath: string,
  archive: Archive,
  folder: string,
  digests: Readonly<Record<string, string>>,
  signal?: AbortSignal,
): Promise<readonly Unpacked[]> {
  await removeAbandoned(files, folder, archive);
  const pending: Pending[] = [];
  try {
    for await (const entry of entriesOf(files, archivePath, signal)) {
      const member = archive.members.find(({ name }) => cleanName(entry.header.name) === `${archive.folder}/${name}`);
      if (member === undefined) {
        entry.resume();
        continue;
      }
      const { name, bytes } = member;
      const { type, size } = entry.header;
      if (type !== "file" || (bytes ?? size) !== size || pending.some((other) => other.name === name)) {
        const found = type === "file" ? `${size} bytes` : `a ${type}`;
        throw damaged(
          archivePath,
          `${name} is there as ${found}, not once as a file${bytes === undefined ? "" : ` of ${bytes} bytes`}`,
        );
      }
      const path = `${folder}/${name}`;
      const temporary = temporaryName(path, files.self);
      pending.push({ name, path, temporary, bytes: size, sha256: await written(files, temporary, entry, archivePath) });
    }
    for (const { name } of archive.members)
      if (!pending.some((file) => file.name === name)) throw damaged(archivePath, `it lacks ${name}`);
    for (const { name, sha256 } of pending) {
      const expected = digests[name];
      if (expected === undefined || expected === sha256) continue;
      throw damaged(archivePath, `its ${name} has SHA-256 ${sha256}, and the published one ${expected}`);
    }
    for (const file of pending) await requireSameIfThere(files, file);
    for (const { temporary, path } of pending) await files.rename(temporary, path);
  } catch (thrown) {
    for (const { temporary } of pending) await discard(files, temporary);
    throw thrown;
  }
  return archive.members.flatMap(({ name }) =>
    pending.filter((file) => file.name === name).map(({ path, bytes, sha256 }) => ({ name, path, bytes, sha256 })),
  );
}

/** "./folder/name" is the same as "folder/name"; nothing else is made of names. */
function cleanName(name: string): string {
  return name.replace(/^\.\//, "");
}

function damaged(path: string, problem: string, cause?: unknown): WidefieldError {
  return new WidefieldError("E_CORRUPT", `${path} is not the archive that was published: ${problem}`, {
    cause,
    details: { path },
  });
}

async function written(
  files: Files,
  path: string,
  pieces: AsyncIterable<unknown>,
  archivePath: string,
): Promise<string> {
  try {
    const file = await files.create(path);
    try {
      // The extractor's pieces are views of what it was given; its types do not say so.
      for await (const piece of pieces) if (piece instanceof Uint8Array) await file.write(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    return await files.sha256(path);
  } catch (thrown) {
    await discard(files, path);
    throw archiveError(archivePath, thrown);
  }
}

/** What the disk refuses and what stops us is told as it is; all else is what the archive's bytes are. */
function archiveError(path: string, thrown: unknown): WidefieldError {
  return thrown instanceof WidefieldError ? thrown : damaged(path, messageOf(thrown), thrown);
}

/** What somebody has put there is not replaced by something else. */
async function requireSameIfThere(files: Files, { path, sha256 }: Pending): Promise<void> {
  if ((await files.size(path)) === undefined) return;
  const found = await files.sha256(path);
  if (found !== sha256) throw otherContent(path, found, sha256);
}

export function otherContent(path: string, found: string, expected: string): WidefieldError {
  return new WidefieldError(
    "E_DATA",
    `${path} is there already, and is not the published file (SHA-256 ${found}, published ${expected}): move it away, or ` +
      "download into another folder (--data-dir)",
    { details: { path, sha256: found, expected } },
  );
}

/** Of a process that was killed while it unpacked. */
async function removeAbandoned(files: Files, folder: string, archive: Archive): Promise<void> {
  for (const name of await files.list(folder)) {
    const ours = archive.members.some((member) => name.startsWith(`${member.name}.~`));
    if (ours && (await isAbandoned(files, name))) await discard(files, `${folder}/${name}`);
  }
}

type Entry = tar.Extract extends AsyncIterable<infer T> ? T : never;

/** The archive's entries, one after the other; each has to be read or passed over (`resume`). */
async function* entriesOf(files: Files, path: string, signal: AbortSignal | undefined): AsyncGenerator<Entry> {
  const extract = tar.extract();
  const pumping = pump(files, path, extract, signal).catch((thrown: unknown) => {
    extract.destroy(thrown instanceof Error ? thrown : new Error(messageOf(thrown)));
  });
  try {
    yield* extract;
  } catch (thrown) {
    throw archiveError(path, thrown);
  } finally {
    extract.destroy();
    await pumping;
  }
}

/** A mebibyte of the file at a time, through gunzip into the extractor, as fast as that takes it. */
async function pump(files: Files, path: string, extract: tar.Extract, signal: AbortSignal | undefined): Promise<void> {
  const file = await files.open(path);
  let at = 0;
  const packed = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: async (controller) => {
      const piece = new Uint8Array(Math.min(2 ** 20, file.bytes - at));
      if (piece.length === 0) {
        controller.close();
        return;
      }
      await file.read(piece, at);
      at += piece.length;
      controller.enqueue(piece);
    },
  });
  let wake: () => void = () => undefined;
  extract.on("drain", () => wake());
  extract.on("close", () => wake());
  const reader = packed.pipeThrough(new DecompressionStream("gzip")).getReader();
  try {
    for (let next = await reader.read(); !next.done && !extract.destroyed; next = await reader.read()) {
      if (signal?.aborted === true)
        throw new WidefieldError("E_ABORTED", "stopped while unpacking; the same command unpacks it again");
      const drained = new Promise<void>((resolve) => (wake = resolve));
      if (!extract.write(next.value)) await drained;
    }
    if (!extract.destroyed) extract.end(null);
  } finally {
    await reader.cancel().catch(() => undefined);
    await file.close();
  }
}
