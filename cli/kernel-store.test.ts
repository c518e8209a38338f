import { rm, writeFile } from "node:fs/promises";
import { Command } from "commander";
import h5wasm from "h5wasm/node";
import { beforeAll, describe, expect, it } from "vitest";
import { runKernelJob } from "../sdk/covariance/job.ts";
import type { Files } from "../sdk/platform/files.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { KernelStore } from "../sdk/covariance/store/store.ts";
import { freshFolder, hashSource, specOf } from "../test/kernel-job-fixtures.ts";
import { addKernelStoreCommands } from "./kernel-store.ts";

const memoryBytes = 1 << 26;
let files: Files;
beforeAll(async () => {
  files = await nodeFiles();
});

interface Run {
  readonly lines: readonly string[];
  readonly exitCode: number;
}

async function widefield(...args: string[]): Promise<Run> {
  const program = new Command("widefield").exitOverride().configureOutput({ writeErr: () => undefined });
  const lines: string[] = [];
  let exitCode = 0;
  const kernel = program.command("kernel");
  addKernelStoreCommands(kernel, (command, run) =>
    run({
      files,
      memoryBytes,
      json: command.optsWithGlobals<{ json?: boolean }>().json === true,
      print: (line) => lines.push(line),
      setExitCode: (code) => (exitCode = code),
    }),
  );
  kernel.commands.forEach((command) => command.exitOverride().copyInheritedSettings(program));
  await program.parseAsync(["kernel", ...args], { from: "user" });
  return { lines, exitCode };
}

async function madeStore(): Promise<{ folder: string; path: string }> {
  const folder = await freshFolder();
  const path = `${folder}/K.zarr`;
  const store = await KernelStore.create(files, path, specOf(9, 9, 4, { symmetric: true }));
  await runKernelJob({ store, source: hashSource(true), memoryBytes });
  return { folder, path };
}

describe("widefield kernel verify", () => {
  it("says that a store is sound, and exits with 0", async () => {
    const { path } = await madeStore();
    expect(await widefield("verify", path)).toEqual({
      lines: [`${path}: nngp of hash, 9 x 9 (0:9 by 0:9), symmetric, 6 of 6 tiles are sound`],
      exitCode: 0,
    });
  });

  it("lists missing and damaged tiles, and exits with 1", async () => {
    const { path } = await madeStore();
    await rm(`${path}/c/2/0`);
    await writeFile(`${path}/c/1/1`, "short");
    const { lines, exitCode } = await widefield("verify", path);
    expect(exitCode).toBe(1);
    expect(lines.slice(0, 2)).toEqual([
      "missing  tile (2, 0)",
      `damaged  tile (1, 1)  ${path}/c/1/1: 5 bytes instead of 68`,
    ]);
    const json = await widefield("verify", path, "--json");
    expect(json.exitCode).toBe(1);
    expect(json.lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      {
        store: path,
        sound: false,
        tiles: 6,
        complete: 4,
        missing: [{ i: 2, j: 0 }],
        damaged: [{ i: 1, j: 1, file: `${path}/c/1/1`, reason: "5 bytes instead of 68" }],
      },
    ]);
  });

  it("of something else is an error with a hint", async () => {
    const folder = await freshFolder();
    await expect(widefield("verify", `${folder}/no.zarr`)).rejects.toMatchObject({ code: "E_DATA" });
  });
});

describe("widefield kernel export and import", () => {
  it("go there and back", async () => {
    const { folder, path } = await madeStore();
    const [npy, back] = [`${folder}/K.npy`, `${folder}/back.zarr`];
    expect((await widefield("export", path, npy)).lines).toEqual([`${npy}: 9 x 9, float64`]);
    expect((await widefield("import", npy, back, "--tile", "5")).lines).toEqual([
      `${back}: imported of K.npy, 9 x 9 (0:9 by 0:9), symmetric`,
    ]);
    const all = { begin: 0, end: 9 };
    const [a, b] = [await KernelStore.open(files, path), await KernelStore.open(files, back)];
    expect(await b.readBlock(all, all)).toEqual(await a.readBlock(all, all));
    expect((await widefield("verify", back)).exitCode).toBe(0);
  });

  it("take an HDF5 file of cnn-gp's, from several workers too", async () => {
    const { folder } = await madeStore();
    await h5wasm.ready;
    const parts = [
      [1, 0.5, NaN, 2],
      [NaN, NaN, NaN, 2],
    ].map((values, worker) => {
      const path = `${folder}/${worker}.h5`;
      const file = new h5wasm.File(path, "w");
      file.create_dataset({ name: "Kxx", data: Float32Array.from(values), shape: [1, 2, 2] });
      file.create_dataset({ name: "Kxtx", data: Float32Array.of(1, 2, 3, 4, 5, 6), shape: [1, 3, 2] });
      file.close();
      return path;
    });
    const [first = "", second = ""] = parts;
    const to = `${folder}/kxx.zarr`;
    await expect(widefield("import", first, to)).rejects.toMatchObject({ code: "E_CONFIG" });
    expect((await widefield("import", first, to, "--dataset", "Kxx")).lines).toEqual([
      `${to}: imported of Kxx, 2 x 2 (0:2 by 0:2), symmetric`,
      "1 entries that the file lacks are their mirror images",
    ]);
    const merged = `${folder}/merged.zarr`;
    const json = await widefield("import", second, merged, "--dataset", "Kxx", "--merge", first, "--json");
    expect(JSON.parse(json.lines.join(""))).toMatchObject({ dataset: "Kxx", rows: 2, symmetric: true, mirrored: 1 });
    expect((await widefield("import", first, `${folder}/kxt.zarr`, "--dataset", "Kxtx")).lines).toEqual([
      `${folder}/kxt.zarr: imported of Kxtx, 2 x 3 (0:2 by 0:3)`,
      "Kxtx is transposed: the training images are in the rows",
    ]);
  });

  it("print one JSON object on request", async () => {
    const { folder, path } = await madeStore();
    const [npy, back] = [`${folder}/K.npy`, `${folder}/back.zarr`];
    const exported = await widefield("export", path, npy, "--float32", "--json");
    expect(JSON.parse(exported.lines.join(""))).toEqual({
      store: path,
      file: npy,
      rows: 9,
      columns: 9,
      dtype: "float32",
    });
    const imported = await widefield("import", npy, back, "--json");
    expect(JSON.parse(imported.lines.join(""))).toMatchObject({ rows: 9, symmetric: true, exponent: 0, tile: 256 });
  });

  it("refuse a tile size that is none", async () => {
    for (const tile of ["0", "-4", "1.5", "many"]) {
      await expect(widefield("import", "A.npy", "A.zarr", "--tile", tile)).rejects.toMatchObject({
        code: "commander.invalidArgument",
      });
    }
  });
});
