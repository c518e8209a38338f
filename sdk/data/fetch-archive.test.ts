/** Datasets in archives: only what is wanted is taken out of them, and all of it or nothing. */
import { readdir, rm, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import { describe, expect, it } from "vitest";
import { digest, failsWith, files, FetchWorkspace } from "../../test/fetch-workspace.ts";
import { diskOf } from "../../test/full-disk.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import type { DatasetSource } from "./fetch-sources.ts";

const random = mulberry32(freshSeed());
const randomBytes = (count: number) => Uint8Array.from({ length: count }, () => Math.floor(256 * random()));
const space = new FetchWorkspace();

describe("a dataset that comes in an archive", () => {
  interface Entry {
    readonly name: string;
    readonly body?: Uint8Array;
    readonly type?: "file" | "symlink" | "directory";
  }

  async function archived(entries: readonly Entry[]): Promise<Uint8Array> {
    const archive = pack();
    for (const { name, body = new Uint8Array(0), type = "file" } of entries)
      archive.entry({ name, type, ...(type === "symlink" && { linkname: "/etc/passwd" }) }, Buffer.from(body));
    archive.finalize();
    const pieces: Uint8Array[] = [];
    for await (const piece of archive) pieces.push(piece as Uint8Array);
    return gzipSync(Buffer.concat(pieces));
  }

  const bodies = { one: randomBytes(100_000), two: randomBytes(700) };
  const members = Object.entries(bodies).map(([name, body]) => ({ name, bytes: body.length }));
  const good = [
    { name: "set/", type: "directory" as const },
    { name: "set/readme.html", body: randomBytes(50) },
    { name: "set/one", body: bodies.one },
    { name: "./set/two", body: bodies.two },
  ];

  function source(body: Uint8Array): DatasetSource {
    space.server.files.set("set.tar.gz", { body });
    const archive = { file: "set.tar.gz", bytes: body.length, sha256: digest(body), folder: "set", members };
    return { name: "set", dataset: "set", bases: [space.server.url], downloads: [], archive };
  }

  async function expectUnpacked(more: readonly string[] = []): Promise<void> {
    expect(await space.there()).toEqual(["fetched.json", "one", ...more, "two"]);
    expect(digest(await space.content("one"))).toBe(digest(bodies.one));
    expect(digest(await space.content("two"))).toBe(digest(bodies.two));
  }

  it("is unpacked, the files that are wanted and no others; a second run asks for nothing", async () => {
    const strange = [
      { name: "../one", body: randomBytes(9) },
      { name: "/tmp/widefield-two", body: randomBytes(9) },
      { name: "set/../../two", body: randomBytes(9) },
      { name: "elsewhere/one", body: randomBytes(9) },
      { name: "set/link", type: "symlink" as const },
    ];
    const set = source(await archived([...strange, ...good]));
    const report = await space.run(set);
    await expectUnpacked();
    expect(await readdir(space.folder)).toEqual(["data"]);
    expect(report.files.map(({ name, status, bytes }) => [name, status, bytes])).toEqual([
      ["one", "unpacked", 100_000],
      ["two", "unpacked", 700],
    ]);
    const again = await space.run(set);
    expect(again.files.map(({ status }) => status)).toEqual(["present", "present"]);
    expect(space.server.requests.length).toBe(1);
  });

  it("is downloaded again where a file of it is gone, and refused where one was changed", async () => {
    const set = source(await archived(good));
    await space.run(set);
    await rm(space.path("one"));
    await space.run(set);
    await expectUnpacked();
    await writeFile(space.path("two"), "mine");
    await expect(space.run(set)).rejects.toThrow(
      failsWith("E_DATA", /two is there already, and is not the published file/),
    );
    expect((await space.content("two")).toString()).toBe("mine");
    // Without the list of an earlier run, the archive tells.
    await rm(space.path("fetched.json"));
    await expect(space.run(set)).rejects.toThrow(failsWith("E_DATA", /two is there already/));
    expect((await space.content("two")).toString()).toBe("mine");
  });

  it.each<[string, () => readonly Entry[], RegExp]>([
    ["lacks a file", () => good.slice(0, 3), /it lacks two/],
    [
      "has a link in its place",
      () => [...good.slice(0, 3), { name: "set/two", type: "symlink" }],
      /two is there as a symlink/,
    ],
    [
      "has a file of another size",
      () => [...good.slice(0, 3), { name: "set/two", body: randomBytes(701) }],
      /701 bytes/,
    ],
    ["has a file twice", () => [...good, ...good.slice(2, 3)], /one is there .* not once/],
  ])("that %s is refused, and nothing of it stays", async (_name, entries, message) => {
    const set = source(await archived(entries()));
    await expect(space.run(set)).rejects.toThrow(failsWith("E_CORRUPT", message));
    expect(await space.there()).toEqual(["set.tar.gz.part"]);
  });

  it("that is no archive, or a torn one, is refused", async () => {
    const whole = await archived(good);
    const tar = [whole.subarray(0, whole.length / 2), gzipSync(randomBytes(5000)), randomBytes(3000)];
    for (const body of tar) {
      await expect(space.run(source(body))).rejects.toThrow(
        failsWith("E_CORRUPT", /not the archive that was published/),
      );
      await rm(space.path(), { recursive: true });
    }
  });

  it("goes on after a full disk from the part that is there", async () => {
    const set = source(await archived(good));
    const disk = diskOf(files);
    const [from, to] = [await operationsOf(set, "download"), await operationsOf(set, "all")];
    for (let fullAt = from; fullAt < to; fullAt++) {
      Object.assign(disk, { fullAt, operations: 0 });
      await expect(space.run(set, { files: disk.files })).rejects.toThrow(failsWith("E_IO", /disk is full/));
      const requests = space.server.requests.length;
      await space.run(set);
      expect(space.server.requests.length).toBe(requests);
      await expectUnpacked();
      await rm(space.path(), { recursive: true });
    }
  });

  /** Writes to the disk until the archive is there, or until all is. */
  async function operationsOf(set: DatasetSource, upTo: "download" | "all"): Promise<number> {
    const disk = diskOf(files);
    let operations = 0;
    const counted = {
      ...disk.files,
      create: async (path: string) => {
        if (path.includes("/one.~")) operations ||= disk.operations;
        return disk.files.create(path);
      },
    };
    await space.run(set, { files: counted });
    await rm(space.path(), { recursive: true });
    return upTo === "all" ? disk.operations : operations;
  }

  it("may be put into the folder by hand, and stays there then", async () => {
    const body = await archived(good);
    const set = source(body);
    await files.makeFolder(space.path());
    await writeFile(space.path("set.tar.gz"), body);
    await space.run(set);
    await expectUnpacked(["set.tar.gz"]);
    expect(space.server.requests.length).toBe(0);
  });
});
