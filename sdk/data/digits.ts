/**
 * The built-in dataset "digits": the digits 0-9 as pen strokes, warped, turned, sheared, scaled, moved, drawn with pens
 * of different width and grain, and rendered with smooth edges. It needs no files, so it is what the quickstart and
 * tests run on.
 *
 * Image i is a function of (seed, i, size) only: any range can be had without the others. Its bytes are the same on
 * every runtime, because nothing here depends on an engine: random words are integers, and all arithmetic is float64
 * with +, -, *, /, sqrt and floor, which IEEE 754 rounds exactly, sine and cosine being the portable ones. Pixels are
 * then quantised to 8 bits (as scanned digits are): another implementation, whose last float bits differ, could change
 * a pixel only where it falls within 1e-15 or so of the middle between two grey levels.
 */
import { sinCosTurns } from "../engine/portable.ts";
import { RandomStream } from "../engine/rng.ts";
import { WidefieldError } from "../errors.ts";
import { Dataset } from "./dataset.ts";
import { sha256 } from "../platform/digest.ts";
import { GLYPHS, type Stroke } from "./glyphs.ts";

/** Part of the digest. Raise it with every change that changes a byte of an image. */
const VERSION = 1;
const CLASSES = 10;

/**
 * How much the digits differ: standard deviations where nothing else is said, in units of the glyphs' square, or of a
 * pixel of a 28 x 28 image. Chosen so that the nearest of 1,000 images misclassifies about one digit in twenty.
 */
const BOX = 20 / 28; // side of the glyphs' square in the image, as MNIST fits its digits
const WARP_GRID = 4; // displacements are drawn on a 4 x 4 grid over the square and interpolated in between
const WARP = 0.046;
const ROTATION_TURNS = 0.024;
const SHEAR = 0.18;
const SIZE = 0.09; // relative
const SHIFT_PIXELS = 0.75;
const THINNEST_PIXELS = 0.75; // half the pen's width: uniform from here
const THICKEST_PIXELS = 1.7; // to here
const EDGE_PIXELS = 0.8; // ink fades over twice this
const FAINTEST = 0.7; // ink is uniform from here to 1
const COARSEST_GRAIN = 0.3; // the largest part of its ink that a pixel can lose
const CURVE_STEPS = 6; // line segments between two points of a curve

export interface DigitsOptions {
  /** Integer in 0..2^53-1; default 0. */
  readonly seed?: number;
  /** Height and width in pixels; default 28. */
  readonly size?: number;
  /** Default 60,000. */
  readonly trainCount?: number;
  /** Default 10,000. */
  readonly testCount?: number;
}

/**
 * The synthetic digits as a dataset. Images are rendered when they are selected, about 25,000 a second on one core.
 *
 * Its SHA-256 is that of the recipe (version, seed, size, counts): it stands for the content as well as a digest of the
 * rendered bytes would, and is free.
 *
 * @throws WidefieldError E_CONFIG
 */
export function digits(options: DigitsOptions = {}): Dataset {
  const { seed = 0, size = 28, trainCount = 60_000, testCount = 10_000 } = options;
  for (const [name, value, least] of [
    ["size", size, 8],
    ["trainCount", trainCount, 0],
    ["testCount", testCount, 0],
  ] as const) {
    if (Number.isSafeInteger(value) && value >= least) continue;
    throw new WidefieldError("E_CONFIG", `digits: ${name} must be an integer of at least ${least}, not ${value}`);
  }
  const labelStream = new RandomStream(seed, "digits.label");
  const labels = Int32Array.from({ length: trainCount + testCount }, (_, index) => labelOf(labelStream, index));
  const canvas = new Canvas(size);
  return new Dataset({
    name: "digits",
    shape: { channels: 1, height: size, width: size },
    classes: CLASSES,
    trainCount,
    testCount,
    labels,
    writeImage: (index, out, offset) => {
      const pixels = draw(canvas, new RandomStream(seed, "digits.image", index), labels[index] ?? NaN);
      for (let i = 0; i < pixels.length; i++) out[offset + i] = (pixels[i] ?? NaN) / 255;
    },
    digest: async () => sha256(JSON.stringify({ digits: VERSION, seed, size, trainCount, testCount })),
  });
}

