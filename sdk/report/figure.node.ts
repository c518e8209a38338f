/**
 * Figures as PNG, on Node and Deno: resvg, built for wasm, draws the SVG with DejaVu Sans. Both lie among the package's
 * assets and are loaded when the first figure is drawn; no font of the system is used, so a figure looks the same on
 * every machine.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Resvg } from "@resvg/resvg-wasm";
import type { TopLevelSpec } from "vega-lite";
import type { Files } from "../platform/files.ts";
import { replaceFile } from "../platform/files.ts";
import { messageOf, WidefieldError } from "../errors.ts";
import { renderSvgFile } from "./figure.ts";

export interface RenderedFigure {
  readonly svg: string;
  readonly png: Uint8Array;
}

/** Pixels of the PNG for one of the SVG: sharp on paper and on dense screens. */
const PNG_SCALE = 2;

/** White around what is drawn, in the SVG's pixels. */
const MARGIN = 14;

type Draw = (svg: string) => InstanceType<typeof Resvg>;

let opening: Promise<Draw> | undefined;

async function asset(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const path = fileURLToPath(new URL(`${WIDEFIELD_ASSETS}figure/${name}`, import.meta.url));
  try {
    return new Uint8Array(await readFile(path));
  } catch (cause) {
    throw new WidefieldError("E_IO", `figures need ${path}, which belongs to the package: ${messageOf(cause)}`, {
      cause,
      details: { path },
    });
  }
}

async function openResvg(): Promise<Draw> {
  const resvg = await import("@resvg/resvg-wasm");
  const [wasm, font] = await Promise.all([asset("resvg.wasm"), asset("DejaVuSans.ttf")]);
  await resvg.initWasm(wasm);
  return (svg) =>
    new resvg.Resvg(svg, {
      font: { fontBuffers: [font], defaultFontFamily: "DejaVu Sans", sansSerifFamily: "DejaVu Sans" },
      fitTo: { mode: "zoom", value: PNG_SCALE },
    });
}

/**
 * Vega guesses how wide its texts are, and leaves too much room or too little; the drawing's extent is known only where
 * the font is. Cuts the SVG to what is drawn, and a margin, on white.
 */
function fitted(svg: string, draw: Draw): string {
  const drawing = draw(svg);
  try {
    const box = drawing.getBBox();
    if (box === undefined) return svg;
    const [x, y] = [Math.floor(box.x) - MARGIN, Math.floor(box.y) - MARGIN];
    const [width, height] = [Math.ceil(box.width) + 2 * MARGIN, Math.ceil(box.height) + 2 * MARGIN];
    const head =
      `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="${x} ${y} ${width} ${height}">` +
      `<rect x="${x}" y="${y}" width="${width}" height="${height}" fill="white"/>`;
    return svg.replace(/^[^]*?<svg[^>]*>/, head);
  } finally {
    drawing.free();
  }
}

/** Opens resvg once; what failed is tried again. */
function drawer(): Promise<Draw> {
  if (opening !== undefined) return opening;
  opening = openResvg();
  opening.catch(() => (opening = undefined));
  return opening;
}

/** Draws a specification. Throws E_IO where the package lacks what figures need. */
export async function renderFigure(spec: TopLevelSpec): Promise<RenderedFigure> {
  const svg = fitted(await renderSvgFile(spec), await drawer());
  return { svg, png: await renderPng(svg) };
}

/** An SVG document as PNG. Throws E_IO where the package lacks what figures need, E_MEMORY for one that is too large to draw. */
export async function renderPng(svg: string): Promise<Uint8Array> {
  const drawing = (await drawer())(svg);
  const [width, height] = [PNG_SCALE * drawing.width, PNG_SCALE * drawing.height];
  let png: Uint8Array;
  try {
    const image = drawing.render();
    png = image.asPng();
    image.free();
  } catch (cause) {
    // What has panicked must not be freed: that would panic, too, and hide why.
    throw new WidefieldError(
      "E_MEMORY",
      `a picture of ${width} x ${height} pixels could not be drawn (${messageOf(cause)}): draw fewer or smaller parts, or ` +
        "write it as .svg",
      { cause, details: { width, height } },
    );
  }
  drawing.free();
  return png;
}

/** Writes NAME.vl.json, which holds its data, NAME.svg and NAME.png, each atomically. Throws E_IO. */
export async function saveFigure(files: Files, path: string, spec: TopLevelSpec): Promise<void> {
  const { svg, png } = await renderFigure(spec);
  const encode = (text: string) => new TextEncoder().encode(text);
  await replaceFile(files, `${path}.vl.json`, encode(`${JSON.stringify(spec)}\n`));
  await replaceFile(files, `${path}.svg`, encode(svg));
  await replaceFile(files, `${path}.png`, png);
}
