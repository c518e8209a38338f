/**
 * The archive for GPU servers, unpacked and run as on such a server: an empty environment, another folder, no Node on
 * the PATH, through symbolic links, from a folder that nobody may write to.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..");
let folder: string;
let archive: string;
/** The unpacked archive, below a folder with a space in its name. */
let home: string;
/** A relative link to a relative link to the launcher. */
let link: string;

function makeReadOnly(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true, recursive: true })) {
    const file = join(entry.parentPath, entry.name);
    chmodSync(file, statSync(file).mode & 0o555);
  }
  chmodSync(path, 0o555);
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "widefield-bundle-"));
  archive = join(folder, "widefield-linux-x64.tar.xz");
  // The fastest preset: the archive is a third larger than the one that is published.
  execFileSync(process.execPath, [join(root, "bundle.mjs"), "--preset", "0", "--out", archive], { stdio: "pipe" });
  const opt = join(folder, "opt with space");
  mkdirSync(join(folder, "bin"));
  mkdirSync(opt);
  execFileSync("tar", ["-C", opt, "-xf", archive]);
  home = join(opt, "widefield-linux-x64");
  makeReadOnly(home);
  symlinkSync("../opt with space/widefield-linux-x64/widefield", join(folder, "bin/launcher"));
  link = join(folder, "bin/widefield");
  symlinkSync("launcher", link);
});

afterAll(() => {
  execFileSync("chmod", ["-R", "u+w", folder]);
  rmSync(folder, { recursive: true });
});

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program with nothing in its environment but what is given. */
function bare(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Outcome {
  return spawnSync(program, args, { env, cwd: "/", encoding: "utf8" });
}

function json(outcome: Outcome): Record<string, unknown> {
  expect(outcome.status, outcome.stderr).toBe(0);
  return JSON.parse(outcome.stdout) as Record<string, unknown>;
}

/** The driver's description alone: where the loader lies is the launcher's business. */
function swiftshader(): Record<string, string> {
  const exports = execFileSync(process.execPath, [join(root, "test/swiftshader.mjs")], { encoding: "utf8" });
  return { VK_DRIVER_FILES: /VK_DRIVER_FILES='(.*)'/.exec(exports)?.[1] ?? "" };
}

describe("the archive", () => {
  it("stays below 60 MB", () => {
    expect(statSync(archive).size).toBeLessThan(60e6);
  });

  it("names the terms of everything in it that others wrote", () => {
    const notices = readFileSync(join(home, "THIRD-PARTY-LICENSES.txt"), "utf8");
    for (const part of ["Node.js", "Vulkan loader", "GCC runtime", "webgpu ", "zarrita ", "commander ", "vega "])
      expect(notices).toContain(`\n${part}`);
    expect(readFileSync(join(home, "LICENSE"), "utf8")).toContain("MIT License");
  });

  it("holds no software GPU, and files that everybody may read", () => {
    for (const entry of readdirSync(home, { withFileTypes: true, recursive: true })) {
      expect(entry.name).not.toMatch(/swiftshader|lavapipe/i);
      expect(statSync(join(entry.parentPath, entry.name)).mode & 0o444).toBe(0o444);
    }
  });
});

describe("the launcher, with an empty environment", () => {
  it("starts from another folder, through symbolic links, from a folder that is read-only", () => {
    const version = (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }).version;
    for (const program of [link, join(home, "widefield")])
      expect(bare(program, ["--version"])).toMatchObject({ status: 0, stdout: `${version}\n`, stderr: "" });
  });

  it("starts by name from the PATH, and by `sh widefield` from its own folder", () => {
    const byName = spawnSync("/bin/sh", ["-c", "widefield --version"], { env: { PATH: join(folder, "bin") } });
    expect(byName.status, byName.stderr.toString()).toBe(0);
    const bySh = spawnSync("/bin/sh", ["widefield", "--version"], { env: {}, cwd: home });
    expect(bySh.status, bySh.stderr.toString()).toBe(0);
  });

  it("hands arguments and exit codes through unchanged", () => {
    const outcome = bare(link, ["--a  b * $HOME"]);
    expect(outcome.stderr).toContain("unknown option '--a  b * $HOME'");
    expect(outcome.status).toBe(2);
  });

  it("says what is wrong where a part of the archive is missing", () => {
    const alone = join(folder, "alone");
    mkdirSync(alone);
    execFileSync("cp", [join(home, "widefield"), alone]);
    const outcome = bare(join(alone, "widefield"), ["info"]);
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toContain(`no executable ${alone}/bin/node: unpack the whole archive`);
  });
});

