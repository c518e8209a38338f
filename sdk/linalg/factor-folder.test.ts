/**
 * Factors in folders: runs that are stopped and go on, folders that hold something else, what is kept, and that nothing is
 * left behind.
 */
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import {
  a,
  b,
  backend,
  BLOCKS,
  contents,
  counted,
  files,
  folder,
  inFolder,
  KEPT,
  leading,
  N,
  parent,
  refusal,
  solution,
  stopped,
  TILE,
} from "../../test/factor-folders.ts";
import { planOf } from "../../test/forced-plan.ts";
import { randoms, withSpectrum } from "../../test/spectra.ts";
import { cholesky, openFactor, type CholeskyOptions } from "./cholesky.ts";
import type { CholeskyFactor } from "./factor.ts";
import { denseSymmetric, type SymmetricSource } from "./source.ts";

describe("a factorisation that is stopped", () => {
  it("goes on at its finished columns, reads only the rest of the matrix, and ends with the same bits", async () => {
    const expected = await solution(counted(), { tile: TILE });
    for (const keep of [false, true]) {
      for (const fraction of [0.2, 0.5, 0.8]) {
        const finished = await stopped(counted(), inFolder("scratch", keep), fraction);
        expect(finished).toBeGreaterThan(0);
        expect(finished).toBeLessThan(BLOCKS);
        const source = counted();
        const lines: string[] = [];
        const fractions: number[] = [];
        const options = inFolder("scratch", keep, {
          // Whatever the panels of the run before were.
          plan: planOf(N, TILE, "scratch", 1 + (finished % 3)),
          log: (line) => lines.push(line),
          onProgress: (progress) => fractions.push(progress.fraction),
        });
        expect(await solution(source, options)).toEqual(expected);
        expect(Math.min(...source.columns)).toBeGreaterThanOrEqual(finished);
        expect(lines.join()).toContain(`${finished} finished columns`);
        expect(fractions.at(-1)).toBeCloseTo(1, 6);
        expect(Math.max(...fractions)).toBeLessThanOrEqual(1);
        expect(await contents()).toEqual(keep ? KEPT : []);
        await rm(folder, { recursive: true, force: true });
      }
    }
  });

  it("in memory goes on, too, where its factor is to be kept", async () => {
    const n = 3000;
    const source: SymmetricSource = {
      n,
      identity: "large",
      block: (rowBegin, rowEnd, columnBegin, columnEnd) => {
        const [rows, columns] = [rowEnd - rowBegin, columnEnd - columnBegin];
        return new Float64Array(rows * columns).map((_, at) => {
          const apart = Math.abs(rowBegin + Math.floor(at / columns) - columnBegin - (at % columns));
          return apart === 0 ? 3 : 1 / (1 + apart * apart);
        });
      },
    };
    const right = randoms(n);
    const solve = async (options: CholeskyOptions): Promise<Float64Array> => {
      using factor = await cholesky(backend, source, options);
      expect(factor.plan.where).toBe("memory");
      return await factor.solve(right);
    };
    const expected = await solve({});
    const scratch = { files, folder, keep: true };
    const finished = await stopped(source, { scratch }, 0.1);
    expect(finished).toBeGreaterThan(0);
    expect(finished).toBeLessThan(Math.ceil(n / 128));
    let read = 0;
    const rest: SymmetricSource = {
      ...source,
      block: (...range) => {
        read += (range[1] - range[0]) * (range[3] - range[2]);
        return source.block(...range);
      },
    };
    const total = (n * n) / 2;
    using again = await cholesky(backend, rest, { scratch });
    expect(await again.solve(right)).toEqual(expected);
    expect(read).toBeLessThan(0.95 * total + n * 512);
    using opened = await openFactor(backend, { files, folder });
    expect(await opened.solve(right)).toEqual(expected);
  });

  it("begins anew where the matrix has no identity, and leaves nothing for later", async () => {
    const source = { ...counted(), identity: undefined };
    const options = inFolder("scratch", false);
    expect(await stopped(source, options)).toBe(0);
    expect(await contents()).toEqual([]);
    source.columns.clear();
    await solution(source, options);
    expect(source.columns.size).toBe(BLOCKS - 1);
  });

  it("as an extension, goes on with the old factor's rows still taken over", async () => {
    const rowsBefore = 5 * TILE;
    const corner = leading(rowsBefore);
    using old = await cholesky(backend, denseSymmetric(corner, rowsBefore), { tile: TILE });
    const options = inFolder("scratch", false);
    const stop = new AbortController();
    const onProgress: CholeskyOptions["onProgress"] = ({ phase, fraction }) => {
      if (phase === "factor" && fraction > 0.4) stop.abort();
    };
    const first = old.extend(counted(), { ...options, onProgress, signal: stop.signal });
    expect((await refusal(first)).code).toBe("E_ABORTED");
    const rows = new Set<number>();
    const source = counted();
    const seeing: SymmetricSource = {
      ...source,
      block: (...range) => {
        if (range[0] !== range[2]) rows.add(range[0]);
        return source.block(...range);
      },
    };
    const lines: string[] = [];
    using extended = await old.extend(seeing, { ...options, log: (line) => lines.push(line) });
    expect(lines.join()).toContain("going on from there");
    expect(Math.min(...rows)).toBeGreaterThanOrEqual(rowsBefore);
    expect(await extended.solve(b)).toEqual(await solution(counted(), { tile: TILE }));
  });
});

