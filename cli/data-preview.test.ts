import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { mulberry32 } from "../test/reference/programs.ts";
import { freshSeed } from "../test/seed.ts";
import { dataCommand } from "./data.ts";

/** The head of a .npy file of bytes. */
function npyBytes(shape: readonly number[]): Uint8Array {
  const text = `{'descr': '|u1', 'fortran_order': False, 'shape': (${shape.map((size) => `${size},`).join("")}), }`;
  const head = Buffer.from(`\u0093NUMPY\u0001\0${" ".repeat(2)}${text.padEnd(117)}\n`, "latin1");
  head.writeUInt16LE(118, 8);
  return head;
}

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

  it("shows the levels that one's own images can have, of colour or grey, and ranges of levels", async () => {
    const random = mulberry32(freshSeed());
    const data = join(folder, "own");
    await mkdir(data, { recursive: true });
    const labels = npyBytes([20]);
    for (const [channels, levels] of [
      [1, [0, 1, 2, 3]],
      [3, [0, 1, 2]],
    ] as const) {
      const pixels = Uint8Array.from({ length: 20 * channels * 64 }, () => 256 * random());
      const head = npyBytes([20, channels, 8, 8]);
      await writeFile(join(data, "train-images.npy"), Buffer.concat([head, pixels]));
      await writeFile(join(data, "train-labels.npy"), Buffer.concat([labels, new Uint8Array(20)]));
      const words = ["npy-lf", "--data-dir", data, "--count", "2", "--out", join(folder, "own.svg"), "--json"];
      expect(JSON.parse(await preview(...words))).toMatchObject({ levels });
      expect(JSON.parse(await preview(...words, "--levels", "0:2,2"))).toMatchObject({ levels: [0, 1, 2] });
      const svg = await readFile(join(folder, "own.svg"), "utf8");
      expect(svg).toContain(channels === 1 ? "threshold 5" : "threshold 8");
      await expect(preview(...words, "--levels", "7")).rejects.toThrow(/--levels: level 7 replaces \d+ freq.* have 8/);
    }
  });

  it.each([
    [["digitz-hf", "--out", "a.png"], /did you mean "digits-hf"/],
    [["digits-hf", "--levels", "3,15", "--out", "a.png"], /level 15 is out of range.*levels 0 to 14/],
    [["digits", "--levels", "3", "--out", "a.png"], /digits has no noise; choose --noise hf or --noise lf/],
    [["digits", "--levels", "a", "--noise", "hf", "--out", "a.png"], /--levels a: "a" is neither a level nor a range/],
    [["synth", "--levels", "3", "--out", "a.png"], /synth has no noise in frequencies, and its difficulty is --kappa/],
    [["digits", "--out", "a.jpg"], /a picture is a \.png or an \.svg file/],
    [["digits", "--count", "0", "--out", "a.png"], /--count 0: a picture has 1 to 200 images/],
    [["digits", "--count", "10000", "--out", "a.png"], /--count 10000: a picture has 1 to 200 images/],
    [["digits", "--first", "69999", "--out", "a.png"], /out of bounds/],
    [["digits-hf", "--noise", "lf", "--out", "a.png"], /has hf noise already/],
    [["digits", "--kappa", "0.5", "--out", "a.png"], /no kappa/],
  ])("refuses %j", async (words, message) => {
    await expect(preview(...words)).rejects.toThrow(message);
  });
});
