/**
 * SwiftShader, a Vulkan driver on the CPU, for machines without a GPU: the npm package @sparticuz/chromium carries one
 * as a brotli-compressed tarball. The dynamic linker and the Vulkan loader read their variables when a process starts,
 * so they have to be in its environment from the beginning:
 *
 *     spawn(process.execPath, [...], { env: { ...process.env, ...swiftshaderEnvironment() } });
 *
 * or `eval "$(node test/swiftshader.mjs)"` in a shell.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { brotliDecompressSync } from "node:zlib";

const NEEDED = ["libvulkan.so.1", "libvk_swiftshader.so", "vk_swiftshader_icd.json"];

/** The regular files of a tar archive (POSIX ustar): name -> bytes. */
export function* tarFiles(archive) {
  const text = (start, length) => archive.toString("latin1", start, start + length).replace(/\0.*$/s, "");
  for (let at = 0; at + 512 <= archive.length && archive[at] !== 0;) {
    const size = parseInt(text(at + 124, 12), 8);
    const type = text(at + 156, 1);
    if (type === "0" || type === "") yield [text(at, 100), archive.subarray(at + 512, at + 512 + size)];
    at += 512 + Math.ceil(size / 512) * 512;
  }
}

/** Beside the installed packages where that can be written, else in the system's folder for temporary files. */
function cacheFolder(modules, name) {
  for (const parent of [join(modules, ".cache"), tmpdir()]) {
    try {
      mkdirSync(parent, { recursive: true });
      const probe = mkdtempSync(join(parent, "widefield-"));
      rmSync(probe, { recursive: true });
      return join(parent, name);
    } catch {
      // Read-only: the next one.
    }
  }
  throw new Error(`no folder to unpack ${name} into`);
}

/** Unpacks the driver if it is not there yet. Returns its folder. */
export function unpackSwiftshader() {
  return unpackOnce("swiftshader", ["swiftshader.tar.br"], NEEDED, (fresh, packed) => {
    for (const [name, bytes] of tarFiles(brotliDecompressSync(packed[0]))) {
      if (NEEDED.includes(basename(name))) writeFileSync(join(fresh, basename(name)), bytes, { mode: 0o755 });
    }
  });
}

/**
 * Unpacks archives of @sparticuz/chromium into a cache folder of their own, which is named after their contents, unless
 * it is there already with all of `needed` in it; safe when several processes do so at once. Returns the folder.
 */
export function unpackOnce(title, archives, needed, unpack) {
  const first = findArchive(dirname(createRequire(import.meta.url).resolve("@sparticuz/chromium")), archives[0]);
  const packed = archives.map((name) => readFileSync(join(dirname(first), name)));
  const hash = createHash("sha256");
  for (const bytes of packed) hash.update(bytes);
  const modules = first.slice(0, first.lastIndexOf("node_modules") + "node_modules".length);
  const folder = cacheFolder(modules, `widefield-${title}-${hash.digest("hex").slice(0, 16)}`);
  const complete = () => needed.every((name) => existsSync(join(folder, name)));
  if (complete()) return folder;
  const fresh = mkdtempSync(`${folder}-`);
  unpack(fresh, packed);
  try {
    renameSync(fresh, folder);
  } catch (error) {
    rmSync(fresh, { recursive: true });
    if (!complete()) throw error; // else another process was faster
  }
  return folder;
}

/** Upwards from the package's entry point, whose depth differs between its versions. */
function findArchive(folder, name) {
  const path = join(folder, "bin", name);
  if (existsSync(path)) return path;
  if (dirname(folder) === folder) throw new Error(`@sparticuz/chromium holds no bin/${name}`);
  return findArchive(dirname(folder), name);
}

/** What a process's environment needs to find SwiftShader, and no other Vulkan driver. */
export function swiftshaderEnvironment(environment = process.env) {
  const folder = unpackSwiftshader();
  const libraries = [folder, ...(environment.LD_LIBRARY_PATH ?? "").split(delimiter).filter((part) => part !== "")];
  return {
    LD_LIBRARY_PATH: [...new Set(libraries)].join(delimiter),
    VK_DRIVER_FILES: join(folder, "vk_swiftshader_icd.json"),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for (const [name, value] of Object.entries(swiftshaderEnvironment())) console.log(`export ${name}='${value}'`);
}
