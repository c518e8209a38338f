/** `widefield gp` as a process: its plan, what it says of probabilities and variances, its memory. */
import { readFile, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
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
    expect(stdout).toMatch(/^fits\nsolved by cholesky for n = 200, 1 lambda, 10 right-hand sides: about /m);
    expect(await readdir(space.path("planned")).catch(() => "none")).toBe("none");
  });

  it("with --json is one object; rates of another machine can be assumed", async () => {
    const full = ["--train", "5000:55000", "--validation", "55000:60000,0:5000", "--test", "60000:70000"];
    const small = ["--memory", "4GB"];
    const { code, stdout } = await gp(
      ...full,
      ...small,
      "--plan",
      "--assume-rate",
      "1e8",
      "--assume-gflops",
      "500",
      "--json",
    );
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      images: { train: 50000, validation: 10000, test: 10000 },
      rates: { pairsPerSecond: 1e8, gflops: 500, pairsPerSecondMeasured: false, gflopsMeasured: false },
      total: { pairs: 2250025000 },
      fits: { inMemory: false },
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
    expect(await run(`${least}KiB`)).toMatchObject({ code: 0 });
  });
});

interface Solved {
  readonly error: Record<string, number>;
  readonly solve: Record<string, unknown>;
  readonly logMarginalLikelihood: number | null;
}

describe("widefield gp --solver", () => {
  const solved = async (...more: string[]) => {
    const { code, stdout, stderr } = await gp(...sets, "--json", ...more);
    expect(code, stderr).toBe(0);
    return { ...(JSON.parse(stdout) as Solved), stderr };
  };

  it("gives one answer by every method, with the facts of the solve; cg has no marginal likelihood", async () => {
    const [auto, cholesky, eigh, cg] = await Promise.all([
      solved(),
      solved("--solver", "cholesky"),
      solved("--solver", "eigh"),
      solved("--solver", "cg", "--tolerance", "1e-10"),
    ]);
    expect(auto.stderr).toMatch(
      /^solve: cholesky for n = 200, 1 lambda, 10 right-hand sides: about .*\(eigh: about .*\)\n$/,
    );
    expect(auto.solve).toMatchObject({
      solver: "cholesky",
      reason: expect.stringMatching(/^cholesky for n = 200/) as string,
    });
    expect(cholesky).toMatchObject({
      stderr: "",
      error: auto.error,
      logMarginalLikelihood: auto.logMarginalLikelihood,
    });
    for (const [method, each] of Object.entries({ eigh, cg })) {
      expect(each).toMatchObject({
        stderr: "",
        error: auto.error,
        solve: { solver: method, reason: `${method}, as asked for` },
      });
      expect(Number(each.solve["lambda"]) / Number(auto.solve["lambda"])).toBeCloseTo(1, 6);
    }
    expect((eigh.logMarginalLikelihood ?? NaN) / (auto.logMarginalLikelihood ?? NaN)).toBeCloseTo(1, 6);
    expect(cg.logMarginalLikelihood).toBeNull();
    expect(cg.solve["iterations"]).toBeGreaterThan(0);
    expect(cg.solve["relativeResidual"]).toBeLessThanOrEqual(1e-10);
  });

  it("adds --lambda to the diagonal as it is; text and report say how it was solved", async () => {
    const report = space.path("cg.html");
    const json = await solved("--lambda", "12.5", "--solver", "cg");
    expect(Number(json.solve["lambda"])).toBeCloseTo(12.5, 9);
    const { stdout } = await gp(...sets, "--lambda", "12.5", "--solver", "cg", "--variance", "--report", report);
    expect(stdout).toMatch(/^solve +\S+ s, \d+ iterations of conjugate gradients, relative residual \S+, jitter \S+$/m);
    expect(stdout).toMatch(/^log marginal likelihood +not known to conjugate gradients$/m);
    const page = await readFile(report, "utf8");
    for (const fact of [
      "solve, relative residual",
      "cg, as asked for",
      "not known to conjugate gradients",
      '"lambda":12.5',
    ])
      expect(page).toContain(fact);
  });

  it("leaves nothing in the folder for temporary files", async () => {
    const temporary = async () => (await readdir(tmpdir())).filter((name) => /^widefield-\d+-/.test(name));
    const before = await temporary();
    await solved();
    expect((await temporary()).filter((name) => !before.includes(name))).toEqual([]);
  });
});
