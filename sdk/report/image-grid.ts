/** Images in a grid with captions on both sides, as an SVG document that carries them: for looking at data. */
import type { ImageShape } from "../data/dataset.ts";
import { FONT, INK, MUTED } from "./figure.ts";
import { escapeHtml } from "./html.ts";
import { pngDataUri } from "./png.ts";

export interface ImageRow {
  /** Lines of text to the left of the row. */
  readonly caption: readonly string[];
  /** One for each column. */
  readonly images: readonly Float32Array[];
  readonly shape: ImageShape;
}

export interface ImageGrid {
  readonly title: string;
  /** A line below the title. */
  readonly subtitle: string;
  /** Above the columns. */
  readonly columns: readonly string[];
  readonly rows: readonly ImageRow[];
}

/** Width and height of an image, in the SVG's pixels: a multiple of those of 28 x 28 and about one of 32 x 32. */
const CELL = 84;
const GAP = 6;
const MARGIN = 14;
const TITLE_HEIGHT = 42;
const HEAD_HEIGHT = 18;
const LINE = 14;
/** Of a character of the caption's 11 pixels, on average, with some room. */
const CHARACTER = 6.6;

/** Intensities from the smallest to the largest as 0 to 1, all channels alike; an image of one value is grey. */
export function stretched(image: Float32Array): Float32Array {
  let [low, high] = [Infinity, -Infinity];
  for (const value of image) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return image.map((value) => (high > low ? (value - low) / (high - low) : 0.5));
}

/** Draws each image with its own contrast, so that noisy and standardised ones can be seen as well as photographs. */
export async function imageGridSvg({ title, subtitle, columns, rows }: ImageGrid): Promise<string> {
  const longest = Math.max(0, ...rows.flatMap(({ caption }) => caption.map((line) => line.length)));
  const left = MARGIN + Math.ceil(longest * CHARACTER) + GAP;
  const top = MARGIN + TITLE_HEIGHT + HEAD_HEIGHT;
  const across = left + columns.length * (CELL + GAP) - GAP + MARGIN;
  const width = Math.max(across, 2 * MARGIN + Math.ceil(1.1 * CHARACTER * Math.max(title.length, subtitle.length)));
  const height = top + rows.length * (CELL + GAP) - GAP + MARGIN;
  const parts = [
    text(MARGIN, MARGIN + 13, title, { size: 13 }),
    text(MARGIN, MARGIN + 29, subtitle, { fill: MUTED }),
    ...columns.map((name, column) =>
      text(left + column * (CELL + GAP) + CELL / 2, top - 6, name, { anchor: "middle" }),
    ),
  ];
  for (const [row, { caption, images, shape }] of rows.entries()) {
    const y = top + row * (CELL + GAP);
    const first = y + CELL / 2 + 4 - ((caption.length - 1) * LINE) / 2;
    caption.forEach((line, i) => {
      parts.push(text(MARGIN, first + i * LINE, line, i === 0 ? {} : { fill: MUTED }));
    });
    for (const [column, image] of images.entries()) {
      const href = await pngDataUri(stretched(image), shape);
      parts.push(
        `<image x="${left + column * (CELL + GAP)}" y="${y}" width="${CELL}" height="${CELL}" ` +
          `preserveAspectRatio="xMidYMid meet" image-rendering="optimizeSpeed" href="${href}"/>`,
      );
    }
  }
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">` +
    `<rect width="${width}" height="${height}" fill="white"/><g font-family="${FONT}">${parts.join("")}</g></svg>\n`
  );
}

interface TextStyle {
  readonly size?: number;
  readonly fill?: string;
  readonly anchor?: "start" | "middle";
}

function text(x: number, y: number, content: string, { size = 11, fill = INK, anchor = "start" }: TextStyle): string {
  return `<text x="${x}" y="${y}" font-size="${size}" fill="${fill}" text-anchor="${anchor}">${escapeHtml(content)}</text>`;
}
