import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { dataCommand } from "./data.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "widefield-preview-"));
});
afterAll(async () => rm(folder, { recursive: true }));

/** Runs `widefield data preview ...`; what it prints. */
async function preview(...words: string[]): Promise<string> {
  const written = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  try {
    const command = new Command("widefield").addCommand(dataCommand());
    const common = ["--backend", "wasm", "--threads", "1", "--memory", "256MB", "--quiet"];
    await command.parseAsync(["data", "preview", ...words, ...common], { from: "user" });
    return written.mock.calls.map(([text]) => String(text)).join("");
  } finally {
    written.mockRestore();
  }
}

describe("widefield data preview", () => {
  it("draws the images and each noise level below them, with indices, labels and levels", async () => {
    const out = join(folder, "grid.svg");
    const printed = await preview("digits-hf", "--levels", "0,7", "--count", "3", "--first", "60000", "--out", out);
    expect(printed).toMatch(
      /grid\.svg: digits-hf: noise in high frequencies, counter generator, 3 images in 3 rows\n$/,
    );
    const svg = await readFile(out, "utf8");
    const images = [...svg.matchAll(/<image [^>]*href="([^"]+)"/g)].map(([, href]) => href);
    expect(images).toHaveLength(9);
    // Without noise only the scale and the offset change, which contrast takes out; rounding is left.
    expect(new Set(images.slice(6)).size).toBe(3);
    expect(images[6]).not.toBe(images[0]);
    const texts = [...svg.matchAll(/<text [^>]*>([^<]*)</g)].map(([, text]) => text);
    expect(texts).toEqual(expect.arrayContaining(["as it is", "level 0", "noise x 0", "level 7", "noise x 1.5"]));
    expect(texts.filter((text) => /^6000[0-2]: \d$/.test(text ?? ""))).toHaveLength(3);
  });

  it("draws a PNG, and features of synth as squares", async () => {
    const out = join(folder, "synth.png");
    const json = JSON.parse(
      await preview("synth", "--kappa", "0.5", "--count", "2", "--out", out, "--json"),
    ) as unknown;
    expect(json).toEqual({
      picture: out,
      title: "synth, kappa 0.5, counter generator",
      images: 2,
      rows: 1,
      levels: [],
    });
    const bytes = await readFile(out);
    expect([...bytes.subarray(0, 8)]).toEqual([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  });

  it.each([
    [["digitz-hf", "--out", "a.png"], /did you mean "digits-hf"/],
    [["digits-hf", "--levels", "3,15", "--out", "a.png"], /level 15 is out of range.*levels 0 to 14/],
    [["digits", "--levels", "3", "--out", "a.png"], /digits has no noise; choose --noise hf or --noise lf/],
    [["digits", "--levels", "a", "--noise", "hf", "--out", "a.png"], /--levels is a whole number, not "a"/],
    [["digits", "--out", "a.jpg"], /a picture is a \.png or an \.svg file/],
    [["digits", "--count", "0", "--out", "a.png"], /--count must be at least 1/],
    [["digits", "--first", "69999", "--out", "a.png"], /out of bounds/],
    [["digits-hf", "--noise", "lf", "--out", "a.png"], /has hf noise already/],
    [["digits", "--kappa", "0.5", "--out", "a.png"], /no kappa/],
  ])("refuses %j", async (words, message) => {
    await expect(preview(...words)).rejects.toThrow(message);
  });
});
