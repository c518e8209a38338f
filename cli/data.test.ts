import { Command } from "commander";
import { encode as encodePng } from "fast-png";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { inMemory, tinyFolder } from "../test/idx-files.ts";
import { dataCommand } from "./data.ts";

/** What `widefield data ...` prints over a folder in memory, and what it throws. */
async function run(...words: string[]): Promise<{ printed: string; thrown: unknown }> {
  let printed = "";
  const write = (text: string) => void (printed += text);
  const command = dataCommand({ write, readFile: inMemory(tinyFolder(4, 6, 3)) });
  let thrown: unknown;
  try {
    await new Command("widefield").addCommand(command).parseAsync(["data", ...words], { from: "user" });
  } catch (error) {
    thrown = error;
  }
  return { printed, thrown };
}

describe("widefield data list", () => {
  it("prints names, shapes, index ranges and files", async () => {
    const { printed, thrown } = await run("list");
    expect(thrown).toBeUndefined();
    for (const name of ["mnist", "fmnist", "notmnist", "cifar10", "cifar100", "svhn", "digits", "npy"])
      expect(printed).toMatch(new RegExp(`^${name} `, "m"));
    expect(printed).toMatch(/^imagenet +folders of JPEG and PNG images/m);
    expect(printed).toMatch(/needs train_32x32\.mat, extra_32x32\.mat, test_32x32\.mat; the extra file may be absent/);
    expect(printed).toMatch(/or the Python version's data_batch_1 \.\. data_batch_5, test_batch$/m);
    expect(printed).toMatch(/or the Python version's train, test$/m);
    expect(printed).toMatch(/28 x 28, 10 classes, train 0:60000, test 60000:70000/);
    expect(printed).toMatch(/train-images-idx3-ubyte, .*\.gz/);
    expect(printed).toMatch(/^digits .*\n.*\n {10}needs no files$/m);
    expect(printed).toMatch(/^npy .*\n {10}needs train-images\.npy, /m);
    expect(printed).toMatch(/^ {10}widefield data fetch cifar10\n {10}widefield data fetch cifar10-python$/m);
  });

  it("prints one JSON object with --json", async () => {
    const { datasets } = JSON.parse((await run("list", "--json")).printed) as { datasets: { name: string }[] };
    expect(datasets.map(({ name }) => name)).toEqual([
      "mnist",
      "fmnist",
      "notmnist",
      "cifar10",
      "cifar100",
      "svhn",
      "digits",
      "npy",
    ]);
    expect(datasets[0]).toMatchObject({ trainCount: 60_000, testCount: 10_000, classes: 10, trainOptional: false });
    expect(datasets.find(({ name }) => name === "cifar10")).toMatchObject({ fetch: ["cifar10", "cifar10-python"] });
    expect(datasets.find(({ name }) => name === "npy")).toMatchObject({ shape: null, trainCount: null, fetch: [] });
  });
});

describe("widefield data verify", () => {
  it("prints counts, labels, pixels and digests", async () => {
    const { printed, thrown } = await run("verify", "fmnist", "--data-dir", "data");
    expect(thrown).toBeUndefined();
    expect(printed).toMatch(/^fmnist: images of 4 x 3, 10 classes\ntrain {3}6 images, 0:6, pixels 0\.\d+ to \d\.\d+/);
    expect(printed).toMatch(/^test {4}3 images, 6:9/m);
    expect(printed).toMatch(/by label: (\d: [1-9]\d*(, )?)+$/m);
    expect(printed).toMatch(/^sha256 {2}[0-9a-f]{64}$/m);
    expect(printed).toMatch(/cannot be compared, the published file's digest is known only packed/);
  });

  it("prints only labels that occur, and pixels of any size", async () => {
    const array = (descr: string, shape: string, values: ArrayBufferView) => {
      const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape}), }`.padEnd(117);
      const head = Buffer.from(`\u0093NUMPY\u0001\0  ${text}\n`, "latin1");
      head.writeUInt16LE(118, 8);
      return Buffer.concat([head, new Uint8Array(values.buffer)]);
    };
    const files = new Map<string, Uint8Array>([
      ["data/train-images.npy", array("<f8", "2, 1, 2", Float64Array.of(1e308, 1e308, 1.5e308, 5))],
      ["data/train-labels.npy", array("<i4", "2,", Int32Array.of(3, 1_048_575))],
    ]);
    const written: string[] = [];
    const context = { write: (text: string) => void written.push(text), readFile: inMemory(files) };
    const command = dataCommand(context);
    await command.parseAsync(["verify", "npy", "--data-dir", "data"], { from: "user" });
    expect(written.join("")).toMatch(
      /pixels 5\.0000 to 1\.5000e\+308, mean 8\.7500e\+307\n {8}by label: 3: 1, 1048575: 1\n/,
    );
  });

  it("prints its report and then refuses files that are not the published ones", async () => {
    const { printed, thrown } = await run("verify", "mnist", "--data-dir", "data", "--json");
    const report = JSON.parse(printed) as { files: { published: string }[] };
    expect(report).toMatchObject({ name: "mnist", train: { count: 6 }, test: { count: 3 } });
    expect(report.files.map(({ published }) => published)).toEqual(Array(4).fill("different"));
    expect(thrown).toMatchObject({ name: "WidefieldError", code: "E_DATA" });
    expect(thrown).toHaveProperty(
      "message",
      expect.stringMatching(/not as published: data\/train-images-idx3-ubyte\.gz, /),
    );
  });

  it.each([
    [["mnits", "--data-dir", "data"], "E_CONFIG", /did you mean "mnist"/],
    [["mnist"], "E_CONFIG", /--data-dir/],
    [["mnist", "--data-dir", "nowhere"], "E_DATA", /4 files are missing in nowhere; looked for nowhere\/train-images/],
    [["digits", "--seed", "1.5"], "E_CONFIG", /--seed must be an integer/],
  ])("refuses %j and prints nothing", async (words, code, message) => {
    const { printed, thrown } = await run("verify", ...words);
    expect(printed).toBe("");
    expect(thrown).toMatchObject({ name: "WidefieldError", code });
    expect(thrown).toHaveProperty("message", expect.stringMatching(message));
  });
});

describe("widefield data verify imagenet", () => {
  it("decodes every image of a folder, and names those that cannot be used", async () => {
    const root = await mkdtemp(join(tmpdir(), "verify-"));
    try {
      const image = encodePng({ width: 224, height: 230, channels: 1, depth: 8, data: new Uint8Array(224 * 230) });
      for (const [path, content] of [
        ["train/a/1.png", image],
        ["train/b/2.png", image.subarray(0, 40)],
        ["val/a/3.png", image],
      ] as const) {
        await mkdir(join(root, path, ".."), { recursive: true });
        await writeFile(join(root, path), content);
      }
      const { printed, thrown } = await run("verify", "imagenet", "--data-dir", root);
      expect(printed).toMatch(/^imagenet: 2 classes\ntrain {3}1 images, and 1 that cannot be used\ntest {4}1 images\n/);
      expect(printed).toContain(`bad     ${root}/train/b/2.png: `);
      expect(thrown).toMatchObject({ code: "E_DATA" });
      await rm(join(root, "train/b/2.png"));
      const { printed: json, thrown: none } = await run("verify", "imagenet", "--data-dir", root, "--json");
      expect(none).toBeUndefined();
      expect(JSON.parse(json)).toMatchObject({ train: { good: 1, bad: 0 }, test: { good: 1, bad: 0 }, bad: [] });
    } finally {
      await rm(root, { recursive: true });
    }
  });

  it("stops at Ctrl-C, and leaves no handler of it behind", async () => {
    const root = await mkdtemp(join(tmpdir(), "verify-"));
    const before = process.listenerCount("SIGINT");
    try {
      const image = encodePng({ width: 224, height: 224, channels: 1, depth: 8, data: new Uint8Array(224 * 224) });
      await mkdir(join(root, "train/a"), { recursive: true });
      for (let i = 0; i < 40; i++) await writeFile(join(root, `train/a/${i}.png`), image);
      const verifying = run("verify", "imagenet", "--data-dir", root, "--quiet");
      expect(process.listenerCount("SIGINT")).toBe(before + 1);
      process.emit("SIGINT");
      const { printed, thrown } = await verifying;
      expect({ printed, thrown }).toMatchObject({ printed: "", thrown: { code: "E_ABORTED" } });
      expect(process.listenerCount("SIGINT")).toBe(before);
    } finally {
      await rm(root, { recursive: true });
    }
  });

  it("asks for the folder where none is given", async () => {
    expect((await run("verify", "imagenet")).thrown).toMatchObject({ code: "E_CONFIG" });
  });
});
