/**
 * One archive for GPU servers: build/widefield-linux-x64.tar.xz, which unpacks anywhere on an x86-64 Linux with glibc
 * and runs there without Node, npm or a network: `./widefield info`. After `npm run build`:
 *
 *     node bundle.mjs [--preset 0..9] [--out FILE]
 *
 *     widefield-linux-x64/
 *       widefield            the launcher (cli/launcher.sh)
 *       bin/node             this machine's Node, stripped of its symbols where there is a `strip`
 *       dist/                the package as built; package.json makes it ES modules
 *       node_modules/webgpu  Dawn: its JavaScript and its linux-x64 binary
 *       lib/vulkan           a Vulkan loader, for hosts that have a driver and no loader (Chromium's build)
 *       lib/cxx              the C++ runtime that Node runs with here, for hosts without one
 *       LICENSE, THIRD-PARTY-LICENSES.txt, README.txt
 *
 * SwiftShader stays out: on a host without a GPU the wasm backend is ten times faster, and a software adapter in the
 * list would only hide that the driver is missing.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, existsSync } from "node:fs";
import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import { unpackSwiftshader } from "./test/swiftshader.mjs";

const NAME = "widefield-linux-x64";
const LIMIT_BYTES = 60e6;
const root = import.meta.dirname;
const pkg = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
const dawn = join(root, "node_modules/webgpu");
const dawnBinary = "dist/linux-x64/dawn.node";

class BundleError extends Error {}

function isMissing(tool) {
  return spawnSync(tool, ["--version"], { stdio: "ignore" }).error !== undefined;
}

/** Refuses what cannot give an archive that runs elsewhere, before any work is done. */
function checkMachine() {
  if (process.platform !== "linux" || process.arch !== "x64")
    throw new BundleError(
      `the archive is made from a linux-x64 machine's Node; this is ${process.platform}-${process.arch}`,
    );
  for (const [tool, packages] of [
    ["tar", "tar"],
    ["xz", "xz-utils on Debian and Ubuntu, xz on Fedora and RHEL"],
  ]) {
    if (isMissing(tool)) throw new BundleError(`there is no \`${tool}\` on the PATH: install it (${packages})`);
  }
  for (const [path, advice] of [
    ["dist/cli.js", "npm run build"],
    [`node_modules/webgpu/${dawnBinary}`, "npm install --include=optional"],
  ]) {
    if (!existsSync(join(root, path))) throw new BundleError(`${path} is missing: run \`${advice}\` first`);
  }
}

/** What every glibc system has, and what comes with GCC, which goes into the archive. */
const SYSTEM_LIBRARY = /^(linux-vdso|ld-linux-x86-64|libc|libm|libdl|libpthread|librt)\.so/;
const GCC_LIBRARY = /^(libstdc\+\+|libgcc_s|libatomic)\.so/;

/** The GCC libraries that this process runs with; throws where Node is no self-contained build. */
function runtimeLibraries() {
  process.report.excludeNetwork = true;
  const libraries = process.report.getReport().sharedObjects;
  const foreign = libraries.filter((path) => {
    const name = basename(path);
    return path !== process.execPath && !SYSTEM_LIBRARY.test(name) && !GCC_LIBRARY.test(name);
  });
  if (foreign.length > 0)
    throw new BundleError(
      `${process.execPath} is not self-contained: it needs ${foreign.join(", ")}. Run this with an official Node build ` +
        `(nodejs.org, or the Docker image "node")`,
    );
  return libraries.filter((path) => GCC_LIBRARY.test(basename(path)));
}

/** The newest version of a symbol family ("GLIBC_2.34") that any of the binaries names. */
async function newestSymbol(family, files) {
  let newest = [0];
  for (const file of files) {
    const text = (await readFile(file)).toString("latin1");
    for (const [, version] of text.matchAll(new RegExp(`\\b${family}_(\\d+(?:\\.\\d+)+)\\0`, "g"))) {
      const numbers = version.split(".").map(Number);
      const differing = numbers.findIndex((number, index) => number !== newest[index]);
      if (differing >= 0 && numbers[differing] > (newest[differing] ?? -1)) newest = numbers;
    }
  }
  return newest.join(".");
}

