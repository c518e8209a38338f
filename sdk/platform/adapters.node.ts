/**
 * GPU adapters in Node: Dawn, through the optional package `webgpu`, which is loaded only when a GPU is asked for. And
 * what to tell someone who has none: which of loader, driver description, kernel driver and package is missing.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { arch, platform as operatingSystem } from "node:os";
import { dirname, join } from "node:path";
import { messageOf } from "../errors.ts";
import { chooseName, describeAdapter } from "./adapters.ts";
import type { AdapterRequest, FoundAdapter } from "./platform.ts";

interface Dawn {
  create(options: string[]): GPU;
}

/**
 * Everything of Dawn's that is in use. Dawn's instance, adapter and device must stay referenced: a garbage collection
 * that takes the instance first ends the process.
 */
const held = new Set<object>();

let dawn: Promise<Dawn | undefined> | undefined;
/** Why Dawn did not load: the package is not there, or its binary wants a newer C library. */
let dawnFailure = "";

/** Undefined when the package is not installed for this platform, or does not load. */
function loadDawn(): Promise<Dawn | undefined> {
  dawn ??= import("webgpu").then(
    (module) => module as Dawn,
    (error: unknown) => {
      dawnFailure = messageOf(error).split("\n")[0] ?? "";
      return undefined;
    },
  );
  return dawn;
}

/** Dawn has no list of adapters, but refuses a name that none has with a message that lists them. */
const NO_SUCH_NAME = "a name that no adapter has";

async function adapterNames(dawn: Dawn): Promise<{ backend: string; name: string }[]> {
  try {
    await dawn.create([`adapter=${NO_SUCH_NAME}`]).requestAdapter();
    return [];
  } catch (error) {
    const lines = messageOf(error).matchAll(/backend: '([^']*)', name: '(.*)'$/gm);
    return [...lines].map(([, backend = "", name = ""]) => ({ backend, name }));
  }
}

