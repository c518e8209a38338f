/** Factors in folders when things go wrong: damage, locks, full disks. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  b,
  backend,
  BLOCKS,
  contents,
  counted,
  files,
  folder,
  inFolder,
  KEPT,
  N,
  parent,
  refusal,
  solution,
  stopped,
  TILE,
} from "../../test/factor-folders.ts";
import { diskOf } from "../../test/full-disk.ts";
import { cholesky, openFactor } from "./cholesky.ts";
import { Tiling } from "./tiling.ts";

/** Changes one byte of a file. */
async function flip(name: string, position: number): Promise<void> {
  const bytes = await readFile(join(folder, name));
  bytes[position] = (bytes[position] ?? 0) ^ 0x10;
  await writeFile(join(folder, name), bytes);
}

describe("a damaged folder", () => {
  const kept = () => ({ files, folder });
  const tiling = new Tiling(N, TILE);

  it("a flipped byte of a tile is found when it is opened, solved with or gone on from, with the tile's place", async () => {
    for (const [i, j] of [
      [0, 0],
      [5, 1],
      [BLOCKS - 1, 0],
      [BLOCKS - 1, BLOCKS - 1],
    ] as const) {
      await solution(counted(), inFolder("scratch", true));
      const place = tiling.offset(i, j) + Math.floor(Math.random() * tiling.tileBytes(i, j));
      await flip("tiles.f64", place);
      const opening = await refusal(openFactor(backend, kept()));
      expect([opening.code, opening.details["i"], opening.details["j"]]).toEqual(["E_CORRUPT", i, j]);
      expect(opening.message).toContain(`tile (${i}, ${j})`);
      using streamed = await cholesky(backend, counted(), inFolder("scratch", true));
      const solving = await refusal(streamed.solve(b));
      expect([solving.code, solving.details["i"], solving.details["j"]]).toEqual(["E_CORRUPT", i, j]);
      await rm(folder, { recursive: true });
    }
    const finished = await stopped(counted(), inFolder("scratch", false));
    await flip("tiles.f64", tiling.offset(BLOCKS - 1, finished - 1) + 5);
    const error = await refusal(cholesky(backend, counted(), inFolder("scratch", false)));
    expect([error.code, error.details["i"], error.details["j"]]).toEqual(["E_CORRUPT", BLOCKS - 1, finished - 1]);
  });

  it("files that were cut off, are missing, or say something else are refused by name", async () => {
    await solution(counted(), inFolder("scratch", true));
    const sizes = { "tiles.f64": tiling.totalBytes, "tiles.f64.crc32c": tiling.tiles * 4, "pivots.f64": N * 8 };
    for (const [name, size] of Object.entries(sizes)) {
      expect((await stat(join(folder, name))).size).toBe(size);
      const whole = await readFile(join(folder, name));
      for (const left of [size - 1, 0]) {
        await truncate(join(folder, name), left);
        for (const run of [openFactor(backend, kept()), cholesky(backend, counted(), inFolder("scratch", true))]) {
          const error = await refusal(run);
          expect([error.code, error.details["bytes"], error.details["neededBytes"]]).toEqual(["E_CORRUPT", left, size]);
          expect(error.details["path"]).toBe(`${folder}/${name}`);
        }
      }
      await rm(join(folder, name));
      expect((await refusal(openFactor(backend, kept()))).message).toContain(`${name} is missing`);
      expect(await contents()).not.toContain(`factor/${name}`);
      await writeFile(join(folder, name), whole);
    }
    for (const name of ["pivots.f64", "tiles.f64.crc32c", "factor.json"]) {
      const whole = await readFile(join(folder, name));
      await flip(name, Math.floor(whole.length / 2));
      const error = await refusal(openFactor(backend, kept()));
      expect(error.code).toBe("E_CORRUPT");
      expect(error.message).toContain("factorise again");
      await writeFile(join(folder, name), whole);
    }
    using opened = await openFactor(backend, kept());
    expect(opened.n).toBe(N);
  });

  it("one wrong digit of factor.json is found, and is as good as nothing to a run that keeps no factor", async () => {
    await solution(counted(), inFolder("scratch", true, { lambda: 0.25 }));
    const path = `${folder}/factor.json`;
    const text = await readFile(path, "utf8");
    for (const [from, to] of [
      ["0.25", "0.35"],
      [`"n": ${N}`, `"n": ${N - 1}`],
      ['"complete": true', '"complete": "yes"'],
      ["{", ""],
      [text, ""],
    ] as const) {
      await writeFile(path, text.replace(from, to));
      expect((await refusal(openFactor(backend, kept()))).code).toBe("E_CORRUPT");
      const run = cholesky(backend, counted(), inFolder("scratch", true, { lambda: 0.25 }));
      expect((await refusal(run)).message).toContain("factor.json is damaged");
    }
    const source = counted();
    await solution(source, inFolder("scratch", false, { lambda: 0.25 }));
    expect(source.columns.size).toBe(BLOCKS - 1);
    // Nothing says any more who made the folder: it stays, empty.
    expect(await contents()).toEqual(["factor"]);
  });

  it("an empty folder, none at all and an unfinished factor are not opened", async () => {
    for (const there of [[], ["factor"]]) {
      if (there.length > 0) await mkdir(folder);
      const error = await refusal(openFactor(backend, kept()));
      expect(error.code).toBe("E_DATA");
      expect(error.message).toContain("no factor.json");
      expect(await contents()).toEqual(there);
    }
    await stopped(counted(), inFolder("scratch", true));
    const error = await refusal(openFactor(backend, kept()));
    expect([error.code, error.details["folder"]]).toEqual(["E_DATA", folder]);
    expect(error.message).toContain("not finished");
  });
});

