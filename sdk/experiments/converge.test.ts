/** The convergence experiment on samplers whose law is known, and its folder. */
import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { wasmEngine } from "../../test/engines.ts";
import { contentOf, failing, freshFolder } from "../../test/kernel-job-fixtures.ts";
import { drawTwoLayer } from "../../test/reference/two-layer.ts";
import { arch, dataset, inputs, theory, two, twoLayerExperiment } from "../../test/two-layer-experiment.ts";
import { dense, flatten, relu, serial } from "../arch/arch.ts";
import type { Files } from "../platform/files.ts";
import { nodeFiles } from "../platform/files.node.ts";
import type { Engine } from "../engine/engine.ts";
import { RandomStream } from "../engine/rng.ts";
import { WidefieldError } from "../errors.ts";
import { EmpiricalCovariance } from "../learn/empirical-covariance.ts";
import { convergeCsv, convergeJson, outputsCsv } from "./converge-files.ts";
import { runConverge, type ConvergeExperiment } from "./converge.ts";
import { priorSampler } from "./prior-sampler.ts";

let engine: Engine;
let files: Files;
beforeAll(async () => {
  engine = await wasmEngine();
  files = await nodeFiles();
});
afterAll(() => engine.close());

const experiment = (path: string, changes: Partial<ConvergeExperiment> = {}): ConvergeExperiment =>
  twoLayerExperiment(engine, files, path, changes);

/** Draws of N(0, kernel) by a Cholesky factor. */
function gaussianSampler(kernel: Float64Array, n: number, scale = 1) {
  const factor = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = kernel[i * n + j] ?? NaN;
      for (let k = 0; k < j; k++) sum -= (factor[i * n + k] ?? NaN) * (factor[j * n + k] ?? NaN);
      factor[i * n + j] = i === j ? Math.sqrt(sum) : sum / (factor[j * (n + 1)] ?? NaN);
    }
  }
  return async (width: number) => ({
    draw: async (draw: number) => {
      const random = new RandomStream(11, width, draw);
      const z = Array.from({ length: n }, () => scale * random.normal());
      return Float32Array.from({ length: n }, (_, i) =>
        z.reduce((sum, value, k) => sum + (k <= i ? value * (factor[i * n + k] ?? NaN) : 0), 0),
      );
    },
    dispose: () => undefined,
  });
}

describe("the covariance's error", () => {
  type Draw = (draw: number) => ArrayLike<number> | Promise<ArrayLike<number>>;

  /**
   * Mean over blocks of draws of |S - K|^2, in units of what theory says for that width and so many draws. The squared
   * error of a block has a standard deviation one to two times its mean (the fewer draws, the heavier its tail), so the
   * mean of 300 blocks has a standard error of 0.06 to 0.11; tolerated are four of those that the blocks themselves
   * show. Seeds are fixed: what passes once passes always.
   */
  async function expectTheory(draw: Draw, width: number, draws: number, blocks: number): Promise<void> {
    const expected = theory.squaredError(width) / draws / theory.norm;
    const ratios: number[] = [];
    for (let block = 0; block < blocks; block++) {
      const estimate = new EmpiricalCovariance(inputs);
      for (let i = 0; i < draws; i++) estimate.add(await draw(block * draws + i));
      ratios.push(estimate.compare(theory.kernel).error ** 2 / expected);
    }
    const ratio = ratios.reduce((sum, value) => sum + value, 0) / blocks;
    const variance = ratios.reduce((sum, value) => sum + (value - ratio) ** 2, 0) / (blocks - 1);
    const standardError = Math.sqrt(variance / blocks);
    expect(standardError).toBeLessThan(0.1);
    expect(Math.abs(ratio - 1)).toBeLessThan(4 * standardError);
  }

  it.each([
    ["draws: 25", 8, 25],
    ["draws: 100", 8, 100],
    ["draws: 400", 8, 400],
    ["the width: 2", 2, 100],
    ["the width: 32", 32, 100],
  ])("falls as theory says with %s", async (_, width, draws) => {
    await expectTheory((draw) => drawTwoLayer(two, width, 1, draw), width, draws, 300);
  });

  it.each([
    [4, 25, 900],
    [4, 100, 300],
    [32, 25, 300],
    [32, 100, 300],
  ])("of the engine's own networks of width %d falls as theory says: %d draws", async (width, draws, blocks) => {
    const networks = priorSampler(engine, arch, width, dataset.select(`0:${inputs}`));
    await expectTheory((draw) => networks.draw(draw), width, draws, blocks);
    networks.dispose();
  });

  it("differs enough between those draws and widths for that to say something", () => {
    // A ratio is within 1 +- 0.4 above.
    expect(theory.squaredError(4) / theory.squaredError(32)).toBeGreaterThan(1.7);
    expect(theory.squaredError(2) / theory.squaredError(32)).toBeGreaterThan(2.5);
  });
});

