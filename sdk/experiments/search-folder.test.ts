import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import type { Files } from "../platform/files.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { freshFolder } from "../../test/kernel-job-fixtures.ts";
import { drawArchitecture } from "./search-draw.ts";
import { SearchFolder, type SearchConfig } from "./search-folder.ts";
import { rowsToCsv, sortedRows, type SearchRow } from "./search-row.ts";

const config: SearchConfig = {
  dataset: { name: "digits", sha256: "a".repeat(64) },
  train: "0:100",
  validation: "100:150,50:70",
  test: "60000:60100",
  precision: "f32",
  jitter: "noise",
  skips: "script",
};

function row(seed: number, validation?: number, test = validation ?? 0): SearchRow {
  const drawn = drawArchitecture(seed);
  return {
    seed,
    status: validation === undefined ? "invalid" : "done",
    reason: validation === undefined ? 'layers[6] (conv 3x3): "eaten", all of it' : null,
    drawn: { ...drawn, convs: [...drawn.convs] },
    error: validation === undefined ? null : { train: 0, validation, test },
    kernel: validation === undefined ? null : { seconds: 1.5, pairs: 100, pairsPerSecond: 66 },
    solve: validation === undefined ? null : { seconds: 0.25, gflops: 2, jitter: 1e-6 },
    backend: "wasm",
    adapter: "threads",
    threads: 2,
  };
}

async function place(): Promise<{ files: Files; path: string }> {
  return { files: await nodeFiles(), path: `${await freshFolder()}/search` };
}

