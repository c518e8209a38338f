import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TopLevelSpec } from "vega-lite";
import { describe, expect, it, onTestFinished } from "vitest";
import { nodeFiles } from "../platform/files.node.ts";
import { renderFigure, renderPng, saveFigure } from "./figure.node.ts";
import { figureConfig } from "./figure.ts";

function spec(
  title: string,
  values = [
    { x: 1, y: 2 },
    { x: 3, y: 1 },
  ],
): TopLevelSpec {
  return {
    data: { values },
    title,
    width: 120,
    height: 90,
    mark: "point",
    encoding: { x: { field: "x", type: "quantitative" }, y: { field: "y", type: "quantitative" } },
    config: figureConfig,
  };
}

/** Width and height in the header of a PNG. */
function sizeOf(png: Uint8Array): [width: number, height: number] {
  const view = new DataView(png.buffer, png.byteOffset);
  expect([...png.subarray(1, 4)]).toEqual([0x50, 0x4e, 0x47]);
  return [view.getUint32(16), view.getUint32(20)];
}

describe("a figure", () => {
  it("that is too large to draw is refused with its size, and the next one is drawn", async () => {
    const svg = (side: number) => `<svg xmlns="http://www.w3.org/2000/svg" width="${side}" height="${side}"><g/></svg>`;
    await expect(renderPng(svg(300_000))).rejects.toMatchObject({
      name: "WidefieldError",
      code: "E_MEMORY",
      message: expect.stringMatching(/^a picture of 600000 x 600000 pixels could not be drawn/) as string,
    });
    expect(sizeOf(await renderPng(svg(5)))).toEqual([10, 10]);
  });

  it("is the same text and the same bytes whenever it is drawn", async () => {
    const first = await renderFigure(spec("a"));
    await renderFigure(spec("another"));
    expect(await renderFigure(spec("a"))).toEqual(first);
  });

  it("is drawn with letters: a title changes the PNG, and a long one widens the figure", async () => {
    const [none, short, long] = [
      await renderFigure(spec(" ")),
      await renderFigure(spec("σ² = K(x, x)")),
      await renderFigure(spec("wide ".repeat(30))),
    ];
    expect(short.png.length).toBeGreaterThan(none.png.length);
    // 149 letters of 13 pixels, a good half as wide as high, at two pixels each: nothing is cut off.
    expect(sizeOf(long.png)[0]).toBeGreaterThan(2 * 149 * 13 * 0.5);
  });

  it("has the PNG at twice the SVG's size, and a white background in both", async () => {
    const { svg, png } = await renderFigure(spec("size"));
    const [, width, height] = /^<svg [^>]*width="(\d+)" height="(\d+)"/.exec(svg) ?? [];
    expect(sizeOf(png)).toEqual([2 * Number(width), 2 * Number(height)]);
    expect(svg).toMatch(/^<svg [^>]*><rect [^>]*fill="white"\/>/);
  });

  it("is saved as a specification that draws it again, an SVG and a PNG", async () => {
    const folder = await mkdtemp(join(tmpdir(), "widefield-figure-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    await saveFigure(await nodeFiles(), join(folder, "f"), spec("saved"));
    expect((await readdir(folder)).sort()).toEqual(["f.png", "f.svg", "f.vl.json"]);
    const drawn = await renderFigure(JSON.parse(await readFile(join(folder, "f.vl.json"), "utf8")) as TopLevelSpec);
    expect(drawn.svg).toBe(await readFile(join(folder, "f.svg"), "utf8"));
    expect(Buffer.from(drawn.png).equals(await readFile(join(folder, "f.png")))).toBe(true);
  });

  it("that cannot be written says where", async () => {
    await expect(saveFigure(await nodeFiles(), join(tmpdir(), "no such folder", "f"), spec("x"))).rejects.toMatchObject(
      {
        code: "E_IO",
        message: expect.stringMatching(/no such folder.f\.vl\.json/) as string,
      },
    );
  });
});
