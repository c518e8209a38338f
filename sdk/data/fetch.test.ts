/** Downloads from a server of the test's own, which cuts, stalls, lies and forgets. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { diskOf } from "../../test/full-disk.ts";
import { type Serving, TestServer } from "../../test/http-server.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import { nodeFiles } from "../platform/files.node.ts";
import { lockFile } from "../platform/lock.ts";
import { fetchDataset, type FetchOptions, type FetchProgress } from "./fetch.ts";
import { type DatasetSource, SOURCES } from "./fetch-sources.ts";

const random = mulberry32(freshSeed());
const below = (n: number) => Math.floor(n * random());
const randomBytes = (count: number) => Uint8Array.from({ length: count }, () => below(256));
const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const files = await nodeFiles();

let server: TestServer;
let folder: string;
beforeEach(async () => {
  server = await TestServer.start();
  folder = await mkdtemp(join(tmpdir(), "widefield-fetch-"));
});
afterEach(async () => {
  await server.stop();
  await rm(folder, { recursive: true });
});

/** Two files of a dataset, served as told; its name is none that has published digests. */
function twoFiles(serving: Partial<Serving> = {}, bases = [server.url]): DatasetSource {
  const bodies = [randomBytes(20_000 + below(60_000)), randomBytes(1 + below(3000))];
  const downloads = bodies.map((body, i) => {
    server.files.set(`${"ab"[i] ?? ""}.gz`, { body, ...serving });
    return { file: `${"ab"[i] ?? ""}.gz`, bytes: body.length, sha256: digest(body) };
  });
  return { name: "letters", dataset: "letters", bases, downloads };
}

const run = (source: DatasetSource, options: Partial<FetchOptions> = {}) =>
  fetchDataset(source.name, {
    files,
    dataDir: join(folder, "data"),
    sources: [source],
    retry: { attempts: 3, delayMs: 1 },
    ...options,
  });

const served = (name: string): Serving => {
  const file = server.files.get(name);
  if (file === undefined) throw new Error(`nothing is served as ${name}`);
  return file;
};
const there = async () => (await readdir(join(folder, "data"))).sort();
const content = async (name: string) => readFile(join(folder, "data", name));
const part = async () => (await files.size(join(folder, "data", "a.gz.part"))) ?? 0;

async function expectWhole(): Promise<void> {
  expect(await there()).toEqual(["a.gz", "b.gz"]);
  for (const name of ["a.gz", "b.gz"]) expect(digest(await content(name))).toBe(digest(served(name).body));
}

/** A run of one attempt that is cut when some bytes are on the disk; what it says, and how many they are. */
async function cutRun(source: DatasetSource): Promise<{ readonly thrown: unknown; readonly kept: number }> {
  served("a.gz").stalls = true;
  const onProgress = ({ done }: FetchProgress) => {
    if (done > 0) server.cut();
  };
  const thrown: unknown = await run(source, { onProgress, retry: { attempts: 1 } }).catch((error: unknown) => error);
  served("a.gz").stalls = false;
  return { thrown, kept: await part() };
}

const failsWith = (code: string, message: RegExp) =>
  expect.objectContaining({ name: "WidefieldError", code, message: expect.stringMatching(message) as string }) as Error;

