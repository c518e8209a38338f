/** Downloads from a server of the test's own, which cuts, stalls, lies and forgets. */
import { existsSync } from "node:fs";
import { chmod, cp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { digest, failsWith, files, FetchWorkspace } from "../../test/fetch-workspace.ts";
import { diskOf } from "../../test/full-disk.ts";
import { type Serving, TestServer } from "../../test/http-server.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import { lockFile } from "../platform/lock.ts";
import { fetchDataset, type FetchProgress } from "./fetch.ts";
import { type DatasetSource, SOURCES } from "./fetch-sources.ts";

const random = mulberry32(freshSeed());
const below = (n: number) => Math.floor(n * random());
const randomBytes = (count: number) => Uint8Array.from({ length: count }, () => below(256));
const space = new FetchWorkspace();

/** Two files of a dataset, served as told; its name is none that has published digests. */
function twoFiles(serving: Partial<Serving> = {}, bases = [space.server.url]): DatasetSource {
  const bodies = [randomBytes(20_000 + below(60_000)), randomBytes(1 + below(3000))];
  const downloads = bodies.map((body, i) => {
    space.server.files.set(`${"ab"[i] ?? ""}.gz`, { body, ...serving });
    return { file: `${"ab"[i] ?? ""}.gz`, bytes: body.length, sha256: digest(body) };
  });
  return { name: "letters", dataset: "letters", bases, downloads };
}

const part = async () => (await files.size(space.path("a.gz.part"))) ?? 0;

async function expectWhole(): Promise<void> {
  expect(await space.there()).toEqual(["a.gz", "b.gz"]);
  for (const name of ["a.gz", "b.gz"]) expect(digest(await space.content(name))).toBe(digest(space.served(name).body));
}

/** A run of one attempt that is cut when some bytes are on the disk; what it says, and how many they are. */
async function cutRun(source: DatasetSource): Promise<{ readonly thrown: unknown; readonly kept: number }> {
  space.served("a.gz").stalls = true;
  const onProgress = ({ done }: FetchProgress) => {
    if (done > 0) space.server.cut();
  };
  const thrown: unknown = await space
    .run(source, { onProgress, retry: { attempts: 1 } })
    .catch((error: unknown) => error);
  space.served("a.gz").stalls = false;
  return { thrown, kept: await part() };
}

describe("fetchDataset", () => {
  it("downloads, verifies and names every file, and tells how far it is; a second run asks for nothing", async () => {
    const source = twoFiles();
    const progress: FetchProgress[] = [];
    const report = await space.run(source, { onProgress: (line) => progress.push(line) });
    await expectWhole();
    const total = source.downloads.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(report).toMatchObject({ name: "letters", folder: space.path(), downloadedBytes: total });
    expect(report.files.map(({ name, status, sha256 }) => [name, status, sha256])).toEqual(
      source.downloads.map(({ file, sha256 }) => [file, "downloaded", sha256]),
    );
    expect(progress.map(({ done }) => done)).toEqual(progress.map(({ done }) => done).toSorted((a, b) => a - b));
    expect(progress.at(-1)).toMatchObject({ done: total, total });
    expect(progress.at(-1)?.rate).toBeGreaterThan(0);
    expect(space.server.requests.length).toBe(2);
    const again = await space.run(source);
    expect(again.files.map(({ status }) => status)).toEqual(["present", "present"]);
    expect(again.downloadedBytes).toBe(0);
    expect(space.server.requests.length).toBe(2);
  });

  it.each([true, false])("goes on where a connection was cut, wherever that was (ETag: %s)", async (tagged) => {
    for (let turn = 0; turn < 10; turn++) {
      const source = twoFiles(tagged ? { etag: '"v1"' } : {});
      const [bytes = 0] = source.downloads.map((download) => download.bytes);
      space.served("a.gz").cuts = Array.from({ length: 1 + below(6) }, () => below(bytes / 4));
      space.server.requests.length = 0;
      const report = await space.run(source, { retry: { attempts: 10, delayMs: 0 } });
      await expectWhole();
      // No byte is asked for twice.
      expect(report.downloadedBytes).toBe(bytes + (source.downloads[1]?.bytes ?? 0));
      const starts = space.server.requests
        .filter(({ path }) => path === "a.gz")
        .map(({ range }) => range ?? "bytes=0-");
      expect(starts).toEqual(starts.toSorted((a, b) => parseInt(a.slice(6)) - parseInt(b.slice(6))));
      const resumed = space.server.requests.filter(({ range }) => range !== undefined);
      expect(resumed.every(({ ifRange }) => ifRange === (tagged ? '"v1"' : undefined))).toBe(true);
      await rm(space.path(), { recursive: true });
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
    space.served("a.gz").statuses = [500, 502, 503];
    await expect(space.run(source, { log: (line) => lines.push(line) })).rejects.toThrow(
      failsWith("E_IO", /attempt 3 of 3/),
    );
    expect(lines).toEqual(
      Array(2).fill(expect.stringMatching(/answers 50\d .* after \d+ of .*; trying again in 0\.00\d s/)),
    );
    expect(await part()).toBe(kept);
    space.server.requests.length = 0;
    const report = await space.run(source);
    expect(space.server.requests[0]).toEqual({ path: "a.gz", range: `bytes=${kept}-`, ifRange: '"v1"' });
    expect(report.downloadedBytes).toBe(space.served("a.gz").body.length - kept + space.served("b.gz").body.length);
    await expectWhole();
  });

  it("starts over where the server cannot go on, or has another version by now", async () => {
    for (const change of [{ ranges: false }, { etag: '"v2"' }]) {
      const source = twoFiles({ etag: '"v1"' });
      const { kept } = await cutRun(source);
      // The other version's bytes under the old part would be a file that nobody published.
      await writeFile(space.path("a.gz.part"), randomBytes(kept));
      Object.assign(space.served("a.gz"), change);
      const lines: string[] = [];
      await space.run(source, { log: (line) => lines.push(line) });
      expect(lines).toEqual([expect.stringMatching(/the server sends the whole file again/)]);
      await expectWhole();
      await rm(space.path(), { recursive: true });
    }
  });

  it("starts over from a part that is longer than the file, and takes one that is whole", async () => {
    const source = twoFiles();
    await files.makeFolder(space.path());
    await writeFile(space.path("a.gz.part"), randomBytes(space.served("a.gz").body.length + 1));
    await writeFile(space.path("b.gz.part"), space.served("b.gz").body);
    const report = await space.run(source);
    expect(report.downloadedBytes).toBe(space.served("a.gz").body.length);
    await expectWhole();
  });

  it("refuses what has another SHA-256 with both, keeps nothing of it, and works in the next run", async () => {
    const source = twoFiles();
    const right = space.served("a.gz").body;
    const wrong = right.slice();
    wrong[below(wrong.length)] = (wrong[below(wrong.length)] ?? 0) ^ 1;
    space.served("a.gz").body = wrong;
    if (digest(wrong) === digest(right)) wrong[0] = (wrong[0] ?? 0) ^ 1;
    const both = new RegExp(`has SHA-256 ${digest(wrong)}, and the published file ${digest(right)}`);
    await expect(space.run(source)).rejects.toThrow(failsWith("E_CORRUPT", both));
    expect(await space.there()).toEqual([]);
    space.served("a.gz").body = right;
    await space.run(source);
    await expectWhole();
  });

  it("begins a part of other bytes anew, once", async () => {
    const source = twoFiles();
    await files.makeFolder(space.path());
    await writeFile(space.path("a.gz.part"), randomBytes(1000));
    const lines: string[] = [];
    await space.run(source, { log: (line) => lines.push(line) });
    expect(lines).toEqual([expect.stringMatching(/SHA-256.*the 1000 bytes that were here before.*begun anew/)]);
    expect(space.server.requests.map(({ range }) => range)).toEqual(["bytes=1000-", undefined, undefined]);
    await expectWhole();
  });

  it("gives up a server that begins anew every time, however much each connection brings", async () => {
    const body = new Uint8Array(3 * 2 ** 20).fill(below(256));
    const source = { ...twoFiles(), downloads: [{ file: "a.gz", bytes: body.length, sha256: digest(body) }] };
    const cuts = Array.from({ length: 8 }, () => 1.5 * 2 ** 20);
    space.server.files.set("a.gz", { body, ranges: false, cuts });
    await expect(space.run(source)).rejects.toThrow(failsWith("E_IO", /attempt 3 of 3/));
    expect(space.server.requests.length).toBe(3);
  });

  it.each([
    ["a page of no announced length", (a: Serving) => ({ body: randomBytes(500), unmeasured: true, etag: a.etag })],
    ["a stream that does not end", (a: Serving) => ({ body: randomBytes(a.body.length + 70_000), unmeasured: true })],
    ["other bytes of the right size", (a: Serving) => ({ body: randomBytes(a.body.length) })],
    ["a page that is cut", () => ({ body: randomBytes(500), unmeasured: true, cuts: [100, 100, 100] })],
  ] as const)("takes the file from the second address where the first has %s", async (_what, bad) => {
    const other = await TestServer.start();
    try {
      const source = twoFiles({ etag: '"v1"' }, [other.url, space.server.url]);
      const page = bad(space.served("a.gz"));
      other.files.set("a.gz", page);
      other.files.set("b.gz", space.served("b.gz"));
      await space.run(source);
      await expectWhole();
      // With no other address it is refused, and nothing of it is kept.
      if ("cuts" in page) return;
      await rm(space.path(), { recursive: true });
      await expect(space.run(source, { url: other.url })).rejects.toThrow(
        failsWith("E_CORRUPT", /SHA-256|has 500 bytes, and the published|has more than the published file's/),
      );
      expect(await space.there()).toEqual([]);
    } finally {
      await other.stop();
    }
  });

  it("refuses a file of another size before it is downloaded", async () => {
    const source = twoFiles();
    space.served("a.gz").body = randomBytes(777);
    await expect(space.run(source)).rejects.toThrow(
      failsWith("E_CORRUPT", /has 777 bytes, and the published file \d+: it is another file/),
    );
    expect(await space.there()).toEqual([]);
    expect(space.server.requests.length).toBe(1);
  });

  it("refuses to go on with a file of another size, and with bytes that the server has packed on the way", async () => {
    const source = twoFiles();
    const { kept } = await cutRun(source);
    const whole = space.served("a.gz").body;
    const [bytes, a] = [whole.length, () => space.served("a.gz")];
    a().claims = bytes + 1;
    const other = new RegExp(
      `has ${bytes + 1} bytes, and the published file ${bytes}.*; ${kept} of ${bytes} bytes are kept`,
    );
    await expect(space.run(source)).rejects.toThrow(failsWith("E_CORRUPT", other));
    Object.assign(a(), { claims: bytes, encoding: "gzip" });
    await expect(space.run(source)).rejects.toThrow(failsWith("E_IO", /the server sends it as gzip, not as it is/));
    delete a().encoding;
    // Shorter than what is here already: begun anew, and refused then.
    Object.assign(a(), { claims: kept, body: whole.subarray(0, kept) });
    const lines: string[] = [];
    const run = space.run(source, { log: (line) => lines.push(line) });
    await expect(run).rejects.toThrow(failsWith("E_CORRUPT", new RegExp(`has ${kept} bytes`)));
    expect(lines).toEqual([expect.stringMatching(/cannot go on from the part that is here, which is begun anew/)]);
    Object.assign(a(), { claims: bytes, body: whole });
    await space.run(source);
    await expectWhole();
  });

  it("says that a file is not there, and tries the mirrors", async () => {
    const other = await TestServer.start();
    try {
      const gone = await TestServer.start();
      const closed = gone.url;
      await gone.stop();
      const source = twoFiles({}, [other.url, closed, space.server.url]);
      const lines: string[] = [];
      await space.run(source, { log: (line) => lines.push(line), retry: { attempts: 1 } });
      await expectWhole();
      expect(lines).toEqual(
        expect.arrayContaining([expect.stringMatching(/a\.gz is not there \(404\); trying the next/)]),
      );
      expect(lines).toEqual(expect.arrayContaining([expect.stringMatching(/ECONNREFUSED.*trying the next address/)]));
      await rm(space.path(), { recursive: true });
      await expect(space.run(source, { url: other.url.slice(0, -1) })).rejects.toThrow(
        failsWith("E_IO", /a\.gz is not there \(404\); nothing was kept; .*--url/),
      );
    } finally {
      await other.stop();
    }
  });

  it("tries again after an overloaded server and a connection that falls silent", async () => {
    const source = twoFiles();
    space.served("a.gz").statuses = [503, 429];
    await space.run(source);
    await expectWhole();
    await rm(space.path(), { recursive: true });
    space.served("a.gz").stalls = true;
    const lines: string[] = [];
    const log = (line: string) => {
      lines.push(line);
      space.served("a.gz").stalls = false;
    };
    await space.run(source, { log, retry: { attempts: 20, delayMs: 1, stallMs: 100 } });
    // A machine that is busy may let others stall, too.
    expect(lines[0]).toMatch(/nothing arrived for 0\.1 s after \d+ of/);
    await expectWhole();
  });

  it("stopped on request keeps the part, and goes on from there", async () => {
    const source = twoFiles();
    space.served("a.gz").stalls = true;
    const stop = new AbortController();
    const stopped = space.run(source, {
      signal: stop.signal,
      onProgress: ({ done }) => {
        if (done > 1000) stop.abort();
      },
    });
    await expect(stopped).rejects.toThrow(failsWith("E_ABORTED", /stopped after \d+ of \d+ bytes of a\.gz; the same/));
    expect(await part()).toBeGreaterThan(1000);
    space.served("a.gz").stalls = false;
    const report = await space.run(source);
    expect(report.downloadedBytes).toBeLessThan(space.served("a.gz").body.length);
    await expectWhole();
    await rm(space.path(), { recursive: true });
    await expect(space.run(source, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "E_ABORTED" });
  });

  it("on a full disk fails with what to do, and goes on when there is room", async () => {
    const source = twoFiles();
    const disk = diskOf(files);
    disk.fullAt = 3;
    await expect(space.run(source, { files: disk.files })).rejects.toThrow(failsWith("E_IO", /disk is full.*ENOSPC/));
    await space.run(source);
    await expectWhole();
  });

  it("leaves other files in the place of the dataset's as they are", async () => {
    const source = twoFiles();
    await files.makeFolder(space.path());
    for (const name of ["b.gz", "b"]) {
      await writeFile(space.path(name), "mine");
      await expect(space.run(source)).rejects.toThrow(
        failsWith(
          "E_DATA",
          name === "b"
            ? /\/b is there already, unpacked, and cannot be compared.*packed one, b\.gz/
            : /b\.gz is there .*is not/,
        ),
      );
      expect((await space.content(name)).toString()).toBe("mine");
    }
    expect(space.server.requests.length).toBe(0);
  });

  it("is refused while another process downloads into the folder", async () => {
    const source = twoFiles();
    await files.makeFolder(space.path());
    const lock = await lockFile(files, space.path(".fetch.lock"), { name: "a test", advice: "wait" });
    await expect(space.run(source)).rejects.toThrow(failsWith("E_LOCKED", /--data-dir/));
    await lock.release();
    await space.run(source);
    await expectWhole();
  });

  it("creates the folders above its own, and says where it cannot", async () => {
    const source = twoFiles();
    const { folder: made } = await space.run(source, { dataDir: space.path("x/y//") });
    expect(made).toBe(space.path("x/y"));
    await writeFile(join(space.folder, "file"), "");
    await expect(space.run(source, { dataDir: join(space.folder, "file/below") })).rejects.toThrow(
      failsWith("E_IO", /file/),
    );
    await expect(space.run(source, { dataDir: "" })).rejects.toThrow(failsWith("E_CONFIG", /--data-dir is empty/));
  });

  it.each([
    ["mnits", /no dataset to download is named "mnits" \(there are mnist, .*did you mean "mnist"/],
    ["cifar-10", /did you mean "cifar10"/],
    ["digits", /digits is not downloaded: it is made from a seed/],
    ["npy", /npy is not downloaded: its files are your own/],
    ["notmnist", /notmnist is not downloaded: no address/],
  ])("refuses the name %j", async (name, message) => {
    await expect(fetchDataset(name, { files, dataDir: space.folder })).rejects.toThrow(failsWith("E_CONFIG", message));
  });

  it.each(["", "ftp://host/", "mirror", "file:///data/"])("refuses the address %j", async (url) => {
    await expect(space.run(twoFiles(), { url })).rejects.toThrow(failsWith("E_CONFIG", /--url .*http or https/));
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
    await cp(shared, join(space.folder, "mnist"), { recursive: true });
    await chmod(join(space.folder, "mnist"), 0o755);
    const report = await fetchDataset("mnist", { files, dataDir: join(space.folder, "mnist"), url: space.server.url });
    expect(report.files.map(({ status }) => status)).toEqual(Array(4).fill("present"));
    expect(space.server.requests.length).toBe(0);
  });
});