async function stageNode(folder) {
  await mkdir(folder, { recursive: true });
  const target = join(folder, "node");
  const stripped = spawnSync("strip", ["-o", target, process.execPath], { stdio: "ignore" });
  if (stripped.status !== 0) await copyFile(process.execPath, target);
  await chmod(target, 0o755);
}

async function copyInto(folder, files) {
  await mkdir(folder, { recursive: true });
  for (const file of files) await copyFile(file, join(folder, basename(file)));
}

/** The first of the files that exist, as text. */
async function firstText(paths) {
  for (const path of paths) if (existsSync(path)) return readFile(path, "utf8");
  return undefined;
}

async function licenceOf(folder) {
  const names = (await readdir(folder)).filter((name) => /^(licen[cs]e|copying|notice)/i.test(name)).sort();
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), "utf8")));
  return texts.join("\n");
}

/** Everything in the archive that others wrote, with the terms that it comes under. */
async function thirdParty() {
  const prefix = dirname(dirname(process.execPath));
  const node =
    (await firstText(
      ["LICENSE", "share/doc/nodejs/LICENSE", "share/doc/node/LICENSE"].map((path) => join(prefix, path)),
    )) ?? `MIT, with the licences of its parts: https://github.com/nodejs/node/blob/${process.version}/LICENSE`;
  // A package of the same terms lends the text.
  const apache = await readFile(join(root, "node_modules/assemblyscript/LICENSE"), "utf8");
  const gcc =
    (await firstText(["/usr/share/doc/libstdc++6/copyright", "/usr/share/licenses/libstdc++/COPYING.RUNTIME"])) ?? "";
  const gpl =
    (await firstText(["/usr/share/common-licenses/GPL-3", "/usr/share/licenses/libstdc++/COPYING3"])) ??
    "https://www.gnu.org/licenses/gpl-3.0.txt, https://www.gnu.org/licenses/gcc-exception-3.1.html";
  const sections = [
    [`Node.js ${process.version} (bin/node)`, node],
    ["Vulkan loader (lib/vulkan), The Khronos Group Inc., LunarG Inc., Valve Corporation: Apache-2.0", apache],
    [
      "GCC runtime libraries (lib/cxx), Free Software Foundation: GPL-3.0 with the GCC Runtime Library Exception 3.1;\n" +
        "unmodified copies of the build machine's; sources: https://gcc.gnu.org",
      `${gcc}\n${gpl}`,
    ],
  ];
  const lock = JSON.parse(await readFile(join(root, "package-lock.json"), "utf8"));
  for (const [path, entry] of Object.entries(lock.packages)) {
    const folder = join(root, path);
    if (path === "" || entry.dev === true || !existsSync(folder)) continue;
    const { name, version, license, repository } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    if (name.startsWith("@types/")) continue;
    // Where the package has no text of its own: terms such as the MPL's ask for the place of its sources.
    const text = (await licenceOf(folder)) || `sources: ${repository?.url ?? repository ?? name}`;
    sections.push([`${name} ${version}: ${license ?? "see below"}`, text]);
  }
  const rule = "=".repeat(100);
  return sections.map(([title, text]) => `${rule}\n${title}\n${rule}\n\n${text.trim()}\n`).join("\n");
}