describe("the folder of a search", () => {
  it("has its rows again when it is opened again, and both tables in the order of seeds", async () => {
    const { files, path } = await place();
    const folder = await SearchFolder.open(files, path, config);
    for (const one of [row(31, 5.5, 7), row(56), row(2, 3)]) await folder.add(one);
    const again = await SearchFolder.open(files, path, config);
    expect(again.rows).toEqual([row(2, 3), row(31, 5.5, 7), row(56)]);
    expect([again.has(31), again.has(32)]).toEqual([true, false]);
    const lines = (await readFile(`${path}/results.jsonl`, "utf8")).trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(again.rows);
    expect(await readFile(`${path}/results.csv`, "utf8")).toBe(rowsToCsv(again.rows));
    expect((await readdir(path)).sort()).toEqual(["results.csv", "results.jsonl", "search.json", "seeds"]);
    expect((await readdir(`${path}/seeds`)).sort()).toEqual(["0002.json", "0031.json", "0056.json"]);
  });

  it("filled by several at once ends with all rows in its tables", async () => {
    const { files, path } = await place();
    const folders = await Promise.all([0, 1, 2].map(() => SearchFolder.open(files, path, config)));
    const work = folders.map(async (folder, shard) => {
      for (let seed = shard; seed < 15; seed += 3) await folder.add(row(seed, seed));
    });
    await Promise.all(work);
    const { rows } = await SearchFolder.open(files, path, config);
    expect(rows.map(({ seed }) => seed)).toEqual(Array.from({ length: 15 }, (_, seed) => seed));
    expect(await readFile(`${path}/results.csv`, "utf8")).toBe(rowsToCsv(rows));
  });

  it("of another configuration is refused with every difference, and stays as it was", async () => {
    const { files, path } = await place();
    await (await SearchFolder.open(files, path, config)).add(row(1, 2));
    const before = await readFile(`${path}/search.json`, "utf8");
    const other: SearchConfig = {
      ...config,
      dataset: { name: "digits", sha256: "b".repeat(64) },
      train: "0:101",
      precision: "f64",
      jitter: 1e-4,
      skips: "paper",
    };
    await expect(SearchFolder.open(files, path, other)).rejects.toMatchObject({
      code: "E_MISMATCH",
      message: expect.stringMatching(
        new RegExp(
          [
            "search holds another search \\(stored -> asked for\\):",
            "  dataset.sha256: a+ -> b+",
            "  train: 0:100 -> 0:101",
            "  precision: f32 -> f64",
            "  jitter: noise -> 0.0001",
            "  skips: script -> paper",
            "Choose another folder",
          ].join("\n"),
        ),
      ) as string,
    });
    expect(await readFile(`${path}/search.json`, "utf8")).toBe(before);
    const renamed = { ...config, dataset: { ...config.dataset, name: "the same images" } };
    expect((await SearchFolder.open(files, path, renamed)).rows).toHaveLength(1);
  });

  it("is not made among other things", async () => {
    const { files, path } = await place();
    await mkdir(path);
    await writeFile(`${path}/results.csv`, "precious");
    await expect(SearchFolder.open(files, path, config)).rejects.toThrow(
      /is not a search's folder: it holds results\.csv and no search\.json; choose a new or an empty folder/,
    );
    expect(await readdir(path)).toEqual(["results.csv"]);
  });

  it.each([
    ["cut short", '{"seed":1,"status":"done"', /0001\.json is damaged: .*JSON.*remove it.*runs seed 1 again/s],
    ["of another seed", JSON.stringify(row(2, 3)), /0001\.json is damaged: it is of seed 2/],
    ["without a field", JSON.stringify({ ...row(1, 3), kernel: undefined }), /0001\.json is damaged:.*kernel/s],
  ])("names a record that is %s", async (_, text, message) => {
    const { files, path } = await place();
    await SearchFolder.open(files, path, config);
    await writeFile(`${path}/seeds/0001.json`, text);
    const opened = SearchFolder.open(files, path, config);
    await expect(opened).rejects.toMatchObject({
      code: "E_CORRUPT",
      message: expect.stringMatching(message) as string,
    });
  });

  it("keeps what was finished when the disk refuses the next row", async () => {
    const { files, path } = await place();
    const folder = await SearchFolder.open(files, path, config);
    await folder.add(row(1, 2));
    const full: Files = { ...files, rename: () => Promise.reject(new Error("ENOSPC")) };
    const failing = await SearchFolder.open(full, path, config);
    await expect(failing.add(row(2, 3))).rejects.toThrow("ENOSPC");
    expect((await SearchFolder.open(files, path, config)).rows).toEqual([row(1, 2)]);
    expect(await readdir(`${path}/seeds`)).toEqual(["0001.json"]);
  });
});

describe("rows", () => {
  it("are a line of CSV each, quoted where commas and quotes would be mistaken", () => {
    const [head = "", done = "", invalid = ""] = rowsToCsv([row(31, 5.5, 7), row(56)]).split("\n");
    expect(head).toBe(
      "seed,status,validation_error,test_error,train_error,layers,filter,stride,padding,nonlinearity,skip_every," +
        "weight_variance,bias_variance,jitter,pairs,kernel_seconds,solve_seconds,backend,adapter,threads,reason",
    );
    expect(done).toBe(
      "31,done,5.5,7,0,7,7,1,same-tf,relu,1,2.788430573284125,7.864844532152,0.000001,100,1.5,0.25,wasm,threads,2,",
    );
    expect(invalid).toBe(
      "56,invalid,,,,12,3,2,valid,erf,,8.373534804340615,2.867298128117227,,,,,wasm,threads,2," +
        '"layers[6] (conv 3x3): ""eaten"", all of it"',
    );
    expect(rowsToCsv([row(1234, 1)])).toMatch(/,5 2 5 2,1,valid same-tf valid same-tf,/);
  });

  it("are sorted by validation error, then test error, then seed; those without errors come last", () => {
    const rows = [row(56), row(5, 3, 4), row(4, 3, 4), row(3, 3, 2), row(9, 0, 9), row(55)];
    expect(sortedRows(rows).map(({ seed }) => seed)).toEqual([9, 3, 4, 5, 55, 56]);
  });
});
