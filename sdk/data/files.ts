/**
 * Reading data files from a disk: the only file of this room that asks for a file system (Node and Deno). Everything
 * else takes a `ReadFile`, so that a page can hand in one that fetches. The file system is asked for when a file is: what
 * imports this can be bundled for pages too.
 */
import { messageOf, WidefieldError } from "../errors.ts";
import type { ReadFile } from "./idx.ts";

/**
 * Reads a whole file; undefined when there is none.
 *
 * @throws WidefieldError E_IO when it is there and cannot be read
 */
export const readFileFromDisk: ReadFile = async (path) => {
  try {
    const { readFile } = await import("node:fs/promises");
    return await readFile(path);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    // ENOTDIR: a folder on the way is a file, so what was asked for cannot exist.
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    const problem = code === "EISDIR" ? "it is a folder" : messageOf(error);
    throw new WidefieldError("E_IO", `cannot read ${path}: ${problem}`, { cause: error, details: { path } });
  }
};
