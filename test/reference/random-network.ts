/** Random architectures of finite networks that fit a random input: every layer and combinator there is. */
import type { LayerJson } from "../../sdk/arch/layer.ts";
import { positions } from "./arch.ts";

type Random = () => number;
type Pair = [vertical: number, horizontal: number];

export interface RandomNetwork {
  readonly arch: LayerJson;
  readonly input: readonly [number, number, number] | readonly [number];
}

function whole(random: Random, from: number, to: number): number {
  return from + Math.floor(random() * (to - from + 1));
}

function oneOf<T>(random: Random, values: readonly T[]): T {
  return values[whole(random, 0, values.length - 1)] as T;
}

function nonlinearity(random: Random): LayerJson {
  const slope = Math.round(20 * (random() - 0.5)) / 10;
  return oneOf<LayerJson>(random, [
    { type: "relu", sqrt2: random() < 0.5 },
    { type: "step", sqrt2: random() < 0.5 },
    { type: "leakyRelu", slope },
    { type: "abs" },
    { type: "erf" },
    { type: "identity" },
  ]);
}

function variances(random: Random): { weightVariance: number; biasVariance: number } {
  return { weightVariance: 0.5 + 2 * random(), biasVariance: random() < 0.5 ? 0 : random() };
}

/** A convolution that keeps its input's size. */
function sameConv(random: Random): LayerJson {
  const pair = (): Pair => [whole(random, 1, 4), whole(random, 1, 4)];
  const dilation: Pair = random() < 0.7 ? [1, 1] : pair();
  return { type: "conv", filter: pair(), stride: [1, 1], dilation, padding: "same", ...variances(random) };
}

/** A convolution that leaves at least a pixel of the map; `size` becomes the output's. */
function anyConv(random: Random, size: Pair): LayerJson {
  for (;;) {
    const pair = (to: number): Pair => [whole(random, 1, to), whole(random, 1, to)];
    const layer = {
      filter: pair(6),
      stride: random() < 0.6 ? ([1, 1] as Pair) : pair(3),
      dilation: random() < 0.7 ? ([1, 1] as Pair) : pair(3),
      padding: oneOf(random, ["same", "same-tf", "valid", 0, 1, 3] as const),
      ...variances(random),
    };
    const out = [positions(size[0], 0, layer).length, positions(size[1], 1, layer).length] as const;
    if (out[0] === 0 || out[1] === 0) continue;
    [size[0], size[1]] = out;
    const width = random() < 0.2 ? { channels: whole(random, 1, 9) } : random() < 0.2 ? { widthFactor: 2 } : {};
    return { type: "conv", ...layer, ...width };
  }
}

/** A pool with windows inside the map; `size` becomes the output's. */
function anyPool(random: Random, size: Pair): LayerJson {
  const window: Pair = [whole(random, 1, Math.min(3, size[0])), whole(random, 1, Math.min(3, size[1]))];
  const stride: Pair = random() < 0.5 ? window : [whole(random, 1, 3), whole(random, 1, 3)];
  size[0] = Math.floor((size[0] - window[0]) / stride[0]) + 1;
  size[1] = Math.floor((size[1] - window[1]) / stride[1]) + 1;
  return { type: "avgPool", window, stride };
}

/** Branches that keep size and channels, whatever comes in (`one`: an image of one channel). */
function branches(random: Random): LayerJson {
  const inner = (): LayerJson => {
    const layers = [sameConv(random), nonlinearity(random), sameConv(random), nonlinearity(random)];
    return { type: "serial", layers: layers.slice(0, whole(random, 1, 4)) };
  };
  const layers = [inner(), inner(), inner()].slice(0, whole(random, 1, 3));
  if (random() < 0.5) return { type: "sum", layers };
  const parts = layers.map(() => whole(random, 1, 5));
  const total = parts.reduce((sum, part) => sum + part, 0);
  return { type: "mixture", proportions: parts.map((part) => part / total), layers };
}

/** A residual sum: its identity has one channel, or as many as the conv before it. */
function residual(random: Random): LayerJson {
  const layers: LayerJson[] = [
    { type: "identity" },
    { type: "serial", layers: [sameConv(random), nonlinearity(random)] },
  ];
  if (random() < 0.5) layers.reverse();
  return { type: "sum", layers };
}

export function randomNetwork(random: Random): RandomNetwork {
  const dense = (): LayerJson => ({
    type: "dense",
    ...variances(random),
    ...(random() < 0.2 ? { units: whole(random, 1, 9) } : {}),
  });
  if (random() < 0.15) {
    const layers = [dense(), nonlinearity(random), dense(), nonlinearity(random), dense()];
    return { arch: { type: "serial", layers: layers.slice(0, whole(random, 1, 5)) }, input: [whole(random, 1, 40)] };
  }
  const input = [oneOf(random, [1, 1, 3]), whole(random, 1, 12), whole(random, 1, 12)] as const;
  const size: Pair = [input[1], input[2]];
  const layers: LayerJson[] = input[0] === 1 && random() < 0.4 ? [residual(random)] : [];
  for (let i = whole(random, 1, 3); i > 0; i--) {
    layers.push(anyConv(random, size), nonlinearity(random));
    if (random() < 0.25) layers.push(anyPool(random, size));
    const block = random();
    if (block < 0.3) layers.push(branches(random), { type: "repeat", times: 2, layer: branches(random) });
  }
  // Widths of an identity and a convolution agree behind a layer that has the network's own width.
  if (random() < 0.5) layers.push(sameConv(random), { type: "repeat", times: 2, layer: residual(random) });
  if (random() < 0.3) layers.push({ type: "serial", layers: [nonlinearity(random), sameConv(random)] });
  else layers.push({ type: random() < 0.3 ? "globalAvgPool" : "flatten" }, dense());
  if (random() < 0.2) layers.push(nonlinearity(random));
  return { arch: { type: "serial", layers }, input };
}