describe("fetchDataset", () => {
  it("downloads, verifies and names every file, and tells how far it is; a second run asks for nothing", async () => {
    const source = twoFiles();
    const progress: FetchProgress[] = [];
    const report = await run(source, { onProgress: (line) => progress.push(line) });
    await expectWhole();
    const total = source.downloads.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(report).toMatchObject({ name: "letters", folder: join(folder, "data"), downloadedBytes: total });
    expect(report.files.map(({ name, status, sha256 }) => [name, status, sha256])).toEqual(
      source.downloads.map(({ file, sha256 }) => [file, "downloaded", sha256]),
    );
    expect(progress.map(({ done }) => done)).toEqual(progress.map(({ done }) => done).toSorted((a, b) => a - b));
    expect(progress.at(-1)).toMatchObject({ done: total, total });
    expect(progress.at(-1)?.rate).toBeGreaterThan(0);
    expect(server.requests.length).toBe(2);
    const again = await run(source);
    expect(again.files.map(({ status }) => status)).toEqual(["present", "present"]);
    expect(again.downloadedBytes).toBe(0);
    expect(server.requests.length).toBe(2);
  });

  it.each([true, false])("goes on where a connection was cut, wherever that was (ETag: %s)", async (tagged) => {
    for (let turn = 0; turn < 10; turn++) {
      const source = twoFiles(tagged ? { etag: '"v1"' } : {});
      const [bytes = 0] = source.downloads.map((download) => download.bytes);
      served("a.gz").cuts = Array.from({ length: 1 + below(6) }, () => below(bytes / 4));
      server.requests.length = 0;
      const report = await run(source, { retry: { attempts: 10, delayMs: 0 } });
      await expectWhole();
      // No byte is asked for twice.
      expect(report.downloadedBytes).toBe(bytes + (source.downloads[1]?.bytes ?? 0));
      const starts = server.requests.filter(({ path }) => path === "a.gz").map(({ range }) => range ?? "bytes=0-");
      expect(starts).toEqual(starts.toSorted((a, b) => parseInt(a.slice(6)) - parseInt(b.slice(6))));
      const resumed = server.requests.filter(({ range }) => range !== undefined);
      expect(resumed.every(({ ifRange }) => ifRange === (tagged ? '"v1"' : undefined))).toBe(true);
      await rm(join(folder, "data"), { recursive: true });
    }
  });

  it("gives up after some attempts, says how far it got, and goes on from there in the next run", async () => {
    const source = twoFiles({ etag: '"v1"' });
    const { thrown, kept } = await cutRun(source);
    expect(kept).toBeGreaterThan(0);
    expect(thrown).toEqual(
      failsWith("E_IO", /\(attempt 1 of 1\); \d+ of \d+ bytes are kept in .*a\.gz\.part, and the same command goes on/),
    );
    const lines: string[] = [];
    served("a.gz").statuses = [500, 502, 503];
    await expect(run(source, { log: (line) => lines.push(line) })).rejects.toThrow(failsWith("E_IO", /attempt 3 of 3/));
    expect(lines).toEqual(
      Array(2).fill(expect.stringMatching(/answers 50\d .* after \d+ of .*; trying again in 0\.00\d s/)),
    );
    expect(await part()).toBe(kept);
    server.requests.length = 0;
    const report = await run(source);
    expect(server.requests[0]).toEqual({ path: "a.gz", range: `bytes=${kept}-`, ifRange: '"v1"' });
    expect(report.downloadedBytes).toBe(served("a.gz").body.length - kept + served("b.gz").body.length);
    await expectWhole();
  });

  it("starts over where the server cannot go on, or has another version by now", async () => {
    for (const change of [{ ranges: false }, { etag: '"v2"' }]) {
      const source = twoFiles({ etag: '"v1"' });
      const { kept } = await cutRun(source);
      // The other version's bytes under the old part would be a file that nobody published.
      await writeFile(join(folder, "data", "a.gz.part"), randomBytes(kept));
      Object.assign(served("a.gz"), change);
      const lines: string[] = [];
      await run(source, { log: (line) => lines.push(line) });
      expect(lines).toEqual([expect.stringMatching(/the server sends the whole file again/)]);
      await expectWhole();
      await rm(join(folder, "data"), { recursive: true });
    }
  });

  it("starts over from a part that is longer than the file, and takes one that is whole", async () => {
    const source = twoFiles();
    await files.makeFolder(join(folder, "data"));
    await writeFile(join(folder, "data", "a.gz.part"), randomBytes(served("a.gz").body.length + 1));
    await writeFile(join(folder, "data", "b.gz.part"), served("b.gz").body);
    const report = await run(source);
    expect(report.downloadedBytes).toBe(served("a.gz").body.length);
    await expectWhole();
  });

  it("refuses what has another SHA-256 with both, keeps nothing of it, and works in the next run", async () => {
    const source = twoFiles();
    const right = served("a.gz").body;
    const wrong = right.slice();
    wrong[below(wrong.length)] = (wrong[below(wrong.length)] ?? 0) ^ 1;
    served("a.gz").body = wrong;
    if (digest(wrong) === digest(right)) wrong[0] = (wrong[0] ?? 0) ^ 1;
    const both = new RegExp(`has SHA-256 ${digest(wrong)}, and the published file ${digest(right)}`);
    await expect(run(source)).rejects.toThrow(failsWith("E_CORRUPT", both));
    expect(await there()).toEqual([]);
    served("a.gz").body = right;
    await run(source);
    await expectWhole();
  });

  it("refuses a part of other bytes in the end", async () => {
    const source = twoFiles();
    await files.makeFolder(join(folder, "data"));
    await writeFile(join(folder, "data", "a.gz.part"), randomBytes(1000));
    await expect(run(source)).rejects.toThrow(failsWith("E_CORRUPT", /SHA-256/));
    expect(await there()).toEqual([]);
  });

  it("refuses a file of another size before it is downloaded", async () => {
    const source = twoFiles();
    served("a.gz").body = randomBytes(777);
    await expect(run(source)).rejects.toThrow(
      failsWith("E_CORRUPT", /has 777 bytes, and the published file \d+: it is another file/),
    );
    expect(await there()).toEqual([]);
    expect(server.requests.length).toBe(1);
  });

  it("says that a file is not there, and tries the mirrors", async () => {
    const other = await TestServer.start();
    try {
      const gone = await TestServer.start();
      const closed = gone.url;
      await gone.stop();
      const source = twoFiles({}, [other.url, closed, server.url]);
      const lines: string[] = [];
      await run(source, { log: (line) => lines.push(line), retry: { attempts: 1 } });
      await expectWhole();
      expect(lines).toEqual(
        expect.arrayContaining([expect.stringMatching(/a\.gz is not there \(404\); trying the next/)]),
      );
      expect(lines).toEqual(expect.arrayContaining([expect.stringMatching(/ECONNREFUSED.*trying the next address/)]));
      await rm(join(folder, "data"), { recursive: true });
      await expect(run(source, { url: other.url.slice(0, -1) })).rejects.toThrow(
        failsWith("E_IO", /a\.gz is not there \(404\); nothing was kept; .*--url/),
      );
    } finally {
      await other.stop();
    }
  });

  it("tries again after an overloaded server and a connection that falls silent", async () => {
    const source = twoFiles();
    served("a.gz").statuses = [503, 429];
    await run(source);
    await expectWhole();
    await rm(join(folder, "data"), { recursive: true });
    served("a.gz").stalls = true;
    const lines: string[] = [];
    const log = (line: string) => {
      lines.push(line);
      served("a.gz").stalls = false;
    };
    await run(source, { log, retry: { delayMs: 1, stallMs: 100 } });
    expect(lines).toEqual([expect.stringMatching(/nothing arrived for 0\.1 s after \d+ of/)]);
    await expectWhole();
  });

  it("stopped on request keeps the part, and goes on from there", async () => {
    const source = twoFiles();
    served("a.gz").stalls = true;
    const stop = new AbortController();
    const stopped = run(source, {
      signal: stop.signal,
      onProgress: ({ done }) => {
        if (done > 1000) stop.abort();
      },
    });
    await expect(stopped).rejects.toThrow(failsWith("E_ABORTED", /stopped after \d+ of \d+ bytes of a\.gz; the same/));
    expect(await part()).toBeGreaterThan(1000);
    served("a.gz").stalls = false;
    const report = await run(source);
    expect(report.downloadedBytes).toBeLessThan(served("a.gz").body.length);
    await expectWhole();
    await rm(join(folder, "data"), { recursive: true });
    await expect(run(source, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "E_ABORTED" });
  });

  it("on a full disk fails with what to do, and goes on when there is room", async () => {
    const source = twoFiles();
    const disk = diskOf(files);
    disk.fullAt = 3;
    await expect(run(source, { files: disk.files })).rejects.toThrow(failsWith("E_IO", /disk is full.*ENOSPC/));
    await run(source);
    await expectWhole();
  });

  it("leaves other files in the place of the dataset's as they are", async () => {
    const source = twoFiles();
    await files.makeFolder(join(folder, "data"));
    for (const name of ["b.gz", "b"]) {
      await writeFile(join(folder, "data", name), "mine");
      await expect(run(source)).rejects.toThrow(failsWith("E_DATA", /\/b(\.gz)? is there already, and is not the pub/));
      expect((await content(name)).toString()).toBe("mine");
    }
    expect(server.requests.length).toBe(0);
  });

  it("is refused while another process downloads into the folder", async () => {
    const source = twoFiles();
    await files.makeFolder(join(folder, "data"));
    const lock = await lockFile(files, join(folder, "data/.fetch.lock"), { name: "a test", advice: "wait" });
    await expect(run(source)).rejects.toThrow(failsWith("E_LOCKED", /--data-dir/));
    await lock.release();
    await run(source);
    await expectWhole();
  });

  it("creates the folders above its own, and says where it cannot", async () => {
    const source = twoFiles();
    const { folder: made } = await run(source, { dataDir: join(folder, "data/x/y//") });
    expect(made).toBe(join(folder, "data/x/y"));
    await writeFile(join(folder, "file"), "");
    await expect(run(source, { dataDir: join(folder, "file/below") })).rejects.toThrow(failsWith("E_IO", /file/));
    await expect(run(source, { dataDir: "" })).rejects.toThrow(failsWith("E_CONFIG", /--data-dir is empty/));
  });

  it.each([
    ["mnits", /no dataset to download is named "mnits" \(there are mnist, .*did you mean "mnist"/],
    ["cifar-10", /did you mean "cifar10"/],
    ["digits", /digits is not downloaded: it is made from a seed/],
    ["npy", /npy is not downloaded: its files are your own/],
    ["notmnist", /notmnist is not downloaded: no address/],
  ])("refuses the name %j", async (name, message) => {
    await expect(fetchDataset(name, { files, dataDir: folder })).rejects.toThrow(failsWith("E_CONFIG", message));
  });

  it.each(["", "ftp://host/", "mirror", "file:///data/"])("refuses the address %j", async (url) => {
    await expect(run(twoFiles(), { url })).rejects.toThrow(failsWith("E_CONFIG", /--url .*http or https/));
  });
});

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
    server.files.set("set.tar.gz", { body });
    const archive = { file: "set.tar.gz", bytes: body.length, sha256: digest(body), folder: "set", members };
    return { name: "set", dataset: "set", bases: [server.url], downloads: [], archive };
  }

  async function expectUnpacked(more: readonly string[] = []): Promise<void> {
    expect(await there()).toEqual(["fetched.json", "one", ...more, "two"]);
    expect(digest(await content("one"))).toBe(digest(bodies.one));
    expect(digest(await content("two"))).toBe(digest(bodies.two));
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
    const report = await run(set);
    await expectUnpacked();
    expect(await readdir(folder)).toEqual(["data"]);
    expect(report.files.map(({ name, status, bytes }) => [name, status, bytes])).toEqual([
      ["one", "unpacked", 100_000],
      ["two", "unpacked", 700],
    ]);
    const again = await run(set);
    expect(again.files.map(({ status }) => status)).toEqual(["present", "present"]);
    expect(server.requests.length).toBe(1);
  });

  it("is downloaded again where a file of it is gone, and refused where one was changed", async () => {
    const set = source(await archived(good));
    await run(set);
    await rm(join(folder, "data/one"));
    await run(set);
    await expectUnpacked();
    await writeFile(join(folder, "data/two"), "mine");
    await expect(run(set)).rejects.toThrow(failsWith("E_DATA", /two is there already, and is not the published file/));
    expect((await content("two")).toString()).toBe("mine");
    // Without the list of an earlier run, the archive tells.
    await rm(join(folder, "data/fetched.json"));
    await expect(run(set)).rejects.toThrow(failsWith("E_DATA", /two is there already/));
    expect((await content("two")).toString()).toBe("mine");
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
    await expect(run(set)).rejects.toThrow(failsWith("E_CORRUPT", message));
    expect(await there()).toEqual(["set.tar.gz.part"]);
  });

  it("that is no archive, or a torn one, is refused", async () => {
    const whole = await archived(good);
    const tar = [whole.subarray(0, whole.length / 2), gzipSync(randomBytes(5000)), randomBytes(3000)];
    for (const body of tar) {
      await expect(run(source(body))).rejects.toThrow(failsWith("E_CORRUPT", /not the archive that was published/));
      await rm(join(folder, "data"), { recursive: true });
    }
  });

  it("goes on after a full disk from the part that is there", async () => {
    const set = source(await archived(good));
    const disk = diskOf(files);
    const [from, to] = [await operationsOf(set, "download"), await operationsOf(set, "all")];
    for (let fullAt = from; fullAt < to; fullAt++) {
      Object.assign(disk, { fullAt, operations: 0 });
      await expect(run(set, { files: disk.files })).rejects.toThrow(failsWith("E_IO", /disk is full/));
      const requests = server.requests.length;
      await run(set);
      expect(server.requests.length).toBe(requests);
      await expectUnpacked();
      await rm(join(folder, "data"), { recursive: true });
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
    await run(set, { files: counted });
    await rm(join(folder, "data"), { recursive: true });
    return upTo === "all" ? disk.operations : operations;
  }

  it("may be put into the folder by hand, and stays there then", async () => {
    const body = await archived(good);
    const set = source(body);
    await files.makeFolder(join(folder, "data"));
    await writeFile(join(folder, "data/set.tar.gz"), body);
    await run(set);
    await expectUnpacked(["set.tar.gz"]);
    expect(server.requests.length).toBe(0);
  });
});

describe("the published sources", () => {
  it("have a digest, a size and an address each", () => {
    for (const { bases, downloads, archive } of SOURCES) {
      expect(bases.length).toBeGreaterThan(0);
      for (const base of bases) expect(base).toMatch(/^https?:\/\/.*\/$/);
      for (const { bytes, sha256 } of archive === undefined ? downloads : [archive]) {
        expect(bytes).toBeGreaterThan(1000);
        expect(sha256).toMatch(/^[0-9a-f]{64}$/);
      }
    }
  });

  const shared = new URL("../../../shared/data/mnist/", import.meta.url).pathname;
  it.runIf(existsSync(shared))("know MNIST itself when it is there, however it was packed", async () => {
    await cp(shared, join(folder, "mnist"), { recursive: true });
    await chmod(join(folder, "mnist"), 0o755);
    const report = await fetchDataset("mnist", { files, dataDir: join(folder, "mnist"), url: server.url });
    expect(report.files.map(({ status }) => status)).toEqual(Array(4).fill("present"));
    expect(server.requests.length).toBe(0);
  });
});
