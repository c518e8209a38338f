/**
 * What kernel stores and factors ask of a file system: one narrow interface, so that nothing above imports `node:*`
 * statically (it is bundled for browsers too) and so that tests can let any operation fail. `files.node.ts` implements
 * it; every failure that a user can meet is a WidefieldError made by `ioError`.
 *
 * Paths use "/" and are taken as the runtime takes them. No method creates parent folders.
 */
import { WidefieldError, messageOf } from "../errors.ts";

/** Who made a lock or a temporary file. `startTime` and `bootId` tell a process from a later one with the same pid. */
export interface Owner {
  readonly host: string;
  readonly pid: number;
  /** Clock ticks between the machine's start and the process's, where the system tells (Linux). */
  readonly startTime?: number | undefined;
  /** Which start of the machine that was, where the system tells (Linux). */
  readonly bootId?: string | undefined;
}

/** "unknown": a process of another host, about which nothing can be found out here. */
export type Liveness = "alive" | "dead" | "unknown";

/** A file being read at arbitrary places. */
export interface ReadableFile {
  readonly bytes: number;
  /** Fills `into` from `position` on; E_DATA if the file ends before. */
  read(into: Uint8Array, position: number): Promise<void>;
  close(): Promise<void>;
}

/** A new file being written front to back. */
export interface WritableFile {
  write(bytes: Uint8Array): Promise<void>;
  /** Returns when the bytes are on the device, not only in the page cache. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** A file being read and written at arbitrary places. */
export interface ScratchFile {
  /** Fills `into` from `position` on; E_DATA if the file ends before. */
  read(into: Uint8Array, position: number): Promise<void>;
  /** Bytes between the file's end and `position` are zero. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** Returns when the bytes are on the device, not only in the page cache. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface Files {
  /** The whole file, or undefined where there is none. */
  read(path: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  open(path: string): Promise<ReadableFile>;
  /** Creates a file that does not exist yet (O_EXCL). */
  create(path: string): Promise<WritableFile>;
  /** Opens a file for reading and writing, with what it holds; one that is not there is created. */
  openScratch(path: string): Promise<ScratchFile>;
  /** Bytes of a file, or undefined where there is none. */
  size(path: string): Promise<number | undefined>;
  /** The names in a folder; none where there is no such folder. */
  list(folder: string): Promise<string[]>;
  /** Creates one folder; one that is already there is fine. */
  makeFolder(path: string): Promise<void>;
  /** Removes an empty folder; one that is not there is fine. */
  removeFolder(path: string): Promise<void>;
  /** Bytes that this user may still write to a folder's file system; undefined where that cannot be told. */
  freeBytes(folder: string): Promise<number | undefined>;
  /** Replaces `to` by `from`, atomically. */
  rename(from: string, to: string): Promise<void>;
  /** Gives the file `from` the second name `to`, atomically; false where `to` exists already. */
  link(from: string, to: string): Promise<boolean>;
  /** Removes a file; one that is not there is fine. */
  remove(path: string): Promise<void>;
  /** SHA-256 of a file in hexadecimal, streamed. */
  sha256(path: string): Promise<string>;
  /** This process. */
  readonly self: Owner;
  livenessOf(owner: Owner): Promise<Liveness>;
}

const advice: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full; free some space and run the same command again: what is finished is kept",
  EDQUOT: "the disk quota is used up; free some space and run the same command again: what is finished is kept",
  EROFS: "the file system is mounted read-only; choose another place",
  EACCES: "permission denied; choose a place that you may write to, or change its permissions",
  EPERM: "operation not permitted; choose a place that you may write to, or change its permissions",
  ENOENT: "no such file or folder; check the path, and create its parent folder first",
  ENOTDIR: "a part of the path is a file, not a folder; check the path",
  EISDIR: "this is a folder, not a file; check the path",
  EEXIST: "a file of this name is already there; choose another name or remove it",
  EMFILE: "too many open files; raise the limit (ulimit -n)",
  EIO: "the device failed; check the disk",
  ENAMETOOLONG: "the name is too long; choose a shorter path",
  ESTALE: "the network file system lost the file; check the mount and run the same command again",
};

/** What `temporaryName` appends: who made the file, and something unique. */
const temporary = /\.~(?<host>[\w.-]+)~(?<pid>\d+)~(?<startTime>\d*)~[0-9a-f]+\.tmp$/;

/** The system's code of a failed file operation: "ENOSPC", "EROFS", ... */
export function systemCode(thrown: unknown): string | undefined {
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  return typeof code === "string" ? code : undefined;
}

/** E_IO for something the file system refused. `action` is a verb with its preposition: "write", "create a folder at". */
export function ioError(cause: unknown, action: string, path: string): WidefieldError {
  if (cause instanceof WidefieldError) return cause;
  const code = systemCode(cause);
  const reason = (code === undefined ? undefined : advice[code]) ?? messageOf(cause);
  // The user knows the file by the name that it was to get.
  const name = path.replace(temporary, "");
  return new WidefieldError("E_IO", `cannot ${action} ${name}: ${reason}${code === undefined ? "" : ` (${code})`}`, {
    cause,
    details: { path: name, systemCode: code },
  });
}

/** A name beside `path` that no other process uses, and that says whose it is. */
export function temporaryName(path: string, { host, pid, startTime }: Owner): string {
  const random = crypto.getRandomValues(new Uint32Array(2));
  const unique = Array.from(random, (word) => word.toString(16)).join("");
  return `${path}.~${host.replaceAll(/[^\w.-]/g, "_")}~${String(pid)}~${String(startTime ?? "")}~${unique}.tmp`;
}

export function isTemporary(name: string): boolean {
  return temporary.test(name);
}

/** True for a temporary whose process is known to have ended. */
export async function isAbandoned(files: Files, name: string): Promise<boolean> {
  const parts = temporary.exec(name)?.groups;
  if (parts === undefined) return false;
  const { host = "", pid, startTime = "" } = parts;
  if (host !== files.self.host.replaceAll(/[^\w.-]/g, "_")) return false;
  const owner = {
    host: files.self.host,
    pid: Number(pid),
    startTime: startTime === "" ? undefined : Number(startTime),
  };
  return (await files.livenessOf(owner)) === "dead";
}

/** Bytes of a file: all of them, or piece by piece. */
type Content = Uint8Array | Iterable<Uint8Array>;

async function writeTemporary(files: Files, path: string, content: Content): Promise<string> {
  const name = temporaryName(path, files.self);
  const file = await files.create(name);
  try {
    try {
      for (const piece of content instanceof Uint8Array ? [content] : content) await file.write(piece);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    await discard(files, name);
    throw error;
  }
  return name;
}

/** Removes what a failed operation leaves; the failure itself is what the user has to hear of. */
export async function discard(files: Files, path: string): Promise<void> {
  await files.remove(path).catch(() => undefined);
}

/**
 * Writes a file so that at any moment, a power cut included, its name stands for nothing, or the old bytes, or all of
 * the new ones. The folder's own entry is not synced: to lose it costs one tile's work, never its correctness.
 */
export async function replaceFile(files: Files, path: string, content: Content): Promise<void> {
  const name = await writeTemporary(files, path, content);
  try {
    await files.rename(name, path);
  } catch (error) {
    await discard(files, name);
    throw error;
  }
}

/** Like `replaceFile`, for a name that must not exist: of several processes at once exactly one gets true. */
export async function createFile(files: Files, path: string, bytes: Uint8Array): Promise<boolean> {
  const name = await writeTemporary(files, path, bytes);
  try {
    return await files.link(name, path);
  } finally {
    await discard(files, name);
  }
}

/**
 * Reads a file that another process may just have made with `createFile`: on a file system without hard links its
 * name is there a moment before its bytes.
 */
export async function readSettled(files: Files, path: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  let bytes = await files.read(path);
  for (let turn = 0; turn < 10 && bytes?.length === 0; turn++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    bytes = await files.read(path);
  }
  return bytes;
}