/** Word `index` of the label stream decides, so that labels need no image. */
function labelOf(stream: RandomStream, index: number): number {
  stream.position = index;
  return stream.below(CLASSES);
}

/** Draws one image; the result is the canvas's own array, valid until the next. */
function draw(canvas: Canvas, random: RandomStream, label: number): Uint8Array {
  const ways = GLYPHS[label] ?? [];
  const glyph = ways[random.below(ways.length)] ?? [];
  const place = randomPlacement(random, canvas.size);
  const unit = canvas.size / 28;
  const halfWidth = unit * (THINNEST_PIXELS + (THICKEST_PIXELS - THINNEST_PIXELS) * random.uniform32());
  const reach = halfWidth + unit * EDGE_PIXELS;
  const paths = glyph.map((stroke) => flatten(stroke, place));
  const moveX = moveInside(paths, 0, reach, canvas.size);
  const moveY = moveInside(paths, 1, reach, canvas.size);
  canvas.clear(reach);
  for (const path of paths) {
    const x = (i: number) => (path[i] ?? NaN) + moveX;
    const y = (i: number) => (path[i + 1] ?? NaN) + moveY;
    for (let i = 2; i < path.length; i += 2) canvas.segment(x(i - 2), y(i - 2), x(i), y(i));
  }
  const ink = FAINTEST + (1 - FAINTEST) * random.uniform32();
  const grain = COARSEST_GRAIN * random.uniform32();
  return canvas.develop(2 * unit * EDGE_PIXELS, ink, grain, random);
}

/** Where a point of the unit square lands in the image, in pixels. */
type Placement = (x: number, y: number) => readonly [x: number, y: number];

/** A normal number cut at 2: no digit is too large for its image. */
function tame(random: RandomStream): number {
  return Math.max(-2, Math.min(2, random.normal()));
}

function randomPlacement(random: RandomStream, size: number): Placement {
  const turn = { sin: 0, cos: 0 };
  sinCosTurns(ROTATION_TURNS * tame(random), turn);
  const shear = SHEAR * tame(random);
  const scaleX = BOX * size * (1 + SIZE * tame(random));
  const scaleY = BOX * size * (1 + SIZE * tame(random));
  const centreX = size / 2 + SHIFT_PIXELS * (size / 28) * tame(random);
  const centreY = size / 2 + SHIFT_PIXELS * (size / 28) * tame(random);
  const warpX = Float64Array.from({ length: WARP_GRID ** 2 }, () => WARP * tame(random));
  const warpY = Float64Array.from({ length: WARP_GRID ** 2 }, () => WARP * tame(random));
  return (x, y) => {
    // The warp first, in the square; then shear and scale about its middle, rotation, and the move.
    const u = (x + interpolate(warpX, x, y) - 0.5) * scaleX;
    const v = (y + interpolate(warpY, x, y) - 0.5) * scaleY;
    const sheared = u - shear * v;
    return [centreX + turn.cos * sheared - turn.sin * v, centreY + turn.sin * sheared + turn.cos * v];
  };
}

/** Bilinear interpolation of a grid over the unit square. */
function interpolate(grid: Float64Array, x: number, y: number): number {
  const cells = WARP_GRID - 1;
  const column = Math.min(cells - 1, Math.max(0, Math.floor(x * cells)));
  const row = Math.min(cells - 1, Math.max(0, Math.floor(y * cells)));
  const right = x * cells - column;
  const down = y * cells - row;
  const at = (r: number, c: number) => grid[r * WARP_GRID + c] ?? NaN;
  const upper = at(row, column) * (1 - right) + at(row, column + 1) * right;
  const lower = at(row + 1, column) * (1 - right) + at(row + 1, column + 1) * right;
  return upper * (1 - down) + lower * down;
}

