/** `widefield sweep rf`, `nn`, `chart` as processes; one that is killed. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { start, wasm, widefield, workspace } from "./run.ts";

const space = workspace();
const sets = ["--noise", "hf", "--train", "0:60", "--test", "60000:60040"];

describe("widefield sweep", () => {
  const rf = ["sweep", "rf", ...wasm, ...sets, "--levels", "0,7", "--lambda", "1e-3:10:3", "--width", "50"];
  const nn = ["sweep", "nn", ...wasm, ...sets, "--levels", "0,7", "--lambda", "1e-4", "--width", "20", "--epochs", "3"];

  it("fits random features and networks, and shows both in one chart", async () => {
    const [first, second, chart] = [space.path("rf"), space.path("nn"), space.path("chart")];
    const { code, stdout, stderr } = await widefield(...rf, "--out", first);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^1 of 2: level-00\.rf-50: test error 0\.\d+, accuracy [\d.]+ % at lambda .*\n2 of 2: /);
    expect(stdout).toMatch(/^model +level +lambda +test squared error +test R\^2 +test accuracy\nrf 50 +0 /);
    const again = await widefield(...rf, "--out", first);
    expect(again.stderr).toBe("2 of 2 fits were finished already\n");
    expect((await widefield(...nn, "--out", second)).code).toBe(0);
    const joined = await widefield("sweep", "chart", first, second, "--out", chart, "--json");
    const { best } = JSON.parse(joined.stdout) as { best: { line: string; level: number }[] };
    expect(best.map(({ line, level }) => `${line} at ${level}`)).toEqual([
      ...["rf 50 at 0", "rf 50 at 7"],
      ...["nn 20 at 0", "nn 20 at 7"],
    ]);
    expect((await readdir(chart)).sort()).toEqual(["errors.png", "errors.svg", "errors.vl.json", "report.html"]);
  });

  it("killed in the middle of a fit goes on with the next command, and keeps the cells that were finished", async () => {
    const grid = ["--levels", "0", "--lambda", "1e-5:1e-2:3", "--width", "64", "--epochs", "120"];
    const args = ["sweep", "nn", ...wasm, ...sets, ...grid];
    const path = space.path("killed");
    const running = start(...args, "--out", path);
    running.process.stderr?.on("data", (chunk: Buffer) => {
      if (chunk.toString().includes("1 of 3")) running.process.kill("SIGKILL");
    });
    expect((await running.outcome).code).toBeNull();
    const cellsOf = async () => {
      const names = (await readdir(join(path, "cells"))).filter((name) => name.endsWith(".json")).sort();
      return Promise.all(names.map(async (name) => [name, await readFile(join(path, "cells", name), "utf8")]));
    };
    const finished = await cellsOf();
    expect(finished.length).toBeGreaterThan(0);
    expect(finished.length).toBeLessThan(3);
    const again = await widefield(...args, "--out", path);
    expect(again).toMatchObject({ code: 0 });
    expect(again.stderr).toContain(`${finished.length} of 3 fits were finished already`);
    const all = await cellsOf();
    expect(all).toHaveLength(3);
    expect(all).toEqual(expect.arrayContaining(finished));
  });

  it("prints the paper's grids, and refuses options of another way to fit and unknown folders", async () => {
    const paper = await widefield(
      "sweep",
      "nn",
      "--dataset",
      "fmnist",
      "--noise",
      "hf",
      "--grid",
      "paper",
      "--dry-run",
    );
    expect(paper.stdout).toBe(
      "nn 4096 on fmnist-hf: 300 fits, levels 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14\n20 lambdas, 0.000001 to 0.01\n",
    );
    const useless = await widefield(...rf, "--dry-run", "--epochs", "9");
    expect(useless).toMatchObject({ code: 1, stdout: "" });
    expect(useless.stderr).toContain("--epochs is of training step by step: choose --solver adam");
    const nowhere = await widefield("sweep", "chart", space.path("none"), "--out", space.path("c"));
    expect(nowhere).toMatchObject({ code: 1, stdout: "" });
    expect(nowhere.stderr).toContain("is not a sweep's folder");
    expect((await widefield("sweep", "myrtle", "--levels", "0", "--lambda", "1")).code).toBe(2);
  });
});
