/**
 * Chromium for tests, from the npm package @sparticuz/chromium: no download, no root, no system packages. WebGPU runs
 * on SwiftShader, whose files stand beside the binary.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { basename, delimiter, join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { chromium } from "playwright-core";
import { tarFiles, unpackOnce } from "./swiftshader.mjs";

/** The last line keeps a test from opening connections that it did not ask for. */
const FLAGS = [
  ...["--no-sandbox", "--no-first-run", "--headless"],
  ...["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"],
  ...["--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
];

function unpackChromium() {
  const archives = ["chromium.br", "swiftshader.tar.br", "al2023.tar.br"];
  return unpackOnce("chromium", archives, ["chromium", "libvk_swiftshader.so", "lib"], (fresh, [binary, ...packed]) => {
    writeFileSync(join(fresh, "chromium"), brotliDecompressSync(binary), { mode: 0o755 });
    mkdirSync(join(fresh, "lib"));
    for (const archive of packed) {
      for (const [name, bytes] of tarFiles(brotliDecompressSync(archive))) {
        const folder = name.startsWith("lib/") ? join(fresh, "lib") : fresh;
        writeFileSync(join(folder, basename(name)), bytes, { mode: 0o755 });
      }
    }
  });
}

/** The libraries of the package are for machines that lack their own: the machine's come first. */
function environment(folder, executable) {
  const own = { ...process.env, VK_DRIVER_FILES: join(folder, "vk_swiftshader_icd.json") };
  if (spawnSync(executable, ["--no-sandbox", "--version"], { env: own }).status === 0) return own;
  const libraries = [join(folder, "lib"), process.env.LD_LIBRARY_PATH ?? ""].filter((part) => part !== "");
  return { ...own, LD_LIBRARY_PATH: libraries.join(delimiter) };
}

/** A running Chromium (playwright's Browser); throws if it cannot start. */
export async function launchChromium() {
  const folder = unpackChromium();
  const executablePath = join(folder, "chromium");
  return chromium.launch({ executablePath, args: FLAGS, env: environment(folder, executablePath), timeout: 60_000 });
}
