/** Random architectures that fit a random input, for tests that compare the compiler with `arch.ts` of this folder. */
import type { LayerJson } from "../../sdk/arch/layer.ts";
import { positions } from "./arch.ts";

type Random = () => number;
type Size = readonly [height: number, width: number];

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

function dense(random: Random): LayerJson {
  return { type: "dense", weightVariance: weight(random), biasVariance: bias(random) };
}

/**
 * Mostly relu. No steps, whose float32 kernels lose digits where images are alike, and slopes that keep a sum's terms of
 * one sign.
 */
function nonlinearity(random: Random): LayerJson {
  if (random() < 0.6) return { type: "relu", sqrt2: random() < 0.5 };
  return oneOf<LayerJson>(random, [{ type: "abs" }, { type: "leakyRelu", slope: -random() }, { type: "erf" }]);
}

/** A convolution that leaves at least a pixel of h x w. */
function conv(random: Random, [height, width]: Size): { layer: LayerJson; size: Size } {
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
    return { layer: { type: "conv", ...settings }, size: [high, wide] };
  }
}

/** Layers that keep the size of the map: convolutions with stride 1 and "same", nonlinearities, branches. */
function keeping(random: Random, depth: number): LayerJson {
  const length = whole(random, 1, 3);
  const layers = Array.from({ length }, (): LayerJson => {
    const draw = random();
    if (depth > 0 && draw < 0.35) return branches(random, () => keeping(random, depth - 1));
    if (draw < 0.7) {
      const filter = [whole(random, 1, 4), whole(random, 1, 4)];
      const geometry = { filter, stride: [1, 1], dilation: [1, 1], padding: "same" };
      return { type: "conv", ...geometry, weightVariance: weight(random), biasVariance: bias(random) };
    }
    return nonlinearity(random);
  });
  return { type: "serial", layers };
}

/** Two or three branches, one of them often the identity, added or mixed. */
function branches(random: Random, branch: () => LayerJson): LayerJson {
  const layers = Array.from({ length: whole(random, 1, 2) }, branch);
  layers.splice(whole(random, 0, layers.length), 0, random() < 0.7 ? { type: "identity" } : branch());
  if (random() < 0.7) return { type: "sum", layers };
  const shares = layers.map(() => 0.1 + random());
  const total = shares.reduce((sum, share) => sum + share, 0);
  return { type: "mixture", proportions: shares.map((share) => share / total), layers };
}

/** Branches whose first layer is the same strided convolution, with variances of its own in each. */
function strided(random: Random, size: Size): { layer: LayerJson; size: Size } {
  const { layer, size: out } = conv(random, size);
  const own = (): LayerJson => ({ ...layer, weightVariance: weight(random), biasVariance: bias(random) });
  const branch = (): LayerJson => ({ type: "serial", layers: [own(), keeping(random, 0)] });
  return { layer: { type: "sum", layers: [own(), branch(), ...(random() < 0.3 ? [branch()] : [])] }, size: out };
}

/** Convolutions, nonlinearities and branches, up to six in a row, or a dense network on vectors. */
export function randomCase(random: Random): RandomCase {
  const { arch, shape } = anyCase(random);
  const text = JSON.stringify(arch);
  if (!text.includes('"erf"')) return { arch, shape };
  // Where erf saturates, its covariance is ill-conditioned: an error e of K is one of e sqrt(K) of asin.
  const tamed = JSON.parse(text, (key, value: unknown) =>
    key === "weightVariance" && typeof value === "number" ? Math.min(5, Math.max(0.2, value)) : value,
  ) as LayerJson;
  return { arch: tamed, shape };
}

/** A case with slopes of either sign: its covariances may cancel, so compare them with sqrt(K(x, x) K(y, y)). */
export function randomSlopes(random: Random): RandomCase {
  const { arch, shape } = randomCase(random);
  const turned = JSON.parse(JSON.stringify(arch), (key, value: unknown) =>
    key === "slope" && typeof value === "number" && random() < 0.7 ? -value : value,
  ) as LayerJson;
  return { arch: turned, shape };
}

