/** `widefield data preview NAME`: a picture of a data set's first images, and of what noise makes of them. */
import { Command } from "commander";
import { type Dataset, type ImageShape, shapeText } from "../sdk/data/dataset.ts";
import { type NoiseKind, noiseLevel, noiseLevels, openProblem } from "../sdk/data/problems.ts";
import { readFileFromDisk } from "../sdk/data/files.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { replaceFile } from "../sdk/platform/files.ts";
import { renderPng } from "../sdk/report/figure.node.ts";
import { type ImageGrid, imageGridSvg, type ImageRow } from "../sdk/report/image-grid.ts";
import { addProblemOptions, openProblemFrom, parseLevels, type ProblemInputs } from "./problem-inputs.ts";
import { addEngineOptions, type CommonOptions, type Session, wholeNumber, withEngine } from "./session.ts";

/** Columns: 36,000 pixels of a PNG, and as many as anybody can look at. */
const MAX_COUNT = 200;

interface PreviewOptions extends CommonOptions, Omit<ProblemInputs, "level"> {
  readonly levels?: string;
  readonly count: string;
  readonly first: string;
  readonly out: string;
}

export function previewCommand(): Command {
  const command = new Command("preview")
    .description("draw a data set's images, as they are and with noise at some levels, into a PNG or SVG file")
    .argument("<name>", "a data set, a data set with noise (mnist-hf, cifar10-lf, ..), cifar2, or synth");
  return addEngineOptions(addProblemOptions(command, { level: false }))
    .option(
      "--levels <list>",
      "the noise's levels, and half-open ranges of them: 0:15, or 0,3,7,14 (default: four from the first to the last)",
    )
    .option("--count <n>", "how many images", "8")
    .option("--first <n>", "the first of them, counted over training and then test images", "0")
    .requiredOption("--out <file>", "the picture: grid.png, or grid.svg")
    .action(async (name: string, options: PreviewOptions) => preview(name, options));
}

async function preview(name: string, options: PreviewOptions): Promise<void> {
  const { out } = options;
  if (!/\.(png|svg)$/i.test(out))
    throw new WidefieldError("E_CONFIG", `--out ${out}: a picture is a .png or an .svg file`);
  const noisy = noiseLevels(name, options.noise).length > 0;
  const wanted = options.levels === undefined ? undefined : parseLevels(options.levels);
  if (wanted !== undefined && !noisy) throw noNoise(name);
  const count = wholeNumber("--count", options.count);
  if (count < 1 || count > MAX_COUNT)
    throw new WidefieldError("E_CONFIG", `--count ${count}: a picture has 1 to ${MAX_COUNT} images in a row`);
  await withEngine(options, async (engine, session) => {
    const files = await nodeFiles();
    const first = wholeNumber("--first", options.first);
    const ranges = [{ start: first, end: first + count }];
    const plain = name.replace(/-(hf|lf)$/i, "");
    const source = noisy
      ? (await openProblem(plain, { engine, dataDir: options.dataDir, readFile: readFileFromDisk, files })).dataset
      : (await openProblemFrom(plain, options, engine, session, ranges)).dataset;
    const levels = wanted ?? defaultLevels(name, options.noise, source.shape);
    const strengths = levels.map((level) => noiseLevel(name, options.noise, level, source.shape));
    requireWithin(name, options.noise, levels, strengths, source.shape);
    const rows = [rowOf(source, ranges, noisy ? ["as it is"] : [])];
    for (const [i, level] of levels.entries()) {
      const inputs = { ...options, level: String(level) };
      const { dataset } = await openProblemFrom(name, inputs, engine, session, ranges);
      rows.push(rowOf(dataset, ranges, captionOf(name, options.noise, level, strengths[i] ?? NaN)));
    }
    const { labels } = source.select(ranges);
    const columns = Array.from(labels, (label, i) =>
      source.classes === 1 ? String(first + i) : `${first + i}: ${label}`,
    );
    const grid = { title: titleOf(name, options), subtitle: subtitleOf(source), columns, rows };
    await save(out, grid);
    report(out, grid, levels, session);
  });
}

