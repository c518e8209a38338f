/** Random architectures that fit a random input, for tests that compare the compiler with `arch.ts` of this folder. */
import type { LayerJson } from "../../sdk/arch/layer.ts";
import { positions } from "./arch.ts";

type Random = () => number;

export interface RandomCase {
  readonly arch: LayerJson;
  readonly shape: readonly [number, number, number] | readonly [number];
}

function whole(random: Random, from: number, to: number): number {
  return from + Math.floor(random() * (to - from + 1));
}

function oneOf<T>(random: Random, values: readonly T[]): T {
  return values[Math.floor(random() * values.length)] as T;
}

/** Between 0.2 and 5, and now and then small or large. */
function weight(random: Random): number {
  return random() < 0.15 ? 10 ** (6 * random() - 3) : 0.2 * 25 ** random();
}

function bias(random: Random): number {
  return random() < 0.4 ? 0 : random();
}

function relu(random: Random): LayerJson {
  return { type: "relu", sqrt2: random() < 0.5 };
}

function dense(random: Random): LayerJson {
  return { type: "dense", weightVariance: weight(random), biasVariance: bias(random) };
}

/** A convolution that leaves at least a pixel of h x w. */
function conv(random: Random, height: number, width: number): { layer: LayerJson; height: number; width: number } {
  for (;;) {
    const pair = (from: number, to: number): [number, number] => [whole(random, from, to), whole(random, from, to)];
    const settings = {
      filter: pair(1, 5),
      stride: random() < 0.6 ? ([1, 1] as [number, number]) : pair(1, 3),
      dilation: random() < 0.7 ? ([1, 1] as [number, number]) : pair(1, 3),
      padding: oneOf(random, ["same", "same", "same-tf", "valid", 0, 1, 2, 3] as const),
      weightVariance: weight(random),
      biasVariance: bias(random),
    };
    const [high, wide] = [positions(height, 0, settings).length, positions(width, 1, settings).length];
    if (high === 0 || wide === 0) continue;
    return { layer: { type: "conv", ...settings }, height: high, width: wide };
  }
}

/** Up to six convolutions with or without relus, or a dense network on vectors. */
export function randomCase(random: Random): RandomCase {
  const layers: LayerJson[] = random() < 0.2 ? [relu(random)] : [];
  if (random() < 0.2) {
    for (let i = whole(random, 1, 4); i > 0; i--) layers.push(dense(random), ...(random() < 0.8 ? [relu(random)] : []));
    return { arch: { type: "serial", layers }, shape: [whole(random, 1, 60)] };
  }
  const shape = [oneOf(random, [1, 3, 5]), whole(random, 1, 13), whole(random, 1, 13)] as const;
  let [, height, width] = shape;
  for (let i = whole(random, 1, 6); i > 0; i--) {
    const next = conv(random, height, width);
    ({ height, width } = next);
    layers.push(next.layer);
    while (random() < 0.6) layers.push(relu(random));
  }
  layers.push({ type: "flatten" });
  if (random() < 0.8) layers.push(dense(random));
  if (random() < 0.3) layers.push(relu(random), ...(random() < 0.5 ? [dense(random)] : []));
  return { arch: { type: "serial", layers }, shape };
}

/** Inputs in [0, 1], or of both signs; some with blank borders, or blank. */
export function randomInputs(
  random: Random,
  shape: readonly number[],
  count: number,
  signed = false,
): Float32Array<ArrayBuffer>[] {
  const floats = shape.reduce((product, size) => product * size, 1);
  const [height, width] = shape.length === 3 ? [shape[1] ?? 1, shape[2] ?? 1] : [1, floats];
  return Array.from({ length: count }, () => {
    const border = random() < 0.4 ? 1 + Math.floor(random() * 3) : 0;
    const density = random();
    return Float32Array.from({ length: floats }, (_, index) => {
      const column = index % width;
      const row = Math.floor(index / width) % height;
      const blank =
        column < border || column >= width - border || (height > 1 && (row < border || row >= height - border));
      if (blank || random() > density) return 0;
      return signed ? 2 * random() - 1 : random();
    });
  });
}