describe("a folder that holds something else", () => {
  /** Another matrix, shift, or tile. */
  const others: readonly [string, (source: SymmetricSource) => SymmetricSource, CholeskyOptions][] = [
    ["identity", (source) => ({ ...source, identity: "b" }), {}],
    ["shift", (source) => source, { lambda: 0.5 }],
    ["tile", (source) => source, { tile: 32, plan: planOf(N, 32, "scratch", 2) }],
    [
      "diagonal",
      (source) => ({
        ...source,
        block: async (...range) => (await source.block(...range)).map((value) => value * 2),
      }),
      {},
    ],
  ];

  it.each(others)(
    "a finished factor that differs in its %s is refused where it is to be kept",
    async (name, of, more) => {
      await solution(counted(), inFolder("scratch", true));
      const before = await readFile(`${folder}/tiles.f64`);
      const error = await refusal(cholesky(backend, of(counted()), inFolder("scratch", true, more)));
      expect(error.code).toBe("E_MISMATCH");
      expect(error.details["differing"]).toContain(name);
      expect(error.message).toContain(`${name} `);
      expect(await readFile(`${folder}/tiles.f64`)).toEqual(before);
      expect(await contents()).toEqual(KEPT);
    },
  );

  it.each(others)("an unfinished one that differs in its %s is begun anew", async (_, of, more) => {
    const expected = await solution(of(counted()), { tile: TILE, ...more, plan: undefined });
    for (const keep of [true, false]) {
      expect(await stopped(counted(), inFolder("scratch", keep))).toBeGreaterThan(0);
      const source = counted();
      expect(await solution(of(source), inFolder("scratch", keep, more))).toEqual(expected);
      expect(source.columns).toContain(0);
      expect(await contents()).toEqual(keep ? KEPT : []);
      await rm(folder, { recursive: true, force: true });
    }
  });

  it("a kept factor is not given up for another matrix's scratch", async () => {
    using old = await cholesky(backend, counted(), inFolder("scratch", true));
    const expected = await old.solve(b);
    const other = { ...counted(), identity: "b" };
    const error = await refusal(cholesky(backend, other, inFolder("scratch", false, { lambda: 1 })));
    expect(error.code).toBe("E_MISMATCH");
    expect(await contents()).toEqual(KEPT);
    expect(await old.solve(b)).toEqual(expected);
  });

  it("a folder that was there before stays, empty", async () => {
    await mkdir(folder);
    await solution(counted(), inFolder("scratch", false));
    expect(await readdir(folder)).toEqual([]);
    // Also where a run that was stopped has been in it.
    expect(await stopped(counted(), inFolder("scratch", false))).toBeGreaterThan(0);
    await solution(counted(), inFolder("scratch", false));
    expect(await readdir(folder)).toEqual([]);
    await rm(folder, { recursive: true });
  });

  it("a kept factor of the same matrix is taken, and stays, where only scratch was asked for", async () => {
    const expected = await solution(counted(), inFolder("scratch", true));
    const source = counted();
    expect(await solution(source, inFolder("scratch", false))).toEqual(expected);
    expect(source.columns.size).toBe(0);
    expect(await contents()).toEqual(KEPT);
  });

  it("without identities nothing says that a kept factor is of the same matrix", async () => {
    const source = denseSymmetric(a, N);
    await solution(source, inFolder("scratch", true));
    const error = await refusal(cholesky(backend, source, inFolder("scratch", true)));
    expect(error.code).toBe("E_MISMATCH");
    expect(error.message).toContain("nothing says that it is of the same matrix");
  });

  it("a folder with somebody's own files stays, with them", async () => {
    await mkdir(folder);
    await writeFile(`${folder}/notes.txt`, "mine");
    await solution(counted(), inFolder("scratch", false));
    expect(await contents()).toEqual(["factor", "factor/notes.txt"]);
  });
});