function report(out: string, { columns, rows, title }: ImageGrid, levels: readonly number[], session: Session): void {
  const facts = { picture: out, title, images: columns.length, rows: rows.length, levels };
  session.print(
    session.json ? JSON.stringify(facts) : `${out}: ${title}, ${columns.length} images in ${rows.length} rows`,
  );
}

async function save(path: string, grid: ImageGrid): Promise<void> {
  const svg = await imageGridSvg(grid);
  const bytes = path.toLowerCase().endsWith(".svg") ? new TextEncoder().encode(svg) : await renderPng(svg);
  await replaceFile(await nodeFiles(), path, bytes);
}

function noNoise(name: string): WidefieldError {
  const hint =
    name.toLowerCase() === "synth"
      ? " in frequencies, and its difficulty is --kappa"
      : "; choose --noise hf or --noise lf";
  return new WidefieldError("E_CONFIG", `--levels: ${name} has no noise${hint}`);
}

/** Up to four levels, evenly from the first to the last that images of this shape can have. */
function defaultLevels(name: string, noise: NoiseKind | undefined, shape: ImageShape): readonly number[] {
  const values = noiseLevels(name, noise, shape);
  const count = isHigh(name, noise) ? values.length : values.filter((value) => value <= mostOf(shape)).length;
  if (count === 0) return [];
  return [...new Set([0, 1, 2, 3].map((i) => Math.round((i * (count - 1)) / 3)))];
}

/** Throws E_CONFIG for a threshold beyond the images. */
function requireWithin(
  name: string,
  noise: NoiseKind | undefined,
  levels: readonly number[],
  strengths: readonly number[],
  shape: ImageShape,
): void {
  if (isHigh(name, noise)) return;
  const beyond = strengths.findIndex((threshold) => threshold > mostOf(shape));
  if (beyond < 0) return;
  throw new WidefieldError(
    "E_CONFIG",
    `--levels: level ${levels[beyond] ?? NaN} replaces ${strengths[beyond] ?? NaN} frequencies, and images of ` +
      `${shapeText(shape)} have ${mostOf(shape)}: choose lower levels`,
  );
}

/** Frequencies in either direction. */
function mostOf({ height, width }: ImageShape): number {
  return Math.min(height, width);
}

function isHigh(name: string, noise: NoiseKind | undefined): boolean {
  return noise === "hf" || /-hf$/i.test(name);
}

function captionOf(name: string, noise: NoiseKind | undefined, level: number, value: number): string[] {
  const high = isHigh(name, noise);
  return [`level ${level}`, high ? `noise x ${Number(value.toPrecision(3))}` : `threshold ${value}`];
}

function titleOf(name: string, { noise, rng, kappa }: PreviewOptions): string {
  const base = name.toLowerCase();
  const full = noise === undefined || base.endsWith(`-${noise}`) ? base : `${base}-${noise}`;
  if (full === "synth") return `synth, kappa ${kappa ?? "0"}, ${rng} generator`;
  const kind = full.endsWith("-hf")
    ? "noise in high frequencies"
    : full.endsWith("-lf")
      ? "noise in low frequencies"
      : "";
  return kind === "" ? full : `${full}: ${kind}, ${rng} generator`;
}

function subtitleOf({ classes }: Dataset): string {
  const above = classes === 1 ? "Above each row of features: its index." : "Above each image: its index and label.";
  return `${above} Each has the contrast of its own values.`;
}

function rowOf(dataset: Dataset, ranges: readonly { start: number; end: number }[], caption: string[]): ImageRow {
  const { images } = dataset.select(ranges);
  const floats = dataset.imageFloats;
  const count = images.length / floats;
  return {
    caption,
    images: Array.from({ length: count }, (_, i) => images.subarray(i * floats, (i + 1) * floats)),
    shape: drawnShape(dataset.shape),
  };
}

/** Vectors of a square number of features are drawn as squares, row by row. */
function drawnShape(shape: ImageShape): ImageShape {
  const side = Math.sqrt(shape.width);
  return shape.height === 1 && shape.channels === 1 && Number.isInteger(side)
    ? { channels: 1, height: side, width: side }
    : shape;
}