async function stage(folder) {
  const runtime = runtimeLibraries();
  const loader = join(unpackSwiftshader(), "libvulkan.so.1");
  await stageNode(join(folder, "bin"));
  await cp(join(root, "dist"), join(folder, "dist"), { recursive: true });
  await copyInto(
    join(folder, "node_modules/webgpu"),
    ["index.js", "package.json", "LICENSE.md"].map((f) => join(dawn, f)),
  );
  await copyInto(join(folder, "node_modules/webgpu", dirname(dawnBinary)), [join(dawn, dawnBinary)]);
  await copyInto(join(folder, "lib/vulkan"), [loader]);
  await copyInto(join(folder, "lib/cxx"), runtime);
  await copyInto(folder, [join(root, "LICENSE")]);
  await writeFile(join(folder, "THIRD-PARTY-LICENSES.txt"), await thirdParty());

  const { name, version, license, type, exports } = pkg;
  await writeFile(
    join(folder, "package.json"),
    `${JSON.stringify({ name, version, license, type, exports }, null, 2)}\n`,
  );

  const binaries = [process.execPath, join(dawn, dawnBinary), loader];
  const glibc = await newestSymbol("GLIBC", binaries);
  const glibcOfRuntime = await newestSymbol("GLIBC", runtime);
  const cxx = `GLIBCXX_${await newestSymbol("GLIBCXX", binaries)}`;
  const launcher = (await readFile(join(root, "cli/launcher.sh"), "utf8"))
    .replaceAll("@GLIBCXX@", cxx.replaceAll(".", "\\."))
    .replaceAll("@GLIBC_CXX@", glibcOfRuntime)
    .replaceAll("@GLIBC@", glibc);
  await writeFile(join(folder, "widefield"), launcher, { mode: 0o755 });
  await writeFile(
    join(folder, "README.txt"),
    `widefield ${version} for x86-64 Linux with glibc ${glibc} or newer. It needs no installation and no network:\n\n` +
      `    ./widefield info        what it finds: GPU adapters, limits, threads\n` +
      `    ./widefield --help      all commands\n\n` +
      `A GPU needs its vendor's Vulkan driver; \`./widefield info\` says what is missing.\n` +
      `Without a GPU everything runs on the CPU (--backend wasm). The folder may be read-only and may be anywhere.\n`,
  );
  return { glibc };
}

/** The launcher has to answer in an empty environment before anything is packed. */
function smokeTest(folder) {
  const { status, stderr, error } = spawnSync("/bin/sh", [join(folder, "widefield"), "info"], {
    env: {},
    cwd: "/",
    encoding: "utf8",
  });
  if (status !== 0) throw new BundleError(`the staged archive does not start: ${error?.message ?? stderr}`);
}

/** tar through xz into a file, which appears under its name only when it is whole. */
async function pack(parent, out, preset) {
  const sameForAll = ["--owner=0", "--group=0", "--numeric-owner", "--sort=name", "--mtime=@0", "--mode=u=rwX,go=rX"];
  const tar = spawn("tar", ["-C", parent, ...sameForAll, "-cf", "-", NAME], { stdio: ["ignore", "pipe", "inherit"] });
  const xz = spawn("xz", [`-${preset}`, "-T0", "-c"], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = Promise.all([tar, xz].map((child) => once(child, "exit")));
  const partial = `${out}.${process.pid}.partial`;
  try {
    await Promise.all([pipeline(tar.stdout, xz.stdin), pipeline(xz.stdout, createWriteStream(partial))]);
    for (const [index, [code]] of (await ended).entries()) {
      if (code !== 0) throw new BundleError(`${["tar", "xz"][index]} ended with exit code ${code}`);
    }
    const { size } = await stat(partial);
    if (size >= LIMIT_BYTES) throw new BundleError(`the archive has ${size} bytes; the limit is ${LIMIT_BYTES}`);
    await rename(partial, out);
    return size;
  } finally {
    await rm(partial, { force: true });
  }
}

async function main() {
  const { values } = parseArgs({
    options: { preset: { type: "string", default: "6" }, out: { type: "string", default: `build/${NAME}.tar.xz` } },
  });
  if (!/^[0-9]$/.test(values.preset))
    throw new BundleError(`--preset is a digit, 0 (fast) to 9 (small), not ${values.preset}`);
  checkMachine();
  const out = resolve(values.out);
  await mkdir(dirname(out), { recursive: true });
  const parent = await mkdtemp(join(dirname(out), ".bundle-"));
  try {
    const { glibc } = await stage(join(parent, NAME));
    smokeTest(join(parent, NAME));
    const size = await pack(parent, out, values.preset);
    console.log(`${out}: ${(size / 1e6).toFixed(1)} MB, Node ${process.version}, for glibc ${glibc} or newer`);
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof BundleError)) throw error;
  console.error(`bundle: ${error.message}`);
  process.exitCode = 1;
}