describe("widefield from the archive", () => {
  it("info: the wasm backend passes its self-test", () => {
    const info = json(bare(link, ["info", "--json"]));
    const [wasm] = info["backends"] as { backend: string; selfTest: number }[];
    expect(wasm?.backend).toBe("wasm");
    expect(wasm?.selfTest).toBeLessThan(1e-6);
    expect(bare(link, ["info"]).stdout).toContain("self-test");
  });

  it("selftest: every kernel agrees with float64", () => {
    const outcome = bare(link, ["selftest", "--backend", "wasm"]);
    expect(outcome.status, outcome.stderr).toBe(0);
    expect(outcome.stdout).toMatch(/all \d+ kernels agree with float64/);
  });

  it("gp: classifies synthetic digits", () => {
    const args = ["gp", "--data", "digits", "--train", "0:100", "--test", "60000:60050", "--backend", "wasm", "--json"];
    const result = json(bare(link, [...args, "--quiet"]));
    expect(result["backend"]).toBe("wasm");
    expect((result["error"] as { test: number }).test).toBeLessThan(60);
  });

  it("gp --report: draws its figures from what the archive holds", () => {
    const file = join(folder, "report.html");
    const args = ["gp", "--train", "0:50", "--test", "60000:60020", "--backend", "wasm", "--quiet", "--report", file];
    const outcome = bare(link, args);
    expect(outcome.status, outcome.stderr).toBe(0);
    expect(readFileSync(file, "utf8")).toMatch(/<figure id="confusion"[^>]*>\s*<svg /);
  });

  it("finds an adapter by name through its own Vulkan loader, and computes on it", () => {
    const args = ["gp", "--train", "0:20", "--test", "60000:60010", "--backend", "webgpu", "--adapter", "swiftshader"];
    const result = json(bare(link, [...args, "--json", "--quiet"], swiftshader()));
    expect(result["backend"]).toBe("webgpu");
    expect(result["adapter"]).toMatch(/SwiftShader/);
  });

  it("says what it looked for where no driver is, and exits with 1", () => {
    // A driver description that is not there hides those of the machine that runs the test.
    const none = { VK_DRIVER_FILES: join(folder, "no-driver.json") };
    const outcome = bare(link, ["gp", "--train", "0:20", "--backend", "webgpu"], none);
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toContain("[E_NO_ADAPTER]");
    expect(outcome.stderr).toContain('Dawn: the package "webgpu" is installed');
    expect(outcome.stderr).toMatch(/Vulkan loader: \/.*libvulkan\.so\.1/);
    expect(outcome.stderr).toContain("no-driver.json");
  });
});

describe("bundle.mjs", () => {
  it("refuses a preset that xz does not have", () => {
    const outcome = spawnSync(process.execPath, [join(root, "bundle.mjs"), "--preset", "best"], { encoding: "utf8" });
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toContain("--preset is a digit");
  });

  it("says which tool to install where xz is missing", () => {
    const tools = join(folder, "tools");
    mkdirSync(tools);
    symlinkSync(execFileSync("/bin/sh", ["-c", "command -v tar"], { encoding: "utf8" }).trim(), join(tools, "tar"));
    const args = [join(root, "bundle.mjs"), "--out", join(folder, "never.tar.xz")];
    const outcome = spawnSync(process.execPath, args, { encoding: "utf8", env: { PATH: tools } });
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toContain("there is no `xz` on the PATH: install it (xz-utils");
  });
});
