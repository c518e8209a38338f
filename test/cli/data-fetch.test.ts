/** `widefield data fetch` as a process: stopped in the middle, killed in the middle, and going on from there. */
import { describe, expect, it } from "vitest";
import { SOURCES } from "../../sdk/data/fetch-sources.ts";
import { nodeFiles } from "../../sdk/platform/files.node.ts";
import { TestServer } from "../http-server.ts";
import { start, widefield, workspace } from "./run.ts";

const space = workspace();
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

describe("widefield data fetch", () => {
  it("keeps what has arrived when it is stopped or killed, and asks for the rest; a wrong digest is exit code 1", async () => {
    const files = await nodeFiles();
    const server = await TestServer.start();
    try {
      const [images] = SOURCES.find(({ name }) => name === "mnist")?.downloads ?? [];
      if (images === undefined) throw new Error("MNIST has no files");
      // As many bytes as MNIST's, but not those.
      const serving = { body: new Uint8Array(images.bytes), etag: '"zeros"', stalls: true };
      server.files.set(images.file, serving);
      const folder = space.path("mnist");
      const part = `${folder}/${images.file}.part`;
      const fetch = ["data", "fetch", "mnist", "--url", server.url, "--data-dir", folder];
      let kept = 0;
      for (const signal of ["SIGINT", "SIGKILL"] as const) {
        const running = start(...fetch);
        while (((await files.size(part)) ?? 0) <= kept) await pause(5);
        running.process.kill(signal);
        const { code, stdout, stderr } = await running.outcome;
        expect({ code, stdout }).toEqual({ code: signal === "SIGINT" ? 130 : null, stdout: "" });
        if (signal === "SIGINT")
          expect(stderr).toMatch(/stopped after \d+ of 9912422 bytes of train-images.* \[E_ABORTED\]\n$/);
        expect(server.requests.at(-1)).toEqual({
          path: images.file,
          range: kept === 0 ? undefined : `bytes=${kept}-`,
          ifRange: kept === 0 ? undefined : '"zeros"',
        });
        kept = (await files.size(part)) ?? 0;
      }
      serving.stalls = false;
      const { code, stdout, stderr } = await widefield(...fetch);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toMatch(
        new RegExp(`SHA-256 [0-9a-f]{64}, and the published file ${images.sha256}.*\\[E_CORRUPT\\]\n$`),
      );
      // The part may have been at fault: it is begun anew once.
      expect(server.requests.slice(-2).map(({ range }) => range)).toEqual([`bytes=${kept}-`, undefined]);
      expect(await files.list(folder)).toEqual([]);
    } finally {
      await server.stop();
    }
  });
});
