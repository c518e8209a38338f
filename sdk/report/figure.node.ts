/**
 * Figures as PNG, on Node and Deno: resvg, built for wasm, draws the SVG with DejaVu Sans. Both lie among the package's
 * assets and are loaded when the first figure is drawn; no font of the system is used, so a figure looks the same on
 * every machine.
 */
import { readFile } from "node:fs/promises";
import type { TopLevelSpec } from "vega-lite";
import type { Files } from "../covariance/store/files.ts";
import { replaceFile } from "../covariance/store/files.ts";
import { renderSvgFile } from "./figure.ts";

export interface RenderedFigure {
  readonly svg: string;
  readonly png: Uint8Array;
}

/** Pixels of the PNG for one of the SVG: sharp on paper and on dense screens. */
const PNG_SCALE = 2;

let rasteriser: Promise<(svg: string) => Uint8Array> | undefined;

async function asset(name: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await readFile(new URL(`${WIDEFIELD_ASSETS}figure/${name}`, import.meta.url)));
}

async function loadRasteriser(): Promise<(svg: string) => Uint8Array> {
  const { initWasm, Resvg } = await import("@resvg/resvg-wasm");
  const [wasm, font] = await Promise.all([asset("resvg.wasm"), asset("DejaVuSans.ttf")]);
  await initWasm(wasm);
  return (svg) => {
    const drawing = new Resvg(svg, {
      font: { fontBuffers: [font], defaultFontFamily: "DejaVu Sans", sansSerifFamily: "DejaVu Sans" },
      fitTo: { mode: "zoom", value: PNG_SCALE },
      background: "white",
    });
    const image = drawing.render();
    try {
      return image.asPng();
    } finally {
      image.free();
      drawing.free();
    }
  };
}

/** Draws a specification. */
export async function renderFigure(spec: TopLevelSpec): Promise<RenderedFigure> {
  const svg = await renderSvgFile(spec);
  rasteriser ??= loadRasteriser();
  return { svg, png: (await rasteriser)(svg) };
}

/** Writes NAME.vl.json, which holds its data, NAME.svg and NAME.png, each atomically. Throws E_IO. */
export async function saveFigure(files: Files, path: string, spec: TopLevelSpec): Promise<void> {
  const { svg, png } = await renderFigure(spec);
  const encode = (text: string) => new TextEncoder().encode(text);
  await replaceFile(files, `${path}.vl.json`, encode(`${JSON.stringify(spec)}\n`));
  await replaceFile(files, `${path}.svg`, encode(svg));
  await replaceFile(files, `${path}.png`, png);
}
