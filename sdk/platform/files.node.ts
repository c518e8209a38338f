/**
 * File access on Node and Deno, with `node:*` modules; entry points for those runtimes pass `nodeFiles()` in.
 */
import { createHash } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import {
  type FileHandle,
  copyFile,
  link,
  mkdir,
  open,
  readFile,
  readdir,
  rename,
  rmdir,
  stat,
  statfs,
  unlink,
} from "node:fs/promises";
import { hostname } from "node:os";
import { WidefieldError } from "../errors.ts";
import {
  type Files,
  type Liveness,
  type Owner,
  type ReadableFile,
  type ScratchFile,
  type WritableFile,
  ioError,
  systemCode,
} from "./files.ts";

/** What a file system without hard links (exFAT, some network mounts) answers to link(2). */
const NO_HARD_LINKS = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

export async function nodeFiles(): Promise<Files> {
  const bootId = await systemText("/proc/sys/kernel/random/boot_id");
  const self: Owner = {
    host: hostname(),
    pid: process.pid,
    startTime: (await processStat(process.pid))?.startTime,
    bootId,
  };
  return {
    self,
    livenessOf: (owner) => livenessOf(owner, self),
    read: (path) => unlessMissing("read", path, () => readWhole(path)),
    open: (path) => attempt("read", path, () => openReadable(path)),
    create: (path) => attempt("create", path, async () => writable(await open(path, "wx"), path)),
    openScratch: (path) => attempt("open", path, () => openScratch(path)),
    size: (path) => unlessMissing("look up", path, async () => (await stat(path)).size),
    list: async (folder) => (await unlessMissing("list the folder", folder, () => readdir(folder))) ?? [],
    makeFolder: (path) =>
      attempt("create the folder", path, async () => {
        await mkdir(path).catch((error: unknown) => {
          if (systemCode(error) !== "EEXIST") throw error;
        });
      }),
    removeFolder: async (path) => {
      await unlessMissing("remove", path, () => rmdir(path));
    },
    freeBytes: async (folder) => {
      const found = await statfs(folder).catch(() => undefined);
      return found === undefined ? undefined : found.bavail * found.bsize;
    },
    rename: (from, to) => attempt("write", to, () => rename(from, to)),
    link: (from, to) => attempt("create", to, () => linkOrCopy(from, to)),
    remove: async (path) => {
      await unlessMissing("remove", path, () => unlink(path));
    },
    sha256: (path) => attempt("read", path, () => sha256(path)),
  };
}

async function attempt<T>(action: string, path: string, operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    throw ioError(error, action, path);
  }
}

async function unlessMissing<T>(action: string, path: string, operation: () => Promise<T>): Promise<T | undefined> {
  try {
    return await operation();
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw ioError(error, action, path);
  }
}

/** Not a view into Node's shared buffer pool: the caller may keep or transfer it. */
async function readWhole(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await readFile(path);
  return bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer
    ? new Uint8Array(bytes.buffer)
    : new Uint8Array(bytes);
}

async function openReadable(path: string): Promise<ReadableFile> {
  const handle = await open(path, "r");
  try {
    const { size } = await handle.stat();
    return {
      bytes: size,
      read: (into, position) => attempt("read", path, () => readFully(handle, path, into, position)),
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function openScratch(path: string): Promise<ScratchFile> {
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o644);
  return {
    read: (into, position) => attempt("read", path, () => readFully(handle, path, into, position)),
    write: (bytes, position) => attempt("write", path, () => writeFully(handle, bytes, position)),
    sync: () => attempt("write", path, () => handle.datasync()),
    close: () => attempt("write", path, () => handle.close()),
  };
}

async function readFully(handle: FileHandle, path: string, into: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < into.length;) {
    const { bytesRead } = await handle.read(into, done, into.length - done, position + done);
    if (bytesRead === 0) {
      throw new WidefieldError(
        "E_DATA",
        `${path} ends at byte ${position + done}, before byte ${position + into.length} that is needed: the file is ` +
          `truncated; copy or write it again`,
        { details: { path } },
      );
    }
    done += bytesRead;
  }
}

function writable(handle: FileHandle, path: string): WritableFile {
  return {
    write: (bytes) => attempt("write", path, () => writeFully(handle, bytes)),
    sync: () => attempt("write", path, () => handle.sync()),
    close: () => attempt("write", path, () => handle.close()),
  };
}

/** At `position`, or where the last write ended. */
async function writeFully(handle: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
  // A disk that is nearly full takes a part first and refuses the rest.
  for (let done = 0; done < bytes.length;) {
    const at = position === undefined ? null : position + done;
    done += (await handle.write(bytes, done, bytes.length - done, at)).bytesWritten;
  }
}

async function linkOrCopy(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    const code = systemCode(error);
    if (code === "EEXIST") return false;
    if (code === undefined || !NO_HARD_LINKS.has(code)) throw error;
  }
  try {
    // Still exclusive, but a reader may meet the file before its bytes: `readSettled` waits for them.
    await copyFile(from, to, constants.COPYFILE_EXCL);
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw error;
  }
}

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(piece as Buffer);
  return hash.digest("hex");
}

async function systemText(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").then(
    (text) => text.trim(),
    () => undefined,
  );
}

/** From /proc/PID/stat; the name in field 2 may hold spaces and brackets, so count from the last ")". */
async function processStat(pid: number): Promise<{ state: string; startTime: number } | undefined> {
  const text = await systemText(`/proc/${pid}/stat`);
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  const [state, startTime] = [fields?.[0], fields?.[19]];
  return state === undefined || startTime === undefined ? undefined : { state, startTime: Number(startTime) };
}

async function livenessOf(owner: Owner, self: Owner): Promise<Liveness> {
  if (owner.host !== self.host) return "unknown";
  if (owner.bootId !== undefined && self.bootId !== undefined && owner.bootId !== self.bootId) return "dead";
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    // EPERM: it lives, and belongs to someone else.
    if (systemCode(error) === "ESRCH") return "dead";
  }
  const stat = await processStat(owner.pid);
  if (stat === undefined) return "alive";
  // A zombie has ended; it only waits for its parent to notice, which in a container may be never.
  if (stat.state === "Z" || stat.state === "X") return "dead";
  return owner.startTime === undefined || owner.startTime === stat.startTime ? "alive" : "dead";
}
