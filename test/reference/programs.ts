/** Covariance programs written down by hand, for tests that need one without an architecture. */
import type { ConvStep, Program, RectifierStep, Step } from "../../sdk/covariance/program.ts";

export interface ConvOptions {
  readonly filter: readonly [number, number];
  readonly stride?: readonly [number, number];
  readonly dilation?: readonly [number, number];
  /** Padding before and after, in both directions; "same" as for stride 1. */
  readonly padding?: "same" | number;
  readonly weightVariance?: number;
  readonly biasVariance?: number;
}

export type Layer =
  (ConvOptions & { readonly layer: "conv" }) | { readonly layer: "relu" } | { readonly layer: "mean" };

/**
 * Layers to a program, one step each and nothing folded: conv weights are weightVariance / taps. Throws if a valid
 * convolution eats the map.
 */
export function programOf(input: readonly [number, number, number], layers: readonly Layer[]): Program {
  const [channels, height, width] = input;
  const steps: Step[] = [{ kind: "input", to: 0, channels, height, width, scale: 1 / channels }];
  let size: readonly [number, number] = [height, width];
  let tablePixels = 0;
  let mapPixels = height * width;
  for (const layer of layers) {
    if (layer.layer === "conv") {
      const step = convolution(size, layer);
      steps.push(step);
      size = [step.outHeight, step.outWidth];
    } else if (layer.layer === "relu") {
      steps.push(relu(size, tablePixels));
      tablePixels += size[0] * size[1];
    } else {
      steps.push({ kind: "mean", from: 0, to: 0, height: size[0], width: size[1], weight: 1.3, bias: 0.2 });
      size = [1, 1];
    }
    mapPixels = Math.max(mapPixels, size[0] * size[1]);
  }
  return { steps, slots: 1, imageFloats: channels * height * width, tablePixels, mapPixels, exponent: 0 };
}

const PLACE = { from: 0, to: 0, accumulate: false } as const;

function relu([height, width]: readonly [number, number], table: number): RectifierStep {
  return { kind: "rectifier", ...PLACE, height, width, positive: 0.5, negative: 0, curve: 1, table };
}

function convolution([inHeight, inWidth]: readonly [number, number], options: ConvOptions): ConvStep {
  const [filterHeight, filterWidth] = options.filter;
  const [strideHeight, strideWidth] = options.stride ?? [1, 1];
  const [dilationHeight, dilationWidth] = options.dilation ?? [1, 1];
  const along = (size: number, filter: number, stride: number, dilation: number): { pad: number; out: number } => {
    const reach = dilation * (filter - 1);
    const before = options.padding === "same" ? Math.floor(reach / 2) : (options.padding ?? 0);
    const after = options.padding === "same" ? reach - before : before;
    const out = Math.floor((size + before + after - reach - 1) / stride) + 1;
    if (out < 1) throw new RangeError("the filter is larger than its padded input");
    return { pad: before, out };
  };
  const vertical = along(inHeight, filterHeight, strideHeight, dilationHeight);
  const horizontal = along(inWidth, filterWidth, strideWidth, dilationWidth);
  return {
    kind: "conv",
    ...PLACE,
    inHeight,
    inWidth,
    outHeight: vertical.out,
    outWidth: horizontal.out,
    filterHeight,
    filterWidth,
    strideHeight,
    strideWidth,
    dilationHeight,
    dilationWidth,
    padTop: vertical.pad,
    padLeft: horizontal.pad,
    weight: (options.weightVariance ?? 2) / (filterHeight * filterWidth),
    bias: options.biasVariance ?? 0.1,
  };
}

/**
 * The ConvNet GP of Garriga-Alonso et al. (2019) for 28 x 28 images: 7 x [conv 7x7 same, relu], read-out. Each
 * layer multiplies covariances by about 68; the maps' scale is therefore taken down by 2^-6 a layer.
 */
export function convnetGp(layers = 7): Program {
  const scale = 2 ** -6;
  const steps: Step[] = [{ kind: "input", to: 0, channels: 1, height: 28, width: 28, scale: 1 }];
  for (let layer = 0; layer < layers; layer++) {
    const conv = convolution([28, 28], { filter: [7, 7], padding: "same", weightVariance: 2.79 * 49 });
    steps.push({ ...conv, weight: conv.weight * scale, bias: 7.86 * scale ** (layer + 1) });
    steps.push(relu([28, 28], layer * 784));
  }
  steps.push({ kind: "mean", from: 0, to: 0, height: 28, width: 28, weight: 2.79, bias: 7.86 * scale ** layers });
  return { steps, slots: 1, imageFloats: 784, tablePixels: layers * 784, mapPixels: 784, exponent: 6 * layers };
}

/** Random generator of tests: 32 bits of state, uniform in [0, 1). */
export function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Images with blank borders and smooth strokes, as handwritten digits have: floats in [0, 1], zero for the most part. */
export function digitLike(
  random: () => number,
  height: number,
  width: number,
  channels = 1,
): Float32Array<ArrayBuffer> {
  const image = new Float32Array(channels * height * width);
  for (let c = 0; c < channels; c++) {
    for (let stroke = 0; stroke < 3; stroke++) {
      let y = height * (0.25 + 0.5 * random());
      let x = width * (0.25 + 0.5 * random());
      let angle = 2 * Math.PI * random();
      for (let t = 0; t < height; t++) {
        const row = Math.round(y);
        const column = Math.round(x);
        const margin = Math.floor(Math.min(height, width) / 7);
        const inside = row >= margin && row < height - margin && column >= margin && column < width - margin;
        if (inside) image[(c * height + row) * width + column] = 0.3 + 0.7 * random();
        angle += random() - 0.5;
        y += Math.sin(angle);
        x += Math.cos(angle);
      }
    }
  }
  return image;
}