/** Undefined when there is no such adapter, or no Dawn. */
export async function findDawnAdapter(request: AdapterRequest): Promise<FoundAdapter | undefined> {
  // Without a loader Dawn finds nothing, and complains on the terminal about it.
  if (operatingSystem() === "linux" && !(await explainLoader()).found) return undefined;
  const dawn = await loadDawn();
  if (dawn === undefined) return undefined;
  const listed = await adapterNames(dawn);
  const name = chooseName(
    listed.map((entry) => entry.name),
    request,
  );
  const backend = listed.find((entry) => entry.name === name)?.backend;
  if (name === undefined || backend === undefined) return undefined;
  const gpu = dawn.create([`adapter=${name}`, `backend=${backend}`]);
  const adapter = await gpu.requestAdapter();
  if (adapter === null) return undefined;
  const holder = { gpu, adapter };
  held.add(holder);
  return {
    adapter,
    name,
    software: describeAdapter(adapter).software || chooseName([name], { software: false }) === undefined,
    release: () => void held.delete(holder),
  };
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function list(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

const LOADER = "libvulkan.so.1";
const ICD_ROOTS = [
  "/etc",
  "/usr/share",
  "/usr/local/share",
  "/usr/local/etc",
  "/usr/local/nvidia/share",
  "/usr/local/nvidia",
];
const ICD_FOLDERS = ICD_ROOTS.map((root) => `${root}/vulkan/icd.d`);

/** Folders that the dynamic linker looks through: LD_LIBRARY_PATH, ld.so.conf, the built-in ones. */
async function libraryFolders(): Promise<string[]> {
  const named = (process.env["LD_LIBRARY_PATH"] ?? "").split(":").filter((folder) => folder !== "");
  const snippets = (await list("/etc/ld.so.conf.d")).map((file) => join("/etc/ld.so.conf.d", file));
  const configured = await Promise.all(snippets.map((file) => readFile(file, "utf8").catch(() => "")));
  const lines = configured.join("\n").split("\n");
  const triplet = arch() === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
  const builtIn = [`/lib/${triplet}`, `/usr/lib/${triplet}`, "/lib64", "/usr/lib64", "/lib", "/usr/lib"];
  const folders = [...named, ...lines.map((line) => line.trim()).filter((line) => line.startsWith("/")), ...builtIn];
  return [...new Set(folders)];
}

async function explainLoader(): Promise<{ lines: string[]; found: boolean }> {
  const folders = await libraryFolders();
  for (const folder of folders) {
    const path = join(folder, LOADER);
    if (await exists(path)) return { lines: [`Vulkan loader: ${path}`], found: true };
  }
  return { lines: [`Vulkan loader: no ${LOADER} in ${folders.join(", ")}`], found: false };
}

/** Driver descriptions (ICD files), and whether the library that each names is there. */
async function explainDrivers(): Promise<{ lines: string[]; found: boolean }> {
  const variable = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].find((name) => (process.env[name] ?? "") !== "");
  const named = variable === undefined ? [] : (process.env[variable] ?? "").split(":");
  const standard = await Promise.all(
    ICD_FOLDERS.map(async (folder) => (await list(folder)).map((file) => join(folder, file))),
  );
  const files = variable === undefined ? standard.flat().filter((file) => file.endsWith(".json")) : named;
  if (files.length === 0) return { lines: [`Vulkan drivers: no ICD file in ${ICD_FOLDERS.join(", ")}`], found: false };
  const source = variable === undefined ? "" : ` (named by ${variable}, which hides all others)`;
  const states = await Promise.all(files.map(describeDriver));
  return {
    lines: states.map(({ line }) => `Vulkan driver: ${line}${source}`),
    found: states.some(({ usable }) => usable),
  };
}

async function describeDriver(file: string): Promise<{ line: string; usable: boolean }> {
  try {
    const parsed = JSON.parse(await readFile(file, "utf8")) as { ICD?: { library_path?: string } };
    const library = parsed.ICD?.library_path ?? "";
    if (library === "") return { line: `${file} names no library`, usable: false };
    const candidates = library.includes("/")
      ? [join(library.startsWith("/") ? "/" : dirname(file), library)]
      : (await libraryFolders()).map((folder) => join(folder, library));
    const present = await Promise.all(candidates.map(exists));
    const usable = present.includes(true);
    return { line: `${file} -> ${library}${usable ? "" : ", which is missing"}`, usable };
  } catch (error) {
    return { line: `${file} cannot be read: ${messageOf(error)}`, usable: false };
  }
}

/** Graphics hardware that the operating system's kernel drives. */
async function explainHardware(): Promise<{ lines: string[]; vendor: "nvidia" | "dri" | undefined }> {
  const version = await readFile("/proc/driver/nvidia/version", "utf8").catch(() => "");
  if (version !== "" || (await exists("/dev/nvidia0"))) {
    const shown = version.split("\n")[0]?.replace(/^NVRM version:\s*/, "") ?? "";
    return { lines: [`kernel driver: NVIDIA ${shown}`.trim()], vendor: "nvidia" };
  }
  const nodes = (await list("/dev/dri")).filter((name) => name.startsWith("renderD"));
  if (nodes.length > 0) {
    return { lines: nodes.map((node) => `kernel driver: /dev/dri/${node} (AMD, Intel or other)`), vendor: "dri" };
  }
  return {
    lines: ["kernel driver: none (no /proc/driver/nvidia, no /dev/nvidia0, no /dev/dri/renderD*)"],
    vendor: undefined,
  };
}

/** What was looked for on Linux and what to install, line by line. Elsewhere only the package and its verdict. */
export async function explainNoVulkan(): Promise<string[]> {
  const dawn = await loadDawn();
  const lines = [
    dawn === undefined
      ? `Dawn: the package "webgpu" does not load on ${operatingSystem()}-${arch()}: ${dawnFailure}`
      : `Dawn: the package "webgpu" is installed`,
  ];
  const advice = dawn === undefined ? ["install it where it is missing: npm install webgpu"] : [];
  if (dawn !== undefined) {
    const names = (await adapterNames(dawn)).map(({ name }) => name);
    lines.push(`adapters: ${names.length === 0 ? "none" : names.join(", ")}`);
    if (names.some((name) => chooseName([name], { software: false }) === undefined)) {
      advice.push(`a software adapter is only taken when named, for example: --adapter "${names[0] ?? ""}"`);
    }
  }
  if (operatingSystem() !== "linux") return [...lines, ...advice];
  const loader = await explainLoader();
  const drivers = await explainDrivers();
  const hardware = await explainHardware();
  lines.push(...loader.lines, ...drivers.lines, ...hardware.lines);
  if (!loader.found) {
    advice.push(
      "install a Vulkan loader (Debian, Ubuntu: libvulkan1; Fedora, RHEL: vulkan-loader), or set LD_LIBRARY_PATH",
    );
  }
  if (hardware.vendor === undefined) {
    advice.push(
      "this machine shows no GPU: in a container, pass it through (docker run --gpus all, or --device /dev/dri)",
    );
  } else if (!drivers.found && hardware.vendor === "nvidia") {
    advice.push(
      "install NVIDIA's Vulkan driver (libGLX_nvidia.so.0 and nvidia_icd.json); in a container set " +
        "NVIDIA_DRIVER_CAPABILITIES=all or include graphics in it",
    );
  } else if (!drivers.found) {
    advice.push("install a Vulkan driver (Debian, Ubuntu: mesa-vulkan-drivers; Fedora, RHEL: mesa-vulkan-drivers)");
  }
  advice.push("or work without a GPU: --backend wasm");
  return [...lines, ...advice];
}