describe("locks", () => {
  const lockOf = (pid: number, startTime?: number): string =>
    JSON.stringify({ ...files.self, pid, startTime, token: crypto.randomUUID(), since: new Date().toISOString() });

  it("of two runs on one folder at once, one is told who works there", async () => {
    const runs = [1, 2].map(() => cholesky(backend, counted(), inFolder("scratch", true)));
    const outcomes = await Promise.allSettled(runs);
    const refused = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason as unknown] : []));
    expect(refused).toHaveLength(1);
    expect(refused[0]).toMatchObject({ code: "E_LOCKED", details: { pid: process.pid } });
    for (const outcome of outcomes) if (outcome.status === "fulfilled") outcome.value.dispose();
    expect(await contents()).toEqual(KEPT);
  });

  it("another live process's lock is respected, and a dead one's taken over, with its temporary files", async () => {
    await mkdir(folder);
    const lock = `${folder}/.factor.lock`;
    await writeFile(lock, lockOf(process.ppid));
    const error = await refusal(cholesky(backend, counted(), inFolder("scratch", false)));
    expect(error).toMatchObject({ code: "E_LOCKED", details: { pid: process.ppid, path: lock } });
    expect(await contents()).toEqual(["factor", "factor/.factor.lock"]);
    const child = spawn(process.execPath, ["--eval", ""]);
    await once(child, "close");
    const dead = child.pid ?? 0;
    await writeFile(lock, lockOf(dead));
    const host = files.self.host.replaceAll(/[^\w.-]/g, "_");
    await writeFile(`${folder}/factor.json.~${host}~${dead}~~0a1b.tmp`, "half a sta");
    await solution(counted(), inFolder("scratch", false));
    expect(await contents()).toEqual(["factor"]);
  });
});

