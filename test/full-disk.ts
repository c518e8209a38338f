/** A file layer whose disk fills up at a given moment, or has as many bytes free as a test says. */
import { ioError, type Files } from "../sdk/platform/files.ts";

export interface Disk {
  readonly files: Files;
  /** Writes, and waits for the device, so far. */
  operations: number;
  /** From this operation on the disk is full; Infinity at first. */
  fullAt: number;
}

export function diskOf(files: Files): Disk {
  const disk: Disk = {
    operations: 0,
    fullAt: Number.POSITIVE_INFINITY,
    files: {
      ...files,
      create: async (path) => {
        const file = await files.create(path);
        return {
          write: (bytes) => unlessFull(path, () => file.write(bytes)),
          sync: () => unlessFull(path, () => file.sync()),
          close: () => file.close(),
        };
      },
      openScratch: async (path) => {
        const file = await files.openScratch(path);
        return {
          read: (into, position) => file.read(into, position),
          write: (bytes, position) => unlessFull(path, () => file.write(bytes, position)),
          sync: () => unlessFull(path, () => file.sync()),
          close: () => file.close(),
        };
      },
    },
  };
  const unlessFull = async (path: string, operation: () => Promise<void>): Promise<void> => {
    if (disk.operations++ >= disk.fullAt)
      throw ioError(Object.assign(new Error("no space"), { code: "ENOSPC" }), "write", path);
    await operation();
  };
  return disk;
}