describe("the experiment", () => {
  it("finds the Gaussian process itself in agreement with its kernel", async () => {
    const { widths, gaussianSampling, kernel, variance } = await runConverge(
      experiment(await freshFolder(), {
        channels: [1],
        samples: 2000,
        show: 2,
        sampler: gaussianSampler(theory.kernel, inputs),
      }),
    );
    kernel.forEach((value, k) => expect(Math.abs(value / (theory.kernel[k] ?? NaN) - 1)).toBeLessThan(1e-6));
    expect(variance).toBe(kernel[2 * (inputs + 1)]);
    const [only] = widths;
    // One draw of the error: below four times its root mean square; and p-values that are no news.
    expect(only?.covariance.error).toBeLessThan(4 * gaussianSampling);
    expect(Math.abs((only?.covariance.sampling ?? NaN) / gaussianSampling - 1)).toBeLessThan(0.2);
    expect(only?.output.kolmogorovSmirnov.pValue).toBeGreaterThan(1e-3);
    expect(only?.output.andersonDarling.pValue).toBeGreaterThan(1e-3);
    expect(Math.abs((only?.output.variance ?? NaN) - 1)).toBeLessThan(4 * Math.sqrt(2 / 2000));
    expect(Math.abs(only?.output.kurtosis ?? NaN)).toBeLessThan(5 * Math.sqrt(24 / 2000));
  });

  it("finds a process of another variance, and tells its distance from the sampling error", async () => {
    const sampler = gaussianSampler(theory.kernel, inputs, Math.sqrt(1.5));
    const { widths } = await runConverge(experiment(await freshFolder(), { channels: [1], samples: 4000, sampler }));
    // E S = 1.5 K.
    expect(widths[0]?.covariance.rest).toBeCloseTo(0.5, 1);
    // Four standard errors of a mean square: 1.5 sqrt(2 / 4000) each.
    expect(Math.abs((widths[0]?.output.variance ?? NaN) - 1.5)).toBeLessThan(0.14);
    expect(widths[0]?.output.kolmogorovSmirnov.pValue).toBeLessThan(1e-6);
    expect(widths[0]?.output.andersonDarling.pValue).toBeLessThan(1e-6);
  });

  it("finds the heavy tails of narrow networks, and their loss with width", async () => {
    const { widths } = await runConverge(experiment(await freshFolder(), { channels: [1, 4, 64], samples: 4000 }));
    const [narrow, middle, wide] = widths.map(({ output }) => output);
    // The excess kurtosis is 15 / width.
    expect(narrow?.kurtosis).toBeGreaterThan(6);
    expect(middle?.kurtosis).toBeGreaterThan(1);
    expect(wide?.kurtosis).toBeLessThan(1);
    expect(narrow?.andersonDarling.statistic).toBeGreaterThan(middle?.andersonDarling.statistic ?? NaN);
    expect(middle?.andersonDarling.statistic).toBeGreaterThan(wide?.andersonDarling.statistic ?? NaN);
  });

  it("writes tables and a manifest that it can be repeated from", async () => {
    const result = await runConverge(experiment(await freshFolder(), { samples: 50, show: 1 }));
    const facts = { dataset: dataset.name, adapter: "threads", threads: 2, runtime: "node" };
    const json = convergeJson(result, { command: "widefield converge", ...facts });
    expect(JSON.parse(JSON.stringify(json))).toMatchObject({
      manifest: {
        seed: 0,
        arch: arch.toJSON(),
        dataset: { name: "arrays", sha256: await dataset.sha256() },
        channels: [2, 16],
        samples: 50,
        inputs,
        show: 1,
        backend: "wasm",
      },
      widths: [
        { channels: 2, draws: 50 },
        { channels: 16, draws: 50 },
      ],
    });
    const table = convergeCsv(result)
      .trimEnd()
      .split("\n")
      .map((line) => line.split(","));
    expect(table.map((line) => line.length)).toEqual([13, 13, 13]);
    expect(table.flat().slice(13).map(Number).every(Number.isFinite)).toBe(true);
    const outputs = outputsCsv(result).trimEnd().split("\n");
    expect(outputs[0]).toBe("draw,channels_2,channels_16");
    expect(outputs).toHaveLength(51);
    expect(outputs[8]).toBe(
      `7,${[2, 16].map((width) => Math.fround(drawTwoLayer(two, width, 0, 7)[1] ?? NaN)).join()}`,
    );
  });
});

