import { writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { freshFolder } from "../../../test/kernel-job-fixtures.ts";
import type { Files } from "../../platform/files.ts";
import { nodeFiles } from "../../platform/files.node.ts";
import { lockShard } from "./lock.ts";

let files: Files;
beforeAll(async () => {
  files = await nodeFiles();
});

describe("a lock", () => {
  const dead = 2 ** 22 + 1;
  const shard = { index: 0, count: 1 };
  const lockFile = ".shard-0-of-1.lock";
  const content = (changes: object) =>
    JSON.stringify({ ...files.self, token: crypto.randomUUID(), since: "2001-01-01T00:00:00Z", ...changes });

  it.each<[string, object]>([
    ["a process that is gone", { pid: dead }],
    ["this pid in an earlier life", { pid: process.pid, startTime: 1 }],
    ["this machine before it was started again", { bootId: "00000000-0000-0000-0000-000000000000" }],
  ])("of %s is taken over", async (_name, changes) => {
    const folder = await freshFolder();
    await writeFile(`${folder}/${lockFile}`, content(changes));
    const lock = await lockShard(files, folder, shard);
    await expect(lockShard(files, folder, shard)).rejects.toMatchObject({
      code: "E_LOCKED",
      details: { pid: process.pid, host: files.self.host },
    });
    await lock.release();
    expect(await files.list(folder)).toEqual([]);
  });

  it.each<[string, object]>([
    ["another host", { host: "elsewhere", pid: dead }],
    ["a process that lives", { pid: process.pid }],
  ])("of %s is respected", async (_name, changes) => {
    const folder = await freshFolder();
    await writeFile(`${folder}/${lockFile}`, content(changes));
    await expect(lockShard(files, folder, shard)).rejects.toMatchObject({ code: "E_LOCKED" });
    expect(await files.list(folder)).toEqual([lockFile]);
  });

  it("on shards of different divisions, which overlap: refused", async () => {
    const folder = await freshFolder();
    const lock = await lockShard(files, folder, { index: 0, count: 2 });
    await expect(lockShard(files, folder, { index: 2, count: 3 })).rejects.toMatchObject({ code: "E_LOCKED" });
    const beside = await lockShard(files, folder, { index: 1, count: 2 });
    await lock.release();
    await beside.release();
    expect(await files.list(folder)).toEqual([]);
  });

  it("that is damaged is not guessed about", async () => {
    const folder = await freshFolder();
    await writeFile(`${folder}/${lockFile}`, "{");
    await expect(lockShard(files, folder, shard)).rejects.toThrow(/is damaged.*remove it if no other/);
  });

  it("is taken over by exactly one of many, a process that died while taking over included", async () => {
    const folder = await freshFolder();
    for (let turn = 0; turn < 30; turn++) {
      const token = crypto.randomUUID();
      await writeFile(`${folder}/${lockFile}`, content({ pid: dead, token }));
      if (turn % 2 === 1) await writeFile(`${folder}/${lockFile}.${token}.takeover`, content({ pid: dead }));
      // Each look at the file system takes a random time, so that the contenders meet in every order.
      const contenders = Array.from({ length: 6 }, () => lockShard(delayed(files), folder, shard));
      const settled = await Promise.allSettled(contenders);
      const won = settled.filter((result) => result.status === "fulfilled");
      expect(won).toHaveLength(1);
      for (const result of settled) {
        if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "E_LOCKED" });
      }
      await won[0]?.value.release();
      expect(await files.list(folder)).toEqual([]);
    }
  });
});

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function delayed(from: Files): Files {
  const late = <A extends unknown[], R>(operation: (...args: A) => Promise<R>) => {
    return async (...args: A): Promise<R> => {
      await pause(Math.random() * 3);
      return operation(...args);
    };
  };
  return {
    ...from,
    read: late((path: string) => from.read(path)),
    link: late((name: string, other: string) => from.link(name, other)),
    rename: late((name: string, other: string) => from.rename(name, other)),
    remove: late((path: string) => from.remove(path)),
  };
}
