/**
 * What the tests of kernel jobs share: a cheap source whose values are a hash of row and column, stores in a fresh
 * folder, and a file layer in which any operation can be made to fail.
 */
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { TileSource } from "../sdk/covariance/job.ts";
import { type Files, type WritableFile, ioError } from "../sdk/platform/files.ts";
import type { KernelSpec } from "../sdk/covariance/store/manifest.ts";
import { hashSource, specOf } from "./kernel-job-source.ts";

export { hashSource, specOf };
export type { KernelSpec, TileSource };

/** A folder that goes when the test ends. */
export async function freshFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "widefield-store-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** All files below a folder, by their relative path. */
export async function contentOf(folder: string): Promise<Map<string, Buffer>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const content = new Map<string, Buffer>();
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    content.set(path.slice(folder.length + 1), await readFile(path));
  }
  return content;
}

export type Operation = "create" | "write" | "sync" | "rename" | "link" | "makeFolder" | "remove" | "read";

/**
 * The same files, but `fails(operation, path)` may answer with a system code ("ENOSPC"), and then the operation is
 * refused as the system would: through `ioError`.
 */
export function failing(files: Files, fails: (operation: Operation, path: string) => string | undefined): Files {
  const check = (operation: Operation, path: string) => {
    const code = fails(operation, path);
    if (code !== undefined) throw ioError(Object.assign(new Error(code), { code }), operation, path);
  };
  return {
    ...files,
    read: async (path) => {
      check("read", path);
      return files.read(path);
    },
    create: async (path) => {
      check("create", path);
      return failingFile(await files.create(path), path, check);
    },
    rename: async (from, to) => {
      check("rename", to);
      return files.rename(from, to);
    },
    link: async (from, to) => {
      check("link", to);
      return files.link(from, to);
    },
    makeFolder: async (path) => {
      check("makeFolder", path);
      return files.makeFolder(path);
    },
    remove: async (path) => {
      check("remove", path);
      return files.remove(path);
    },
  };
}

function failingFile(
  file: WritableFile,
  path: string,
  check: (operation: Operation, path: string) => void,
): WritableFile {
  return {
    write: async (bytes) => {
      // Half of it fits: what a full disk leaves behind is a short file, not none.
      const [first, rest] = [bytes.subarray(0, bytes.length >> 1), bytes.subarray(bytes.length >> 1)];
      await file.write(first);
      check("write", path);
      await file.write(rest);
    },
    sync: async () => {
      check("sync", path);
      return file.sync();
    },
    close: () => file.close(),
  };
}
