/** What the command line says to input that cannot be meant: one message, the right exit code, nothing on stdout. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { npyHeader } from "../../sdk/numpy/npy.ts";
import { gzip, idxFile, randomBytes, tinyFolder } from "../idx-files.ts";
import { smallArch, wasm, widefield, workspace, type Outcome } from "./run.ts";

const space = workspace();

/** One message, and nothing that only a programmer could read. */
function expectRefused({ code, stdout, stderr }: Outcome, exitCode: number, message: RegExp): void {
  expect(stderr).toMatch(message);
  expect(stderr).not.toMatch(/^\s+at .*\.[jt]s:\d+/m);
  expect(stdout).toBe("");
  expect(code).toBe(exitCode);
}

describe("usage: exit status 2", () => {
  it.each([
    [["gp", "--nonsense"], /unknown option '--nonsense'/],
    [["gp", "--backend", "cuda"], /'cuda' is invalid. Allowed choices are auto, webgpu, wasm/],
    [["gp", "--precision", "f16"], /'f16' is invalid/],
    [["gp", "--solver", "lu"], /'lu' is invalid. Allowed choices are auto, cholesky, cg, eigh/],
    [["gp", "surplus"], /too many arguments/],
    [["gp", "--train"], /argument missing/],
    [["classify"], /unknown command 'classify'/],
    [[], /Usage: widefield/],
    [["kernel"], /needs --rows and --out/],
    [["kernel", "verify"], /missing required argument 'store'/],
    [["kernel", "import", "A.npy", "A.zarr", "--tile", "0"], /whole number from 1 on/],
  ])("%j", async (args, message) => {
    expectRefused(await widefield(...args), 2, message);
  });

  it("--help and --version are answers, not errors", async () => {
    for (const args of [["--help"], ["gp", "--help"], ["kernel", "verify", "--help"], ["--version"]]) {
      const { code, stdout, stderr } = await widefield(...args);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toMatch(/Usage: widefield|^\d+\.\d+\.\d+/);
    }
  });
});

describe("options: exit status 1", () => {
  it.each([
    [["--threads", "0"], /threads must be at least 1 \[E_CONFIG\]/],
    [["--threads", "two"], /--threads is a whole number, not "two"/],
    [["--memory", "1x"], /"1x" is not an amount of memory: write bytes, or 512MB, 2GB/],
    [["--memory", "0"], /"0" is not an amount of memory/],
    [["--memory", "1MB"], /1048576 bytes is too small for 2 threads: at least \d+ are needed \[E_MEMORY\]/],
    [["--seed", "-1"], /--seed is a whole number/],
    [["--seed", "4294967296"], /seed must be below 2\^32/],
    [["--jitter", "much"], /--jitter is a number from 0 on, not "much"/],
    [["--jitter", "-1"], /--jitter is a number from 0 on, not "-1"/],
    [["--lambda", "-1"], /--lambda is a number from 0 on, not "-1"/],
    [["--lambda", "1", "--jitter", "noise"], /--jitter and --lambda are both added to the diagonal/],
    [["--tolerance", "tight"], /--tolerance is a number from 0 on, not "tight"/],
    [["--tolerance", "1e-9", "--solver", "eigh"], /--tolerance is for conjugate gradients .*eigh is exact/],
    [["--solver", "cg", "--jitter", "auto"], /conjugate gradients cannot tell how much jitter is enough/],
    [["--scratch", "a", "--keep-factor", "b"], /give one of them/],
    [["--solver", "cg", "--keep-factor", "b"], /--solver cg makes none/],
    [["--tile", "0"], /a tile has a whole number of rows and columns, at least 1, not 0/],
    [["--data", "mnits"], /no dataset is named "mnits".*did you mean "mnist"\?/],
    [["--data", "mnist"], /--data-dir/],
    [["--arch", "convnetgp"], /no preset "convnetgp"; did you mean "convnet-gp"\? presets are convnet-gp/],
    [["--arch", "missing.json"], /--arch missing\.json: .*no such file/],
    [["--train", "5:5"], /--train: .*5:5 is empty/],
    [["--train", "9:5"], /--train: .*9:5 is reversed; write 5:9/],
    [["--train", "0:70001"], /--train: .*out of bounds; valid bounds are 0:70000/],
    [["--train", "0:10,5:15"], /--train: .*overlap/],
    [["--train", "many"], /--train: .*"many" is not a range; write start:end/],
    [["--test", "7"], /--test: .*for that one image write 7:8/],
    [["--scores", "scores.csv"], /--scores needs --validation/],
    [["--kxx", "missing.zarr"], /missing\.zarr is not a kernel store/],
  ])("gp %j", async (args, message) => {
    expectRefused(await widefield("gp", ...wasm, ...space.arch, "--train", "0:10", ...args), 1, message);
  });

  it("with --debug come with a stack trace", async () => {
    for (const args of [
      ["--debug", "gp", "--threads", "0"],
      ["gp", "--threads", "0", "--debug"],
    ]) {
      const { code, stderr } = await widefield(...args);
      expect(stderr).toMatch(/threads must be at least 1[^]*\n\s+at /);
      expect(code).toBe(1);
    }
  });

  it("a GPU that is not there is explained", async () => {
    const run = await widefield("gp", "--backend", "webgpu", "--adapter", "a card of the year 3000", "--train", "0:5");
    expectRefused(run, 1, /no GPU whose name holds "a card of the year 3000" was found[^]*\[E_NO_ADAPTER\]/);
  });
});

