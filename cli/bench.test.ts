/** The built command line: rows as they are done, what does not fit, what cannot be meant, and Ctrl-C. */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { start, widefield } from "../test/cli/run.ts";

const linalg = ["bench", "linalg", "--threads", "2", "--memory", "1GB", "--repeats", "1"];

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "widefield-bench-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Report {
  readonly complete: boolean;
  readonly rows: readonly Readonly<Record<string, unknown>>[];
}

describe("widefield bench linalg", () => {
  it("prints a row for each size, method and number of vectors, and what shares are of", async () => {
    const methods = ["--methods", "cholesky,solve,product,eigenvalues,cg", "--right-hand-sides", "1,3"];
    const { code, stdout } = await widefield(...linalg, "--sizes", "70,33", ...methods);
    const lines = stdout.trimEnd().split("\n");
    expect(lines[0]).toMatch(/^ *size +method +seconds +GFLOP\/s +of peak +GB\/s +of a sum +peak memory +of triangle$/);
    const labels = [
      ...["cholesky", "solve, 1 vector", "solve, 3 vectors", "product, 1 vector", "product, 3 vectors"],
      ...["eigenvalues", "cg, \\d+ iterations"],
    ];
    const expected = ["70", "33"].flatMap((n) =>
      labels.map((label) => `^ *${n} +${label} +[\\d.e-]+ .* MiB +[\\d.]+$`),
    );
    expect(lines.length).toBe(expected.length + 3);
    for (const [index, pattern] of expected.entries()) expect(lines[index + 1]).toMatch(new RegExp(pattern));
    expect(lines.at(-1)).toMatch(/^wasm \((threads|relaxed)\), 2 threads; the peak of .*[\d.]+ GFLOP\/s$/);
    expect(code).toBe(0);
  });

  it("gives one JSON object, with each row's memory measured in a process of its own", async () => {
    const { code, stdout } = await widefield(...linalg, "--sizes", "1500,40", "--methods", "cholesky", "--json");
    const { complete, rows } = JSON.parse(stdout) as Report;
    expect({ code, complete }).toEqual({ code: 0, complete: true });
    const [large, small] = rows as { n: number; peakBytes: number; baseBytes: number; triangleBytes: number }[];
    expect([large?.n, small?.n]).toEqual([1500, 40]);
    expect(large?.peakBytes).toBeGreaterThan((large?.baseBytes ?? NaN) + (large?.triangleBytes ?? NaN));
    // In one process, the peak of the second could not be below that of the first.
    expect(small?.peakBytes).toBeLessThan(large?.peakBytes ?? NaN);
  });

  it("a size that does not fit says so, the others run, and the exit code is 1", async () => {
    const { code, stdout } = await widefield(...linalg, "--sizes", "90000,32", "--methods", "cholesky,eigh,product");
    const lines = stdout.trimEnd().split("\n");
    for (const [index, method] of ["cholesky", "eigh", "product, 1 vector", "product, 10 vectors"].entries())
      expect(lines[index + 1]).toMatch(new RegExp(`^ *90000 +${method}: .*memory.* \\[E_MEMORY\\]$`));
    expect(lines.slice(5, 9).map((line) => /^ *32 +\w+/.test(line))).toEqual([true, true, true, true]);
    expect(code).toBe(1);
  });

  it("keeps what it printed when it is stopped, and exits with 130", async () => {
    const running = start(...linalg, "--sizes", "48,1800", "--methods", "cholesky,eigh");
    let seen = "";
    const stopped = new Promise<number>((resolve) => {
      running.process.stdout?.on("data", (chunk: Buffer) => {
        seen += chunk.toString();
        // Two rows of 48 are done; the next ones take a while.
        if (!/48 +eigh/.test(seen) || running.process.killed) return;
        running.process.kill("SIGINT");
        resolve(performance.now());
      });
    });
    await stopped;
    const { code, stdout, stderr } = await running.outcome;
    expect(code).toBe(130);
    expect(stdout).toMatch(/^ *48 +cholesky [^]*^ *48 +eigh /m);
    expect(stderr).toMatch(/stopped \[E_ABORTED\]/);
  });

  it("as JSON, a run that was stopped has the rows that were done, and says that it is not complete", async () => {
    const running = start(...linalg, "--sizes", "3000", "--methods", "eigenvalues", "--json", "--repeats", "50");
    setTimeout(() => running.process.kill("SIGINT"), 1500);
    const { code, stdout } = await running.outcome;
    expect(code).toBe(130);
    expect(JSON.parse(stdout)).toMatchObject({ complete: false, rows: [] });
  });

  it("leaves nothing in the scratch folder", async () => {
    const { code } = await widefield(...linalg, "--sizes", "64", "--methods", "cholesky", "--scratch", folder);
    expect(code).toBe(0);
    expect(await readdir(folder)).toEqual([]);
  });
});

describe("what cannot be meant", () => {
  it.each([
    [["--methods", "choleski"], /there is no "choleski"; did you mean "cholesky"\? methods are cholesky, solve/],
    [["--methods", ""], /--methods is a list such as a,b,c, without gaps, not ""/],
    [["--sizes", "0"], /--sizes: "0" is not a whole number from 1 on/],
    [["--sizes", "512,many"], /--sizes: "many" is not a whole number/],
    [["--sizes", "1e3"], /--sizes: "1e3" is not a whole number/],
    [["--sizes", "512,,1024"], /--sizes is a list such as a,b,c, without gaps/],
    [["--right-hand-sides", "-1"], /--right-hand-sides: "-1" is not a whole number/],
    [["--repeats", "0"], /--repeats: "0" is not a whole number from 1 on/],
    [["--threads", "0"], /--threads: "0" is not a whole number from 1 on/],
    [["--threads", "5000"], /threads must be at most 1024/],
    [["--memory", "much"], /"much" is not an amount of memory/],
    [["--seed", "x"], /--seed is a whole number/],
    [["--scratch", "/no/such/folder"], /--scratch \/no\/such\/folder: .*name a folder that is there \[E_IO\]/],
  ])("%j", async (args, message) => {
    const { code, stdout, stderr } = await widefield(...linalg, "--sizes", "16", "--methods", "cholesky", ...args);
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  });

  it("a scratch folder that is a file", async () => {
    const path = join(folder, "file");
    await writeFile(path, "");
    const { code, stderr } = await widefield(...linalg, "--scratch", path);
    await rm(path);
    expect(stderr).toMatch(/it is not a folder; name a folder that is there \[E_IO\]/);
    expect(code).toBe(1);
  });

  it("the hidden command of a row's process, by itself", async () => {
    const { code, stderr } = await widefield("bench", "row");
    expect(stderr).toMatch(/bench row is what bench linalg runs for itself/);
    expect(code).toBe(1);
    expect((await widefield("bench", "--help")).stdout).not.toMatch(/\brow\b/);
  });
});
