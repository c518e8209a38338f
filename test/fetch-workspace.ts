/** What tests of downloads share: a server, a folder, and little patience; new ones for every test. */
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect } from "vitest";
import { fetchDataset, type FetchOptions, type FetchReport } from "../sdk/data/fetch.ts";
import type { DatasetSource } from "../sdk/data/fetch-sources.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { type Serving, TestServer } from "./http-server.ts";

export const files = await nodeFiles();

export const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

export class FetchWorkspace {
  private running: TestServer | undefined;
  private made: string | undefined;

  constructor() {
    beforeEach(async () => {
      this.running = await TestServer.start();
      this.made = await mkdtemp(join(tmpdir(), "widefield-fetch-"));
    });
    afterEach(async () => {
      await this.server.stop();
      await rm(this.folder, { recursive: true });
    });
  }

  get server(): TestServer {
    if (this.running === undefined) throw new Error("there is a server while a test runs");
    return this.running;
  }

  /** Empty at first. */
  get folder(): string {
    if (this.made === undefined) throw new Error("there is a folder while a test runs");
    return this.made;
  }

  /** In the folder that `run` downloads to. */
  path(name = ""): string {
    return join(this.folder, "data", name);
  }

  run(source: DatasetSource, options: Partial<FetchOptions> = {}): Promise<FetchReport> {
    const retry = { attempts: 3, delayMs: 1 };
    return fetchDataset(source.name, { files, dataDir: this.path(), sources: [source], retry, ...options });
  }

  served(name: string): Serving {
    const file = this.server.files.get(name);
    if (file === undefined) throw new Error(`nothing is served as ${name}`);
    return file;
  }

  async there(): Promise<string[]> {
    return (await readdir(this.path())).sort();
  }

  content(name: string): Promise<Buffer> {
    return readFile(this.path(name));
  }
}

export function failsWith(code: string, message: RegExp): Error {
  return expect.objectContaining({
    name: "WidefieldError",
    code,
    message: expect.stringMatching(message) as string,
  }) as Error;
}