describe("nothing is left behind", () => {
  it("by scratch, which is unlinked while it is still used", async () => {
    using factor = await cholesky(backend, counted(), inFolder("scratch", false));
    expect(await contents()).toEqual([]);
    expect(await factor.solve(b)).toEqual(await solution(counted(), { tile: TILE }));
    using other = await cholesky(backend, counted(), inFolder("scratch", false, { lambda: 1 }));
    expect(await other.solve(b)).not.toEqual(await factor.solve(b));
    factor.dispose();
    expect(await other.solve(b)).toEqual(await solution(counted(), { tile: TILE, lambda: 1 }));
  });

  it("by a search for the jitter, however many attempts it takes; only the factor that was wanted is kept", async () => {
    const indefinite = withSpectrum(Array.from({ length: N }, (_, i) => (i === 0 ? -3e-6 : 1)));
    // Its last pivot is positive, and what rounding would make of two equal rows.
    const noisy = new Float64Array(N * N).map((_, at) => (at % (N + 1) === 0 ? 1 : 0));
    noisy.set([1, 1 + 4 * 2 ** -52], N * N - 2);
    for (const matrix of [indefinite, noisy]) {
      const source = { ...denseSymmetric(matrix, N), identity: "needs jitter" };
      using here = await cholesky(backend, source, { tile: TILE, jitter: "auto" });
      expect(here.jitterUsed).toBeGreaterThan(0);
      const expected = await here.solve(b);
      for (const where of ["memory", "scratch"] as const) {
        using scratch = await cholesky(backend, source, inFolder(where, false, { jitter: "auto" }));
        expect(scratch.jitterUsed).toBe(here.jitterUsed);
        expect(await scratch.solve(b)).toEqual(expected);
        expect(await contents()).toEqual([]);
        // Once more takes the factor that was found, at its jitter.
        for (const turn of [1, 2]) {
          let work = 0;
          const onProgress = () => work++;
          using kept = await cholesky(backend, source, inFolder(where, true, { jitter: "auto", onProgress }));
          expect(kept.jitterUsed).toBe(here.jitterUsed);
          expect(await kept.solve(b)).toEqual(expected);
          expect(await contents()).toEqual(KEPT);
          expect(work > 0).toBe(turn === 1);
        }
        await rm(folder, { recursive: true });
      }
    }
  });

  it("a search that was stopped goes on with the jitter that it had come to", async () => {
    const matrix = withSpectrum(Array.from({ length: N }, (_, i) => (i === 0 ? -3e-6 : 1)));
    const source = { ...denseSymmetric(matrix, N), identity: "needs jitter" };
    using whole = await cholesky(backend, source, { tile: TILE, jitter: "auto" });
    const stop = new AbortController();
    const onProgress: CholeskyOptions["onProgress"] = ({ phase, jitter, fraction }) => {
      if (phase === "factor" && jitter === whole.jitterUsed && fraction > 0.5) stop.abort();
    };
    const auto = inFolder("scratch", false, { jitter: "auto" });
    const run = cholesky(backend, source, { ...auto, onProgress, signal: stop.signal });
    expect((await refusal(run)).code).toBe("E_ABORTED");
    const jitters = new Set<number>();
    using again = await cholesky(backend, source, { ...auto, onProgress: ({ jitter }) => jitters.add(jitter) });
    expect([...jitters]).toEqual([whole.jitterUsed]);
    expect(await again.solve(b)).toEqual(await whole.solve(b));
    // A jitter that somebody chose says nothing about smaller ones.
    const chosen = inFolder("scratch", false, { jitter: 1e-3 });
    expect(await stopped({ ...counted(), identity: "good" }, chosen)).toBeGreaterThan(0);
    using good = await cholesky(backend, { ...counted(), identity: "good" }, auto);
    expect(good.jitterUsed).toBe(0);
  });

  it("by a failure, explained or not, kept or not", async () => {
    const matrix = withSpectrum(Array.from({ length: N }, (_, i) => (i === 0 ? -3e-4 : 1)));
    const source = { ...denseSymmetric(matrix, N), identity: "indefinite" };
    for (const where of ["memory", "scratch"] as const) {
      for (const keep of [true, false]) {
        for (const explain of [true, false]) {
          const error = await refusal(cholesky(backend, source, inFolder(where, keep, { explain })));
          expect(error.code).toBe("E_NOT_POSITIVE_DEFINITE");
          expect(error.details["jitterNeeded"]).toBe(explain ? 1e-3 : undefined);
          expect(await contents()).toEqual([]);
        }
      }
    }
  });
});

