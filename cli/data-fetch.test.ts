/** `widefield data fetch`: what it prints, over a small source of the test's own. */
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { FetchReport } from "../sdk/data/fetch.ts";
import { TestServer } from "../test/http-server.ts";
import { dataFetchCommand } from "./data-fetch.ts";

const body = Uint8Array.from({ length: 3000 }, (_, i) => (i * i) % 251);
const sha256 = createHash("sha256").update(body).digest("hex");

let server: TestServer;
let folder: string;
beforeEach(async () => {
  server = await TestServer.start();
  folder = await mkdtemp(join(tmpdir(), "widefield-fetch-"));
  server.files.set("letters.gz", { body });
});
afterEach(async () => {
  vi.restoreAllMocks();
  await server.stop();
  await rm(folder, { recursive: true });
});

async function run(...words: string[]): Promise<{ stdout: string; stderr: string; thrown: unknown }> {
  const text = { stdout: "", stderr: "" };
  vi.spyOn(process.stdout, "write").mockImplementation((piece) => Boolean((text.stdout += String(piece))));
  vi.spyOn(process.stderr, "write").mockImplementation((piece) => Boolean((text.stderr += String(piece))));
  const downloads = [{ file: "letters.gz", bytes: body.length, sha256 }];
  const sources = [{ name: "letters", dataset: "mnist", bases: [server.url], downloads }];
  const command = dataFetchCommand({ sources, retry: { attempts: 2, delayMs: 1 } });
  let thrown: unknown;
  try {
    await new Command("widefield").addCommand(command).parseAsync(["fetch", ...words], { from: "user" });
  } catch (error) {
    thrown = error;
  }
  vi.restoreAllMocks();
  return { ...text, thrown };
}

describe("widefield data fetch", () => {
  it("prints what it downloaded, where to, and how to use it; later, that all is there", async () => {
    const dataDir = join(folder, "a folder");
    const first = await run("letters", "--data-dir", dataDir);
    expect(first).toMatchObject({ thrown: undefined, stderr: "" });
    expect(first.stdout).toBe(
      `downloaded  letters.gz  2.93 KiB  sha256 ${sha256}\n` +
        `2.93 KiB downloaded; use it with --data mnist --data-dir '${dataDir}'\n`,
    );
    const second = await run("letters", "--data-dir", dataDir);
    expect(second.stdout).toMatch(/^present {2}letters\.gz .*\n0 bytes downloaded; use it with --data mnist /);
  });

  it("prints one JSON object, and retries on stderr unless --quiet", async () => {
    server.files.set("letters.gz", { body, statuses: [500] });
    const { stdout, stderr } = await run("letters", "--data-dir", folder, "--json");
    const report = JSON.parse(stdout) as FetchReport;
    expect(report).toEqual({
      name: "letters",
      dataset: "mnist",
      folder,
      files: [{ name: "letters.gz", path: join(folder, "letters.gz"), bytes: 3000, sha256, status: "downloaded" }],
      downloadedBytes: 3000,
    });
    expect(stderr).toMatch(/letters\.gz: the server answers 500 .* after 0 of 3000 bytes; trying again in 0\.001 s\n$/);
    server.files.set("letters.gz", { body, statuses: [500] });
    const quiet = await run("letters", "--data-dir", join(folder, "b"), "--quiet", "--url", server.url);
    expect(quiet).toMatchObject({ thrown: undefined, stderr: "" });
  });

  it("refuses unknown names, and says what the server says", async () => {
    const near = expect.stringMatching(/did you mean "letters"/) as string;
    expect((await run("leters")).thrown).toMatchObject({ code: "E_CONFIG", message: near });
    server.files.clear();
    const { thrown, stdout } = await run("letters", "--data-dir", folder);
    expect(stdout).toBe("");
    expect(thrown).toMatchObject({ code: "E_IO", message: expect.stringMatching(/not there \(404\)/) as string });
  });
});
