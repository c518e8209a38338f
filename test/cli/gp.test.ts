/** `widefield gp` as a process: its plan, what it says of probabilities and variances, its memory. */
import { readFile, readdir } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { wasm, widefield, workspace } from "./run.ts";

const space = workspace();
const gp = (...more: string[]) => widefield("gp", ...wasm, ...space.arch, ...more);
const sets = ["--train", "0:200", "--validation", "300:340", "--test", "60000:60050"];

describe("widefield gp --plan", () => {
  it("prints sizes, times, memory and what fits, and leaves nothing behind", async () => {
    const { code, stdout, stderr } = await gp(...sets, "--plan", "--store", space.path("planned"));
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^Kxx +200 x 200 +1 +20100 /m);
    expect(stdout).toMatch(/^Kxt +200 x 50 +1 +10000 /m);
    expect(stdout).toMatch(/^Cholesky +2\.67 M .* GFLOP\/s, measured$/m);
    expect(stdout).toMatch(/^peak .*MiB.*MiB$/m);
    expect(stdout).toMatch(/^fits$/m);
    expect(await readdir(space.path("planned")).catch(() => "none")).toBe("none");
  });

  it("with --json is one object; rates of another machine can be assumed", async () => {
    const full = ["--train", "5000:55000", "--validation", "55000:60000,0:5000", "--test", "60000:70000"];
    const { code, stdout } = await gp(...full, "--plan", "--assume-rate", "1e8", "--assume-gflops", "500", "--json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      images: { train: 50000, validation: 10000, test: 10000 },
      rates: { pairsPerSecond: 1e8, gflops: 500, pairsPerSecondMeasured: false, gflopsMeasured: false },
      total: { pairs: 2250025000 },
      fits: { factor: false, inMemory: false, stored: false },
      backend: "wasm",
    });
    const refused = await gp(...full, "--plan", "--assume-rate", "0");
    expect(refused).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/--assume-rate is a rate above 0/) as string,
    });
  });
});

describe("widefield gp", () => {
  it("says how good its probabilities are, and the marginal likelihood; with --variance the variances, alone too", async () => {
    const report = space.path("report.html");
    const { code, stdout } = await gp(...sets, "--variance", "--report", report);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^test scores +negative log-likelihood \d\.\d{4}, calibration error \d+\.\d\d %$/m);
    expect(stdout).toMatch(/^test variance +mean \S+, \S+ to \S+; prior \S+$/m);
    expect(stdout).toMatch(/^log marginal likelihood +-?\d+\.\d$/m);
    const page = await readFile(report, "utf8");
    for (const fact of [
      "log marginal likelihood, nats",
      "expected calibration error, test",
      "predictive variance, test",
    ])
      expect(page).toContain(fact);
    const result = JSON.parse((await gp(...sets, "--json")).stdout) as Record<string, unknown>;
    expect(result).toMatchObject({ variance: {}, logMarginalLikelihood: expect.any(Number) as number });
    expect(Object.keys(result["calibration"] as object)).toEqual(["validation", "test"]);
  });

  it("in too little memory names what takes it and the least that works, which works", async () => {
    const run = (memory: string) => gp("--train", "0:1200", "--test", "60000:60010", "--memory", memory);
    const refused = await run("20MB");
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toMatch(/the experiment needs \d+ MiB of memory, the budget is 20 MiB:\n {2}Kxx: /);
    const [, least = ""] = /--memory (\d+)KiB/.exec(refused.stderr) ?? [];
    expect((await run(`${Number(least) - 1}KiB`)).code).toBe(1);
    expect(await run(`${least}KiB`)).toMatchObject({ code: 0, stderr: "" });
  });
});