describe("architecture files", () => {
  it.each([
    ["text", "serial(conv)", /bad\.json: the architecture is not JSON/],
    ["nothing", "", /bad\.json: the architecture is not JSON/],
    [
      "an unknown layer",
      '{"type":"serial","layers":[{"type":"pool"}]}',
      /bad\.json: architecture\.layers\[0\] is of unknown type "pool"/,
    ],
    [
      "a negative variance",
      '{"type":"dense","weightVariance":-1}',
      /bad\.json: .*weightVariance is a variance and must not be negative/,
    ],
    [
      "a filter larger than its input",
      '{"type":"conv","filter":40,"padding":"valid"}',
      /filter that is 40 pixels high does not fit.*\[E_SHAPE\]/,
    ],
    ["a map that is left", '{"type":"conv","filter":3}', /ends with a map of 28 x 28 pixels.*\[E_SHAPE\]/],
  ])("with %s", async (_, text, message) => {
    await writeFile(space.path("bad.json"), text);
    expectRefused(await widefield("gp", ...wasm, "--arch", space.path("bad.json"), "--train", "0:5"), 1, message);
  });
});

describe("data files", () => {
  /** A tiny Fashion-MNIST on disk, damaged by `change`. */
  async function folder(name: string, change: (files: Map<string, Uint8Array>) => void): Promise<string> {
    const files = tinyFolder(1, 12, 6);
    change(files);
    await mkdir(space.path(name), { recursive: true });
    for (const [path, bytes] of files) await writeFile(join(space.path(name), path.replace("data/", "")), bytes);
    return space.path(name);
  }
  const packed = "data/train-images-idx3-ubyte.gz";
  const plain = "data/train-labels-idx1-ubyte";
  const of = (files: Map<string, Uint8Array>, name: string) => files.get(name) ?? new Uint8Array();

  const cases: [string, (files: Map<string, Uint8Array>) => void, RegExp][] = [
    ["a missing file", (files) => files.delete(plain), /a file is missing in .*looked for .*train-labels-idx1-ubyte/],
    [
      "a cut gzip file",
      (files) => files.set(packed, of(files, packed).slice(0, 60)),
      /damaged or cut short.*bytes could be unpacked/,
    ],
    [
      "a cut plain file",
      (files) => files.set(plain, of(files, plain).slice(0, 15)),
      /truncated: it has 15 bytes, and 12 labels take 20/,
    ],
    ["a cut header", (files) => files.set(plain, of(files, plain).slice(0, 5)), /truncated: it has 5 bytes/],
    ["bytes after the end", (files) => files.set(plain, Uint8Array.of(...of(files, plain), 1)), /1 bytes too many/],
    [
      "images in the place of labels",
      (files) => files.set(plain, gunzipSync(of(files, packed))),
      /magic number is 0x00000803 \(images\).*are two files swapped/,
    ],
    [
      "a wrong magic number",
      (files) => files.set(plain, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)),
      /magic number is 0x01020304/,
    ],
    [
      "a page of HTML named .gz",
      (files) => files.set(packed, Buffer.from("<html>404</html>")),
      /is not gzip: it starts with 3c 68 74 6d/,
    ],
    [
      "fewer labels than images",
      (files) => files.set(plain, idxFile([11], randomBytes(1, "x", 11, 10))),
      /12 images, and .* has 11 labels/,
    ],
    [
      "a label that is no class",
      (files) => files.set(plain, idxFile([12], new Uint8Array(12).fill(10))),
      /label 0 is 10, not in 0\.\.9/,
    ],
    [
      "test images of another size",
      (files) => files.set("data/t10k-images-idx3-ubyte.gz", gzip(idxFile([6, 3, 3], new Uint8Array(54)))),
      /images of 4 x 3, and .* of 3 x 3/,
    ],
  ];
  it.each(cases)("%s", async (name, change, message) => {
    const data = ["--data", "fmnist", "--data-dir", await folder(name.replaceAll(" ", "-"), change)];
    const runs = await Promise.all([
      widefield("gp", ...wasm, ...space.arch, ...data, "--train", "0:8"),
      widefield("data", "verify", "fmnist", ...data.slice(2)),
    ]);
    for (const run of runs) expectRefused(run, 1, message);
  });

  it("whole, they serve", async () => {
    const data = ["--data", "fmnist", "--data-dir", await folder("whole", () => undefined)];
    const { code, stderr } = await widefield(
      "gp",
      ...wasm,
      ...space.arch,
      ...data,
      "--train",
      "0:12",
      "--test",
      "12:18",
    );
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(/^solve: cholesky [^\n]*\n$/) as string,
    });
  });
});