/** A stroke as a polyline in the image: x0, y0, x1, y1, ... */
function flatten(stroke: Stroke, place: Placement): number[] {
  const points = stroke.points.map(([x, y]) => place(x, y));
  if (stroke.kind === "line") return points.flat();
  const path: number[] = [];
  const at = (i: number) => points[Math.max(0, Math.min(points.length - 1, i))] ?? [NaN, NaN];
  for (let i = 0; i + 1 < points.length; i++) {
    const [p0, p1, p2, p3] = [at(i - 1), at(i), at(i + 1), at(i + 2)];
    for (let step = 0; step < CURVE_STEPS; step++) {
      const t = step / CURVE_STEPS;
      path.push(catmullRom(p0[0], p1[0], p2[0], p3[0], t), catmullRom(p0[1], p1[1], p2[1], p3[1], t));
    }
  }
  path.push(...at(points.length - 1));
  return path;
}

/** How far to move paths along one axis (0: x, 1: y) so that their ink stays off the outermost pixels. */
function moveInside(paths: readonly (readonly number[])[], axis: 0 | 1, reach: number, size: number): number {
  let least = Infinity;
  let most = -Infinity;
  for (const path of paths) {
    for (let i = axis; i < path.length; i += 2) {
      least = Math.min(least, path[i] ?? NaN);
      most = Math.max(most, path[i] ?? NaN);
    }
  }
  // Ink of a pixel's middle at distance `reach` is zero, and the outermost middles are half a pixel from the edge.
  const tooFarBack = Math.max(0, 0.5 + reach - least);
  const tooFarOn = Math.max(0, most - (size - 0.5 - reach));
  return tooFarBack - tooFarOn;
}

/** The cubic through b (t = 0) and c (t = 1) with slopes (c - a)/2 and (d - b)/2. */
function catmullRom(a: number, b: number, c: number, d: number, t: number): number {
  return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
}

/** A square of pixels that keeps, for each, the squared distance of its middle to the nearest piece of stroke. */
class Canvas {
  readonly size: number;
  readonly #squares: Float64Array;
  readonly #pixels: Uint8Array;
  #reach = 0;

  constructor(size: number) {
    this.size = size;
    this.#squares = new Float64Array(size * size);
    this.#pixels = new Uint8Array(size * size);
  }

  /** Takes everything off. Ink will reach so many pixels from a stroke's middle. */
  clear(reach: number): void {
    this.#reach = reach;
    this.#squares.fill(reach * reach);
  }

  segment(x0: number, y0: number, x1: number, y1: number): void {
    const clamp = (pixel: number) => Math.max(0, Math.min(this.size - 1, pixel));
    const left = clamp(Math.floor(Math.min(x0, x1) - this.#reach));
    const right = clamp(Math.floor(Math.max(x0, x1) + this.#reach));
    const top = clamp(Math.floor(Math.min(y0, y1) - this.#reach));
    const bottom = clamp(Math.floor(Math.max(y0, y1) + this.#reach));
    const dx = x1 - x0;
    const dy = y1 - y0;
    // A piece of length zero is a point; any finite number will do for 1 / 0 then.
    const square = dx * dx + dy * dy;
    const inverse = square > 0 ? 1 / square : 0;
    for (let row = top; row <= bottom; row++) {
      const y = row + 0.5 - y0;
      for (let column = left; column <= right; column++) {
        const x = column + 0.5 - x0;
        const along = Math.max(0, Math.min(1, (x * dx + y * dy) * inverse));
        const offX = x - along * dx;
        const offY = y - along * dy;
        const distance = offX * offX + offY * offY;
        const place = row * this.size + column;
        if (distance < (this.#squares[place] ?? 0)) this.#squares[place] = distance;
      }
    }
  }

  /** Distances to grey levels: full ink inside the stroke, fading over `fade` pixels, grainy where there is any. */
  develop(fade: number, ink: number, grain: number, random: RandomStream): Uint8Array {
    const blank = this.#reach * this.#reach;
    for (let i = 0; i < this.#pixels.length; i++) {
      const square = this.#squares[i] ?? blank;
      let level = 0;
      if (square < blank) {
        const cover = Math.min(1, (this.#reach - Math.sqrt(square)) / fade);
        level = cover * ink * (1 - grain * random.uniform32());
      }
      this.#pixels[i] = Math.floor(level * 255 + 0.5);
    }
    return this.#pixels;
  }
}