describe("a full disk", () => {
  it.each([
    ["out of core", "scratch", false],
    ["out of core, kept", "scratch", true],
    ["in memory, kept", "memory", true],
  ] as const)(
    "%s: whatever write it refuses, E_IO names it, nothing leaks, and the next run goes on",
    async (_, where, keep) => {
      const expected = await solution(counted(), { tile: TILE });
      const disk = diskOf(files);
      const scratch = { files: disk.files, folder, keep };
      await solution(counted(), inFolder(where, keep, { scratch }));
      await rm(folder, { recursive: true, force: true });
      const operations = disk.operations;
      expect(operations).toBeGreaterThan(20);
      const before = backend.stats().slots;
      let resumed = 0;
      for (let k = 0; k < operations; k++) {
        disk.operations = 0;
        disk.fullAt = k;
        const error = await refusal(cholesky(backend, counted(), inFolder(where, keep, { scratch })));
        expect([k, error.code, error.details["systemCode"]]).toEqual([k, "E_IO", "ENOSPC"]);
        expect(error.details["path"]).toContain(`${folder}/`);
        expect(error.message).toContain("the disk is full");
        await backend.finish();
        expect(backend.stats().slots).toBe(before);
        expect((await contents()).filter((name) => name.includes("lock") || name.endsWith(".tmp"))).toEqual([]);
        disk.fullAt = Number.POSITIVE_INFINITY;
        const source = counted();
        expect(await solution(source, inFolder(where, keep, { scratch }))).toEqual(expected);
        if (!source.columns.has(0)) resumed++;
        expect(await contents()).toEqual(keep ? KEPT : []);
        await rm(folder, { recursive: true, force: true });
      }
      if (where === "scratch") expect(resumed).toBeGreaterThan(operations / 3);
    },
  );

  it("saving a factor: the same", async () => {
    using factor = await cholesky(backend, counted(), { tile: TILE });
    const disk = diskOf(files);
    await factor.save({ files: disk.files, folder });
    const operations = disk.operations;
    await rm(folder, { recursive: true });
    for (let k = 0; k < operations; k++) {
      disk.operations = 0;
      disk.fullAt = k;
      expect(await refusal(factor.save({ files: disk.files, folder }))).toMatchObject({ code: "E_IO" });
      expect(await contents()).toEqual([]);
    }
    await factor.save({ files, folder });
    expect(await contents()).toEqual(KEPT);
  });

  it("with too few bytes free is refused with both numbers before anything of the matrix is read but its diagonal", async () => {
    const needed = new Tiling(N, TILE).totalBytes;
    for (const [where, keep] of [
      ["scratch", false],
      ["memory", true],
    ] as const) {
      const scratch = { files: { ...files, freeBytes: async () => needed - 1 }, folder, keep };
      const source = counted();
      const error = await refusal(cholesky(backend, source, inFolder(where, keep, { scratch })));
      expect(error).toMatchObject({ code: "E_IO", details: { folder, freeBytes: needed - 1, neededBytes: needed } });
      expect(source.columns.size).toBe(0);
      expect(await contents()).toEqual([]);
    }
  });

  it("what is finished needs no room again", async () => {
    await stopped(counted(), inFolder("scratch", false));
    const free = new Tiling(N, TILE).totalBytes - (await stat(`${folder}/tiles.f64`)).size;
    const of = (bytes: number) => ({ scratch: { files: { ...files, freeBytes: async () => bytes }, folder } });
    const error = await refusal(cholesky(backend, counted(), inFolder("scratch", false, of(free - 1))));
    expect(error.details).toMatchObject({ freeBytes: free - 1, neededBytes: free });
    const source = counted();
    await solution(source, inFolder("scratch", false, of(free)));
    expect(source.columns).not.toContain(0);
  });

  it("a scratch folder in a place that does not exist is refused by name", async () => {
    const scratch = { files, folder: `${parent}/no/such/place` };
    const error = await refusal(cholesky(backend, counted(), inFolder("scratch", false, { scratch })));
    expect(error.code).toBe("E_IO");
    expect(error.message).toContain(`${parent}/no/such/place`);
    expect(error.message).toContain("create its parent folder");
  });
});