describe("the folder", () => {
  /** Without times: those of two runs differ. */
  const numbersOf = async (path: string) => {
    const states = [...(await contentOf(path))].filter(([name]) => name.endsWith(".state"));
    return states.map(([name, bytes]) => [name, bytes.subarray(bytes.indexOf(10)).toString("hex")]);
  };

  it("stopped anywhere, goes on and ends with the same bytes; no draw is made twice", async () => {
    const [whole, stopped] = [await freshFolder(), await freshFolder()];
    await runConverge(experiment(whole));
    const drawn: string[] = [];
    for (let turn = 0; turn < 4; turn++) {
      const controller = new AbortController();
      const stopAt = turn === 3 ? Infinity : 100 + Math.floor(Math.random() * 100);
      let made = 0;
      const { sampler, ...rest } = experiment(stopped, { signal: controller.signal });
      const run = runConverge({
        ...rest,
        // Saving all the time changes nothing but the time it takes.
        saveEvery: turn % 2 === 0 ? 0 : 30,
        sampler: async (...asked) => {
          const networks = await sampler(...asked);
          const [width] = asked;
          return {
            ...networks,
            draw: (draw) => {
              drawn.push(`${width} ${draw}`);
              if (++made === stopAt) controller.abort();
              return networks.draw(draw);
            },
          };
        },
      });
      if (turn < 3)
        await expect(run).rejects.toMatchObject({
          code: "E_ABORTED",
          message: expect.stringMatching(
            /\d+ of 300 draws of (2|16) channels on disk; the same command goes on/,
          ) as string,
        });
      else await run;
    }
    expect(new Set(drawn).size).toBe(drawn.length);
    expect(drawn).toHaveLength(600);
    expect(await numbersOf(stopped)).toEqual(await numbersOf(whole));
    expect([...(await contentOf(stopped)).keys()].sort()).toEqual(["manifest.json", "width-16.state", "width-2.state"]);
  });

  it("takes more draws and more widths, and refuses fewer draws than it has", async () => {
    const [path, whole] = [await freshFolder(), await freshFolder()];
    await runConverge(experiment(path, { samples: 40, channels: [16] }));
    const grown = await runConverge(experiment(path));
    expect(await numbersOf(path)).toEqual((await runConverge(experiment(whole)), await numbersOf(whole)));
    expect(grown.widths.map(({ draws }) => draws)).toEqual([300, 300]);
    await expect(runConverge(experiment(path, { samples: 299 }))).rejects.toMatchObject({
      code: "E_MISMATCH",
      message: expect.stringMatching(/holds 300 draws of 2 channels, more than the 299/) as string,
    });
    // Before a draw is made for another width.
    const before = await numbersOf(path);
    await expect(runConverge(experiment(path, { channels: [5, 16], samples: 299 }))).rejects.toMatchObject({
      code: "E_MISMATCH",
      message: expect.stringMatching(/300 draws of 16 channels/) as string,
    });
    expect(await numbersOf(path)).toEqual(before);
  });

  it("of another experiment is refused with the difference, and keeps what it holds", async () => {
    const path = await freshFolder();
    await runConverge(experiment(path, { samples: 20 }));
    const before = await contentOf(path);
    const other = serial(
      flatten(),
      dense({ weightVariance: 1.8, biasVariance: 0.3 }),
      relu(),
      dense({ weightVariance: 2 }),
    );
    const cases: [Partial<ConvergeExperiment>, RegExp][] = [
      [{ arch: other }, /arch\.layers\[1\]\.weightVariance: 1\.7 -> 1\.8/],
      [{ inputs: 5 }, /inputs: 6 -> 5/],
      [{ show: 3 }, /show: 0 -> 3/],
    ];
    for (const [changes, message] of cases) {
      await expect(runConverge(experiment(path, { samples: 20, ...changes }))).rejects.toMatchObject({
        code: "E_MISMATCH",
        message: expect.stringMatching(message) as string,
      });
    }
    expect(await contentOf(path)).toEqual(before);
  });

  it("with a damaged file is refused, whichever byte it is", async () => {
    const path = await freshFolder();
    await runConverge(experiment(path, { samples: 20 }));
    const name = `${path}/width-2.state`;
    const sound = await readFile(name);
    const body = sound.indexOf(10) + 1;
    for (const place of [body, body + Math.floor(Math.random() * (sound.length - body)), sound.length - 1]) {
      const damaged = Buffer.from(sound);
      damaged[place] = (damaged[place] ?? 0) ^ 4;
      await writeFile(name, damaged);
      await expect(runConverge(experiment(path))).rejects.toMatchObject({ code: "E_CORRUPT" });
    }
    for (const bytes of [sound.subarray(0, -4), sound.subarray(0, 20), new Uint8Array()]) {
      await writeFile(name, bytes);
      await expect(runConverge(experiment(path))).rejects.toMatchObject({ code: "E_CORRUPT" });
    }
    await writeFile(name, sound);
    await writeFile(`${path}/manifest.json`, "{");
    await expect(runConverge(experiment(path))).rejects.toMatchObject({
      code: "E_CORRUPT",
      message: expect.stringMatching(/manifest\.json is damaged/) as string,
    });
  });

  it("on a full disk keeps the draws that it has, and says so", async () => {
    const path = await freshFolder();
    await runConverge(experiment(path, { samples: 20 }));
    const before = await numbersOf(path);
    const full = failing(files, (operation) => (operation === "write" ? "ENOSPC" : undefined));
    // The lock needs a few bytes too: it is let through, and the states are not.
    const states = failing(files, (operation, name) =>
      operation === "write" && name.includes(".state") ? "ENOSPC" : undefined,
    );
    for (const broken of [full, states]) {
      const folder = { files: broken, path };
      await expect(runConverge(experiment(path, { folder }))).rejects.toMatchObject({
        code: "E_IO",
        message: expect.stringMatching(/ENOSPC/) as string,
      });
      expect(await numbersOf(path)).toEqual(before);
    }
  });

  it("that cannot be listed is let go", async () => {
    const path = await freshFolder();
    const broken = {
      ...files,
      list: async () => {
        throw new WidefieldError("E_IO", "EACCES");
      },
    };
    await expect(runConverge(experiment(path, { folder: { files: broken, path } }))).rejects.toMatchObject({
      code: "E_IO",
    });
    await runConverge(experiment(path, { samples: 20 }));
  });

  it("is for one process at a time", async () => {
    const path = await freshFolder();
    const runs = await Promise.allSettled([runConverge(experiment(path)), runConverge(experiment(path))]);
    const [refused, ...none] = runs.filter((run) => run.status === "rejected");
    expect(none).toEqual([]);
    expect(refused?.reason).toMatchObject({
      code: "E_LOCKED",
      message: expect.stringMatching(/process \d+ on .* is working in/) as string,
    });
  });
});