describe("matrices", () => {
  it("that are not positive definite: the message has the pivot and the jitter", async () => {
    const values = Float64Array.of(1, 2, 0, 2, 1, 0, 0, 0, 1);
    await writeFile(space.path("A.npy"), Buffer.concat([npyHeader("float64", 3, 3), new Uint8Array(values.buffer)]));
    expect((await widefield("kernel", "import", space.path("A.npy"), space.path("A.zarr"))).code).toBe(0);
    const run = await widefield(
      "gp",
      ...wasm,
      ...space.arch,
      "--train",
      "0:3",
      "--kxx",
      space.path("A.zarr"),
      "--jitter",
      "0",
    );
    expectRefused(run, 1, /pivot[^]*jitter[^]*\[E_NOT_POSITIVE_DEFINITE\]/);
    expect(run.stderr).toMatch(/\b1\b[^]*-3/);
  });

  it("of another architecture, or of other images, are refused with the difference", async () => {
    const made = await widefield("kernel", ...wasm, ...space.arch, "--rows", "0:9", "--out", space.path("K.zarr"));
    expect(made.code).toBe(0);
    const [conv, ...rest] = smallArch.layers;
    await writeFile(
      space.path("other.json"),
      JSON.stringify({ ...smallArch, layers: [{ ...conv, weightVariance: 2.5 }, ...rest] }),
    );
    const gp = ["gp", ...wasm, "--train", "0:9", "--kxx", space.path("K.zarr")];
    expectRefused(
      await widefield(...gp, "--arch", space.path("other.json")),
      1,
      /K\.zarr holds another kernel matrix[^]*arch\.layers\[0\]\.weightVariance: 2 -> 2\.5[^]*\[E_MISMATCH\]/,
    );
    expectRefused(await widefield(...gp, ...space.arch, "--seed", "5"), 1, /dataset\.sha256: [0-9a-f]+ -> [0-9a-f]+/);
    expectRefused(
      await widefield(...gp, ...space.arch, "--train", "1:9"),
      1,
      /holds the rows 0:9; 1:9 is not a leading part/,
    );
    expectRefused(
      await widefield("kernel", ...wasm, ...space.arch, "--rows", "0:10", "--out", space.path("K.zarr")),
      1,
      /rows: 0:9 -> 0:10/,
    );
  });
});

describe("places that cannot be written to", () => {
  it("a store, a folder of stores and a table of scores below a file", async () => {
    await writeFile(space.path("file"), "");
    const inside = space.path("file/inside");
    const message = /cannot .*file.*a part of the path is a file, not a folder.*\(ENOTDIR\) \[E_IO\]/;
    expectRefused(await widefield("kernel", ...wasm, ...space.arch, "--rows", "0:9", "--out", inside), 1, message);
    const gp = ["gp", ...wasm, ...space.arch, "--train", "0:9", "--validation", "20:29"];
    expectRefused(await widefield(...gp, "--store", inside), 1, message);
    // The result of a finished run is printed before the file is refused.
    const finished = await widefield(...gp, "--scores", inside);
    expect(finished.code).toBe(1);
    expect(finished.stdout).toContain("validation error");
    expect(finished.stderr).toMatch(message);
  });
});