describe("kept factors", () => {
  const small = 5 * TILE + 3;

  it("are extended from where they are, in memory or streamed, into another folder or the same one", async () => {
    const expected = await solution(counted(), { tile: TILE });
    const scratch = { files, folder, keep: true };
    const plan = planOf(small, TILE, "scratch", 1);
    using streamed = await cholesky(backend, denseSymmetric(leading(small), small), { tile: TILE, plan, scratch });
    using opened = await openFactor(backend, scratch);
    for (const old of [streamed, opened]) {
      const more = { ...inFolder("scratch", true), scratch: { ...scratch, folder: `${parent}/larger` } };
      using larger = await old.extend(counted(), more);
      expect(await larger.solve(b)).toEqual(expected);
      using again = await openFactor(backend, more.scratch);
      expect(await again.solve(b)).toEqual(expected);
      await rm(more.scratch.folder, { recursive: true });
      expect((await refusal(old.extend(counted(), inFolder("scratch", true)))).code).toBe("E_MISMATCH");
    }
    expect((await refusal(streamed.extend(counted(), inFolder("scratch", false)))).code).toBe("E_MISMATCH");
    expect(await streamed.solve(b.subarray(0, small))).toEqual(await opened.solve(b.subarray(0, small)));
  });

  it("an extension by nothing, of less than a tile, and by rows that make it indefinite", async () => {
    const expected = await solution(counted(), { tile: TILE });
    const seen: number[] = [];
    const onProgress: CholeskyOptions["onProgress"] = ({ fraction }) => seen.push(fraction);
    for (const n of [1, TILE - 1, TILE, N - 1, N]) {
      using old = await cholesky(backend, denseSymmetric(leading(n), n), { tile: TILE });
      for (const where of ["memory", "scratch"] as const) {
        using extended = await old.extend(counted(), inFolder(where, false, { onProgress }));
        expect(await extended.solve(b)).toEqual(expected);
      }
    }
    const whole = 4 * TILE;
    const corner = denseSymmetric(leading(whole), whole);
    using old = await cholesky(backend, corner, { tile: TILE });
    using same = await old.extend(corner, { onProgress });
    expect(await same.solve(b.subarray(0, whole))).toEqual(await old.solve(b.subarray(0, whole)));
    expect(seen.every((fraction) => fraction >= 0 && fraction <= 1)).toBe(true);
    expect((await refusal(same.extend(denseSymmetric(leading(3), 3)))).code).toBe("E_SHAPE");
    const wrong = a.slice();
    const bad = N - 2;
    wrong[bad * N + bad] = -1;
    for (const where of ["memory", "buffers", "scratch"] as const) {
      const error = await refusal(old.extend(denseSymmetric(wrong, N), inFolder(where, true)));
      expect([error.code, error.details["pivot"]]).toEqual(["E_NOT_POSITIVE_DEFINITE", bad]);
      expect(await contents()).toEqual([]);
    }
    // As it was.
    expect(await old.solve(b.subarray(0, whole))).toHaveLength(whole);
  });

  it("are saved again without harm, and never over another one", async () => {
    const save = (factor: CholeskyFactor) => factor.save({ files, folder });
    using factor = await cholesky(backend, counted(), { tile: TILE });
    await save(factor);
    const before = await stat(`${folder}/tiles.f64`);
    await save(factor);
    expect((await stat(`${folder}/tiles.f64`)).mtimeMs).toBe(before.mtimeMs);
    using opened = await openFactor(backend, { files, folder });
    await save(opened);
    using other = await cholesky(backend, counted(), { tile: TILE, lambda: 2 });
    expect((await refusal(save(other))).code).toBe("E_MISMATCH");
    using anonymous = await cholesky(backend, denseSymmetric(a, N), { tile: TILE });
    expect((await refusal(save(anonymous))).code).toBe("E_MISMATCH");
    expect(await opened.solve(b)).toEqual(await factor.solve(b));
    factor.dispose();
    expect((await refusal(save(factor))).code).toBe("E_CLOSED");
    expect(await contents()).toEqual(KEPT);
  });
});
