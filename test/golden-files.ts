/**
 * Reference kernels and published images that may stand in a folder "shared" next to the checkout; machines without it
 * run the synthetic twin of each test.
 */
import { readFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { Arch } from "../sdk/arch/arch.ts";
import { archFromJson } from "../sdk/arch/json.ts";
import type { LayerJson } from "../sdk/arch/layer.ts";

const shared = join(import.meta.dirname, "..", "..", "shared");
export const mnistFolder = join(shared, "data", "mnist");
const cifarFile = join(shared, "data", "cifar10-jpeg", "test_batch.bin.gz");
const goldenFile = join(shared, "golden", "kernels.json");

export const hasMnist = existsSync(mnistFolder);
export const hasGolden = hasMnist && existsSync(goldenFile);
export const hasCifar = existsSync(cifarFile) && existsSync(goldenFile);

/** A layer's type and its settings; of a sum, its branches, each a list of layers, an empty one the identity. */
export type GoldenLayer = readonly [type: string, ...settings: (number | string | GoldenLayer[][])[]];

export interface Golden {
  readonly mnist: { readonly indices: number[]; readonly kernels: Record<string, number[][]> };
  readonly cifar8: {
    readonly first: number;
    readonly count: number;
    readonly kernels: Record<
      string,
      { readonly arch: GoldenLayer[]; readonly nngp: number[][]; readonly ntk: number[][] }
    >;
  };
  readonly fc: {
    readonly indices: number[];
    readonly kernels: Record<string, { readonly nngp: number[][]; readonly ntk: number[][] }>;
  };
}

export async function golden(): Promise<Golden> {
  return JSON.parse(await readFile(goldenFile, "utf8")) as Golden;
}

/**
 * ["conv", filter, stride, padding, weightVariance, biasVariance, dilation], ["relu"], ["erf"], ["sum", branches],
 * ["avgpool", window], ["gap"], ["flatten"], ["dense", w, b].
 */
export function goldenArch(layers: readonly GoldenLayer[]): Arch {
  return archFromJson(goldenJson(layers));
}

function goldenJson(layers: readonly GoldenLayer[]): LayerJson {
  if (layers.length === 0) return { type: "identity" };
  const json = layers.map(([type, ...values]) => {
    if (type === "sum") return { type, layers: (values[0] as GoldenLayer[][]).map(goldenJson) };
    if (type === "conv") {
      const [filter, stride, padding, weightVariance, biasVariance, dilation] = values;
      return { type, filter, stride, padding, weightVariance, biasVariance, dilation };
    }
    if (type === "avgpool") return { type: "avgPool", window: values[0] };
    if (type === "gap") return { type: "globalAvgPool" };
    if (type === "dense") return { type, weightVariance: values[0], biasVariance: values[1] };
    return { type };
  });
  return { type: "serial", layers: json };
}

/** CIFAR test images as 3 x 8 x 8: pixel / 255, averaged over squares of 4 x 4. A record is a label and 3,072 bytes. */
export async function cifar8(first: number, count: number): Promise<Float64Array<ArrayBuffer>> {
  const bytes = gunzipSync(await readFile(cifarFile));
  return Float64Array.from({ length: count * 192 }, (_, at) => {
    const [image, channel, row, column] = [
      Math.floor(at / 192),
      Math.floor(at / 64) % 3,
      Math.floor(at / 8) % 8,
      at % 8,
    ];
    const start = (first + image) * 3073 + 1 + channel * 1024 + row * 128 + column * 4;
    let sum = 0;
    for (let pixel = 0; pixel < 16; pixel++) sum += (bytes[start + 32 * (pixel >> 2) + (pixel & 3)] ?? NaN) / 255;
    return sum / 16;
  });
}
