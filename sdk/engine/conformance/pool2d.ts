/** Pooling of image planes and its gradient, window by window. */
import { pool2d, pool2dInput, PoolOperation } from "../kernels/pool2d.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { errorOf, launch, normals, worst, type Case, type Row } from "./row.ts";

type Pair = readonly [vertical: number, horizontal: number];

export interface Pooling {
  readonly planes: number;
  readonly input: Pair;
  readonly output: Pair;
  readonly window: Pair;
  readonly stride?: Pair;
  readonly pad?: Pair;
  /** Pixels are few whole numbers, NaN and infinities: what counts is which of them is the first largest. */
  readonly wild?: boolean;
}

type Operation = keyof typeof PoolOperation;

/** The place of the maximum of a window without pixels. */
const NOWHERE = 0xffffffff;

const CASES: readonly Pooling[] = [
  { planes: 1, input: [1, 1], output: [1, 1], window: [1, 1] },
  { planes: 0, input: [4, 4], output: [2, 2], window: [2, 2], stride: [2, 2] },
  { planes: 3, input: [4, 4], output: [0, 2], window: [2, 2], stride: [2, 2] },
  { planes: 3, input: [0, 4], output: [1, 2], window: [2, 2], stride: [2, 2], pad: [1, 0] },
  { planes: 5, input: [8, 22], output: [4, 11], window: [2, 2], stride: [2, 2] },
  // A last row and column that no window reaches.
  { planes: 4, input: [17, 17], output: [8, 8], window: [2, 2], stride: [2, 2] },
  // Windows that overlap.
  { planes: 3, input: [27, 27], output: [14, 14], window: [3, 3], stride: [2, 2], pad: [1, 1] },
  { planes: 3, input: [13, 21], output: [12, 19], window: [2, 3] },
  { planes: 2, input: [9, 29], output: [7, 9], window: [5, 4], stride: [1, 3], pad: [2, 1] },
  // A window as large as the plane, and one that is larger.
  { planes: 7, input: [6, 5], output: [1, 1], window: [6, 5] },
  { planes: 7, input: [3, 2], output: [2, 2], window: [5, 4], stride: [1, 1], pad: [2, 2] },
  // Gaps between windows, and windows that lie outside altogether.
  { planes: 2, input: [11, 31], output: [4, 9], window: [2, 2], stride: [3, 5], pad: [1, 1] },
  { planes: 1, input: [1, 1000], output: [1, 999], window: [1, 2] },
  { planes: 70_001, input: [2, 2], output: [1, 1], window: [2, 2] },
];

function paramsOf({ planes, input, output, window, stride = [1, 1], pad = [0, 0] }: Pooling, operation: Operation) {
  return {
    planes,
    inHeight: input[0],
    inWidth: input[1],
    outHeight: output[0],
    outWidth: output[1],
    windowHeight: window[0],
    windowWidth: window[1],
    strideHeight: stride[0],
    strideWidth: stride[1],
    padTop: pad[0],
    padLeft: pad[1],
    operation: PoolOperation[operation],
  };
}

function nameOf(shape: Pooling, operation: Operation): string {
  const { planes, input, output, window, stride = [1, 1], pad = [0, 0], wild = false } = shape;
  return (
    `${operation}, ${planes} x ${input.join("x")} -> ${output.join("x")}, window ${window.join("x")} ` +
    `stride ${stride.join("x")} pad ${pad.join(" ")}${wild ? ", ties and NaN" : ""}`
  );
}

/** A window of a plane: the places of its pixels that lie inside, row by row. */
function* windows(shape: Pooling): Generator<{ readonly index: number; readonly places: number[] }> {
  const { input, output, window, stride = [1, 1], pad = [0, 0] } = shape;
  for (let v = 0; v < output[0]; v++) {
    for (let u = 0; u < output[1]; u++) {
      const places: number[] = [];
      for (let i = 0; i < window[0]; i++) {
        for (let j = 0; j < window[1]; j++) {
          const y = v * stride[0] - pad[0] + i;
          const x = u * stride[1] - pad[1] + j;
          if (y >= 0 && y < input[0] && x >= 0 && x < input[1]) places.push(y * input[1] + x);
        }
      }
      yield { index: v * output[1] + u, places };
    }
  }
}

/** The place of the first largest, a NaN being larger than anything. */
function firstLargest(plane: Float32Array, places: readonly number[]): number {
  let best = NOWHERE;
  for (const place of places) {
    const [value = NaN, largest = NaN] = [plane[place], plane[best]];
    if (best === NOWHERE || (!Number.isNaN(largest) && (Number.isNaN(value) || value > largest))) best = place;
  }
  return best;
}

function pixelsOf(random: RandomStream, { planes, input, wild = false }: Pooling): Float32Array<ArrayBuffer> {
  const values = normals(random, planes * input[0] * input[1]);
  const rare = [NaN, -Infinity, -Infinity, Infinity];
  if (wild) values.forEach((_, index) => (values[index] = rare[random.below(40)] ?? random.below(4) - 2));
  return values;
}