function anyCase(random: Random): RandomCase {
  const layers: LayerJson[] = random() < 0.2 ? [nonlinearity(random)] : [];
  if (random() < 0.2) {
    for (let i = whole(random, 1, 4); i > 0; i--) {
      const layer = dense(random);
      layers.push(random() < 0.3 ? branches(random, () => ({ type: "serial", layers: [layer] })) : layer);
      if (random() < 0.8) layers.push(nonlinearity(random));
    }
    return { arch: { type: "serial", layers }, shape: [whole(random, 1, 60)] };
  }
  const shape = [oneOf(random, [1, 3, 5]), whole(random, 1, 13), whole(random, 1, 13)] as const;
  let size: Size = [shape[1], shape[2]];
  for (let i = whole(random, 1, 6); i > 0; i--) {
    const draw = random();
    if (draw < 0.25) layers.push(branches(random, () => keeping(random, 1)));
    else if (draw < 0.3) layers.push({ type: "repeat", times: whole(random, 1, 3), layer: keeping(random, 1) });
    else {
      const next = draw < 0.45 ? strided(random, size) : conv(random, size);
      ({ size } = next);
      layers.push(next.layer);
    }
    while (random() < 0.6) layers.push(nonlinearity(random));
  }
  layers.push({ type: "flatten" });
  if (random() < 0.8) layers.push(dense(random));
  if (random() < 0.3) layers.push(nonlinearity(random), ...(random() < 0.5 ? [dense(random)] : []));
  return { arch: { type: "serial", layers }, shape };
}

/**
 * Small images through convolutions, branches and pools, read out by flatten or by global pooling, with dense layers
 * behind it now and then: what full programs are for. Linear layers have widths, for the standard parametrisation.
 */
export function randomFullCase(random: Random): RandomCase {
  const shape = [oneOf(random, [1, 2, 3]), whole(random, 2, 8), whole(random, 2, 8)] as const;
  let size: Size = [shape[1], shape[2]];
  const layers: LayerJson[] = [];
  for (let i = whole(random, 2, 5); i > 0; i--) {
    const draw = random();
    if (draw < 0.35) {
      const { layer, size: out } = pool(random, size);
      // A skip connection around a pool: the projection is a strided convolution of the same size, or another pool.
      const beside = random() < 0.3 ? projection(random, size, out) : undefined;
      layers.push(
        beside === undefined ? layer : { type: "sum", layers: random() < 0.5 ? [layer, beside] : [beside, layer] },
      );
      size = out;
    } else if (draw < 0.6) layers.push(branches(random, () => keeping(random, 0)));
    else {
      const next = draw < 0.75 ? strided(random, size) : conv(random, size);
      ({ size } = next);
      layers.push(next.layer);
    }
    if (random() < 0.7) layers.push(nonlinearity(random));
  }
  const pooled = random() < 0.5;
  layers.push({ type: pooled ? "globalAvgPool" : "flatten" });
  if (random() < 0.8) layers.push(dense(random));
  if (random() < 0.3) layers.push(nonlinearity(random), dense(random));
  // The extreme weights of `weight` belong to diagonal programs' tests; errors there are of another kind.
  const text = JSON.stringify({ type: "serial", layers }, (key, value: unknown) =>
    key === "weightVariance" && typeof value === "number" ? Math.min(5, Math.max(0.2, value)) : value,
  );
  return { arch: JSON.parse(text) as LayerJson, shape };
}

function pool(random: Random, [height, width]: Size): { layer: LayerJson; size: Size } {
  const window = [whole(random, 1, Math.min(3, height)), whole(random, 1, Math.min(3, width))] as const;
  const stride = random() < 0.6 ? window : ([whole(random, 1, 3), whole(random, 1, 3)] as const);
  const out = (n: number, axis: 0 | 1): number => Math.floor((n - window[axis]) / stride[axis]) + 1;
  return { layer: { type: "avgPool", window, stride }, size: [out(height, 0), out(width, 1)] };
}

/** A convolution from one size to another, if one with the smallest filter does it. */
function projection(random: Random, from: Size, to: Size): LayerJson | undefined {
  for (let stride = 1; stride <= 3; stride++) {
    const settings = {
      filter: [1, 1] as [number, number],
      stride: [stride, stride] as [number, number],
      dilation: [1, 1] as [number, number],
      padding: "valid" as const,
    };
    const weights = { weightVariance: weight(random), biasVariance: bias(random) };
    const conv = { ...settings, ...weights };
    if (positions(from[0], 0, conv).length === to[0] && positions(from[1], 1, conv).length === to[1])
      return { type: "conv", ...conv };
  }
  return undefined;
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