export function poolCase(random: RandomStream, shape: Pooling, operation: Operation): Case {
  const { planes, input, output, window } = shape;
  const [pixels, count] = [input[0] * input[1], output[0] * output[1]];
  const a = pixelsOf(random, shape);

  const planeError = (plane: number, out: Float32Array, chosen: Uint32Array): number => {
    const image = a.subarray(plane * pixels, (plane + 1) * pixels);
    let largest = 0;
    for (const { index, places } of windows(shape)) {
      const at = plane * count + index;
      const actual = out[at] ?? 0;
      let error: number;
      if (operation === "max") {
        const place = firstLargest(image, places);
        const right = chosen[at] === place && Object.is(actual, place === NOWHERE ? -Infinity : image[place]);
        error = right ? 0 : Infinity;
      } else {
        const magnitude = places.reduce((sum, place) => sum + Math.abs(image[place] ?? NaN), 0);
        const mean = places.reduce((sum, place) => sum + (image[place] ?? NaN), 0) / (window[0] * window[1]);
        error = errorOf(actual, mean, magnitude / (window[0] * window[1]));
      }
      if (!(error <= largest)) largest = error;
    }
    return largest;
  };

  const places = operation === "max" ? planes * count : 0;
  return {
    name: nameOf(shape, operation),
    buffers: { a, out: 4 * planes * count, places: 4 * places },
    launches: [launch(pool2d, paramsOf(shape, operation), ["a", "out", "places"])],
    outputs: ["out", "places"],
    check: (read) => {
      const [out, chosen] = [new Float32Array(read("out")), new Uint32Array(read("places"))];
      return worst(planes, (plane) => planeError(plane, out, chosen));
    },
  };
}

export function poolGradientCase(random: RandomStream, shape: Pooling, operation: Operation): Case {
  const { planes, input, output, window } = shape;
  const [pixels, count] = [input[0] * input[1], output[0] * output[1]];
  const gradient = normals(random, planes * count);
  const places = new Uint32Array(operation === "max" ? planes * count : 1);
  const covers = [...windows(shape)];
  if (operation === "max") {
    // Any pixel of a window may have been its largest.
    for (let plane = 0; plane < planes; plane++) {
      for (const { index, places: inside } of covers)
        places[plane * count + index] = inside.length === 0 ? NOWHERE : (inside[random.below(inside.length)] ?? 0);
    }
  }

  const planeError = (plane: number, out: Float32Array): number => {
    const sums = new Float64Array(pixels);
    const magnitudes = new Float64Array(pixels);
    const add = (place: number, value: number): void => {
      sums[place] = (sums[place] ?? NaN) + value;
      magnitudes[place] = (magnitudes[place] ?? NaN) + Math.abs(value);
    };
    for (const { index, places: inside } of covers) {
      const at = plane * count + index;
      const value = gradient[at] ?? NaN;
      if (operation === "max") add(places[at] ?? NOWHERE, value);
      else for (const place of inside) add(place, value / (window[0] * window[1]));
    }
    return worst(pixels, (place) => errorOf(out[plane * pixels + place], sums[place] ?? NaN, magnitudes[place] ?? NaN));
  };

  return {
    name: nameOf(shape, operation),
    buffers: { gradient, places, out: 4 * planes * pixels },
    launches: [launch(pool2dInput, paramsOf(shape, operation), ["gradient", "places", "out"])],
    outputs: ["out"],
    check: (read) => {
      const out = new Float32Array(read("out"));
      return worst(planes, (plane) => planeError(plane, out));
    },
  };
}

const OPERATIONS = Object.keys(PoolOperation) as Operation[];

/** The pools of AlexNet: windows of 3 at stride 2. */
function alexnet(planes: number): Pooling {
  return { planes, input: [27, 27], output: [14, 14], window: [3, 3], stride: [2, 2], pad: [1, 1] };
}

const reason =
  "16 u, u = 2^-24: a window's pixels, or the windows that cover a pixel, are at most 25 here, and added up one by one.";

export const pool2dRows: readonly Row[] = [
  {
    kernel: pool2d as unknown as KernelSchema,
    measure: "the mean of the window's magnitudes; a maximum and its place are exact",
    tolerance: 1e-6,
    reason,
    unit: "GB/s",
    *cases(random) {
      for (const shape of CASES) for (const operation of OPERATIONS) yield poolCase(random, shape, operation);
      for (const shape of CASES.slice(4)) yield poolCase(random, { ...shape, wild: true }, "max");
    },
    large(level, random) {
      const planes = 16 * 4 ** level;
      return level > 3 ? undefined : { ...poolCase(random, alexnet(planes), "max"), work: (planes * 4 * 1121) / 1e9 };
    },
  },
  {
    kernel: pool2dInput as unknown as KernelSchema,
    measure: "the sum of the magnitudes of what a pixel receives",
    tolerance: 1e-6,
    reason,
    unit: "GB/s",
    *cases(random) {
      for (const shape of CASES) for (const operation of OPERATIONS) yield poolGradientCase(random, shape, operation);
    },
    large(level, random) {
      const planes = 16 * 4 ** level;
      if (level > 3) return undefined;
      return { ...poolGradientCase(random, alexnet(planes), "max"), work: (planes * 4 * 1121) / 1e9 };
    },
  },
];
