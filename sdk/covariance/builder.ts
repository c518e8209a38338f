/**
 * Builds a covariance program as the layers of an architecture ask for it: a graph of maps, from which `schedule.ts`
 * makes steps and slots.
 *
 * Units. A map holds K / scale, and a `CovarianceMap` is a node of the graph with its scale. Linear weights and the
 * gains of rectifiers go into the scale and cost nothing: a convolution only adds, a relu gives 2 n kappa_1. Only where
 * maps of different scales meet, in a sum, does somebody multiply.
 *
 * Range. The builder follows the variance of a unit input through the stored maps (`nominal`) and rescales by a power
 * of two where it leaves 2^+-REACH, so that a network of any depth stays in float32's range.
 */
import { WidefieldError } from "../errors.ts";
import type { BoxGeometry, PoolGeometry, Program } from "./program.ts";
import { schedule, type MapNode, type NodeAction, type NodeGradient, type SumTerm } from "./schedule.ts";

const READ_OUT = { kind: "mean", weight: 1, bias: 0, gradient: undefined } as const;

const NNGP: ProgramTarget = { ntk: false, parametrisation: "ntk" };

/** Weights of a layer, for its NTK: the parametrisation says how fast each of them learns. */
export interface LayerWeights {
  /** Numbers that each output is a weighted sum of; Infinity: a width that only a finite network fixes. */
  readonly fanIn: number;
  /** Variance of the sum's weights, together. */
  readonly weightVariance: number;
  readonly biasVariance: number;
}

/** Which kernel a program is for. */
export interface ProgramTarget {
  /** Carry the NTK's map beside the covariances. */
  readonly ntk: boolean;
  /** See `Parametrisation` in `sdk/arch/kernel-spec.ts`. */
  readonly parametrisation: "ntk" | "standard";
}

/** A map of covariances: what a layer reads and what it gives. K = stored map * unit * 2^exponent, 1 <= unit < 2. */
export interface CovarianceMap {
  readonly node: MapNode;
  readonly scale: Scale;
}

/** Kernels whose nominal size is within 2^±64 are given as they are; others as mantissa and exponent. */
const PLAIN_EXPONENT = 64;

/** How far, in powers of two, the variance of a unit input may wander from 1 before a nonlinearity rescales the map. */
const REACH = 50;

/** The same for steps that have to multiply for it: not before a nonlinearity had its chance. */
const FAR_REACH = 60;

/**
 * Variances below which erf is taken to be linear, in units of 1/2. An input of amplitude a has them a^2 times as large
 * as a unit input: the error stays below float64's for a up to 2^13, and the step above within float32 down to 2^-23.
 */
const LINEAR_ERF = 2 ** -80;

/** A positive number of any size: kernels of deep networks leave the range of float64, too. */
class Scale {
  readonly unit: number;
  readonly exponent: number;

  /** `value` has a power of two that float64 holds. */
  constructor(value: number, exponent = 0) {
    const octave = Math.floor(Math.log2(value));
    this.unit = value * 2 ** -octave;
    this.exponent = exponent + octave;
  }

  get log2(): number {
    return Math.log2(this.unit) + this.exponent;
  }

  times(factor: number): Scale {
    return new Scale(this.unit * factor, this.exponent);
  }

  /** `value` in units of this scale. */
  of(value: number): number {
    return (value / this.unit) * 2 ** -this.exponent;
  }

  /** This scale in units of another. */
  over(other: Scale): number {
    return (this.unit / other.unit) * 2 ** (this.exponent - other.exponent);
  }
}

export class ProgramBuilder {
  /** The product of the two images. */
  readonly input: CovarianceMap;
  private made = 0;
  private readonly imageFloats: number;
  private readonly target: ProgramTarget;

  constructor(channels: number, height: number, width: number, target: ProgramTarget = NNGP) {
    this.imageFloats = channels * height * width;
    this.target = target;
    const node = this.node({ kind: "input", channels, scale: 1 / channels }, [], height, width, 1);
    this.input = { node, scale: new Scale(1) };
  }

  /** K' = weightVariance * (mean over taps of K) + biasVariance: taps outside the map count, and are zero. */
  conv(map: CovarianceMap, geometry: BoxGeometry, weights: LayerWeights): CovarianceMap {
    const { weightVariance, biasVariance } = weights;
    if (movesNothing(geometry)) return this.affine(map, weightVariance, biasVariance, weights);
    const taps = geometry.filterHeight * geometry.filterWidth;
    const { factor, offset, nominal, scale } = linear(map, weightVariance / taps, biasVariance, growth(geometry));
    const gradient = this.gradient(weights, scale);
    const action = { kind: "conv", ...geometry, weight: factor, bias: offset, gradient } as const;
    return { node: this.node(action, [map.node], geometry.outHeight, geometry.outWidth, nominal), scale };
  }

  /** K' = weight * K + bias: a dense layer on a vector, a 1 x 1 filter; without `weights`, of no layer. */
  affine(map: CovarianceMap, weight: number, bias: number, weights?: LayerWeights): CovarianceMap {
    const { factor, offset, nominal, scale } = linear(map, weight, bias, 1);
    const gradient = weights === undefined ? undefined : this.gradient(weights, scale);
    if (factor === 1 && offset === 0 && gradient === undefined) return { node: map.node, scale };
    const { action, inputs, height, width } = map.node;
    if (action.kind === "mean" && action.gradient === undefined) {
      const readout = { kind: "mean", weight: action.weight * factor, bias: action.bias * factor + offset } as const;
      return { node: this.node({ ...readout, gradient }, inputs, 1, 1, nominal), scale };
    }
    const step = { kind: "affine", weight: factor, bias: offset, gradient } as const;
    return { node: this.node(step, [map.node], height, width, nominal), scale };
  }

  /**
   * What a layer's weights add to the NTK, in the units of its output. In the NTK parametrisation the layer's parameters
   * are standard normals, scaled: they add K'. In the standard one the gradient for a weight is its input itself: they
   * add fanIn * (mean of K) + 1 for the bias, that is fanIn / weightVariance * (K' - biasVariance) + 1.
   */
  private gradient({ fanIn, weightVariance, biasVariance }: LayerWeights, units: Scale): NodeGradient | undefined {
    if (!this.target.ntk) return undefined;
    if (this.target.parametrisation === "ntk") return { gain: 1, offset: 0 };
    if (!Number.isFinite(fanIn) || weightVariance === 0) {
      const what =
        weightVariance === 0 ? "weights that are not all zero" : "the widths of all layers (channels, units)";
      throw new WidefieldError("E_CONFIG", `the NTK in standard parametrisation needs ${what}`);
    }
    const gain = fanIn / weightVariance;
    return { gain, offset: units.of((biasVariance > 0 ? 1 : 0) - gain * biasVariance) };
  }

  /** The mean of K over all pairs of a pixel in one image's window and a pixel in the other's. */
  pool(map: CovarianceMap, geometry: PoolGeometry): CovarianceMap {
    const { windowHeight, windowWidth, outHeight, outWidth } = geometry;
    if (windowHeight * windowWidth === 1 && outHeight === map.node.height && outWidth === map.node.width) return map;
    const { node, scale } = map;
    const merged = node.action.kind === "pool" ? composed(node.action, geometry) : undefined;
    const [input] = merged === undefined ? [node] : node.inputs;
    const action = { kind: "pool", ...(merged ?? geometry) } as const;
    return { node: this.node(action, input === undefined ? [] : [input], outHeight, outWidth, node.nominal), scale };
  }

  /**
   * phi(u) = a max(u, 0) - b max(-u, 0): relu is (1, 0), the absolute value (1, -1), a leaky relu (1, slope). With n, c
   * and w as in `RectifierStep`, E phi(u) phi(v) = (a^2 + b^2)/2 max(K, 0) - a b max(-K, 0) + (a - b)^2 n w(c), from Cho &
   * Saul 2009, eq. 3 and 6, for each pair of signs. The stored step has positive = 1.
   */
  rectifier(map: CovarianceMap, a: number, b: number): CovarianceMap {
    const half = (a * a + b * b) / 2;
    const { height, width, nominal } = map.node;
    const shift = shiftOf(nominal, REACH);
    const gain = 1 / (half * shift);
    const action = {
      kind: "rectifier",
      positive: half * gain,
      negative: 0 - a * b * gain,
      curve: (a - b) ** 2 * gain,
    } as const;
    const node = this.node(action, [map.node], height, width, nominal / shift);
    return { node, scale: map.scale.times(half * shift) };
  }

  /** phi(u) = sqrt(gain) for u > 0, else 0: K' = gain kappa_0. */
  step(map: CovarianceMap, gain: number): CovarianceMap {
    if (this.target.ntk)
      throw new WidefieldError(
        "E_CONFIG",
        "step has no NTK: its derivative is infinite at 0 and zero elsewhere, and the NTK diverges; take another nonlinearity",
      );
    const { node: input } = this.rescale(map, shiftOf(map.node.nominal, FAR_REACH));
    const node = this.node({ kind: "step", scale: 1 }, [input], input.height, input.width, 0.5);
    return { node, scale: new Scale(gain) };
  }

  /**
   * phi(u) = erf(u): K' = 2/pi asin(2 K / sqrt((1 + 2 K(x, x)) (1 + 2 K(y, y)))) (Williams 1997, eq. 11). Of variances
   * that are as good as nothing beside 1 it is 4/pi K, and no step.
   */
  erf(map: CovarianceMap): CovarianceMap {
    const { nominal } = map.node;
    const small = map.scale.of(0.5);
    if (nominal < LINEAR_ERF * small) return { node: map.node, scale: map.scale.times(4 / Math.PI) };
    // Seen from such a map 1/2 may be too large for float32; then it is the map that is made smaller.
    const { node: input, scale } = this.rescale(map, small > 2 ** FAR_REACH ? small : 1);
    const offset = scale.of(0.5);
    const variance = Math.asin(input.nominal / (input.nominal + offset));
    const node = this.node({ kind: "erf", scale: 1, offset }, [input], input.height, input.width, variance);
    return { node, scale: new Scale(2 / Math.PI) };
  }

  /** The mean over all pixels: `flatten` with whatever linear layer reads it. */
  mean(map: CovarianceMap): CovarianceMap {
    return { node: this.node(READ_OUT, [map.node], 1, 1, map.node.nominal), scale: map.scale };
  }

  /** K' = sum of weight K over maps of one size. */
  sum(terms: readonly { readonly map: CovarianceMap; readonly weight: number }[]): CovarianceMap {
    const [first, ...others] = terms.toSorted((a, b) => a.map.node.order - b.map.node.order);
    if (first === undefined) throw new Error("a sum has terms");
    const base = first.map.node;
    // The map that is there first keeps its units, unless another would be too large in them: then it is made smaller.
    const largest = others.reduce((most, { map, weight }) => Math.max(most, sizeOf(map, weight)), -Infinity);
    const kept = first.map.scale.times(first.weight);
    const over = largest - kept.log2;
    const own = over > FAR_REACH ? new Scale(1, Math.round(largest)) : kept;
    const weights = new Map<MapNode, number>([[base, kept.over(own)]]);
    for (const { map, weight } of others) {
      if (map.node.nominal === 0) continue; // a map that is zero
      weights.set(map.node, (weights.get(map.node) ?? 0) + map.scale.times(weight).over(own));
    }
    const multiple = own === kept ? (weights.get(base) ?? 1) : 1; // more than 1 where a map is added to itself
    const baseWeight = (weights.get(base) ?? 1) / multiple;
    weights.delete(base);
    const scale = own.times(multiple);
    if (weights.size === 0 && baseWeight === 1) return { node: base, scale };
    const added = [...weights].map(([node, weight]): SumTerm => ({ node, weight: weight / multiple }));
    const nominal = added.reduce((total, { node, weight }) => total + weight * node.nominal, baseWeight * base.nominal);
    const node = this.node({ kind: "sum", weight: baseWeight, added }, [base], base.height, base.width, nominal);
    return this.affine({ node, scale }, 1, 0);
  }

  /** The program whose output is `map`, which has to be one pixel. Throws E_SHAPE where it is not. */
  finish(map: CovarianceMap): Program {
    const { height, width } = map.node;
    if (height * width !== 1) {
      throw new WidefieldError(
        "E_SHAPE",
        `the architecture ends with a map of ${height} x ${width} pixels; a kernel needs one number: ` +
          `add flatten, or a convolution that covers the map`,
      );
    }
    // The kernel's own scale belongs into a read-out, even of one pixel, where it costs nothing.
    const { node, scale } = map.node.action.kind === "mean" ? map : this.mean(map);
    const { weight, bias, gradient } = node.action.kind === "mean" ? node.action : READ_OUT;
    const exponent = Math.abs(scale.exponent) <= PLAIN_EXPONENT ? 0 : scale.exponent;
    const factor = scale.unit * 2 ** (scale.exponent - exponent);
    const scaled = gradient && { gain: gradient.gain, offset: gradient.offset * factor };
    const readout = { kind: "mean", weight: weight * factor, bias: bias * factor, gradient: scaled } as const;
    const output = this.node(readout, node.inputs, 1, 1, node.nominal);
    return { ...schedule(output, this.target.ntk), imageFloats: this.imageFloats, exponent };
  }

  /** The same map in units that are `factor` times as large. */
  private rescale({ node, scale }: CovarianceMap, factor: number): CovarianceMap {
    if (factor === 1) return { node, scale };
    const shift = 2 ** Math.round(Math.log2(factor));
    const action = { kind: "affine", weight: 1 / shift, bias: 0 } as const;
    const smaller = this.node(action, [node], node.height, node.width, node.nominal / shift);
    return { node: smaller, scale: scale.times(shift) };
  }

  private node(
    action: NodeAction,
    inputs: readonly MapNode[],
    height: number,
    width: number,
    nominal: number,
  ): MapNode {
    return { order: this.made++, action, inputs, height, width, nominal };
  }
}

/** The power of two that brings a nominal size back to 1; 1 where it is near enough, or where the map is zero. */
function shiftOf(nominal: number, reach: number): number {
  const far = nominal > 0 && Math.abs(Math.log2(nominal)) > reach;
  return far ? 2 ** Math.round(Math.log2(nominal)) : 1;
}

/** The base 2 logarithm of weight * K for a unit input; of a map that is zero -Infinity. */
function sizeOf({ node, scale }: CovarianceMap, weight: number): number {
  return Math.log2(node.nominal) + Math.log2(weight) + scale.log2;
}

/**
 * How much a convolution without biases makes of a map: by its taps where they all lie inside, by far fewer where the
 * filter is as large as the map. Deep networks repeat that to the power of their layers, so it has to be nearly the
 * largest eigenvalue of the sums: along each axis the growth of a constant's total in the second of two such passes.
 */
function growth(box: BoxGeometry): number {
  const { inHeight, outHeight, filterHeight, strideHeight, dilationHeight, padTop } = box;
  const { inWidth, outWidth, filterWidth, strideWidth, dilationWidth, padLeft } = box;
  return (
    growthAlong(inHeight, outHeight, filterHeight, strideHeight, dilationHeight, padTop) *
    growthAlong(inWidth, outWidth, filterWidth, strideWidth, dilationWidth, padLeft)
  );
}

function growthAlong(n: number, outputs: number, taps: number, stride: number, dilation: number, pad: number): number {
  let sum = 0;
  let squares = 0;
  for (let output = 0; output < outputs; output++) {
    const begin = output * stride - pad; // of the first tap
    const before = Math.min(taps, Math.max(0, Math.ceil(-begin / dilation)));
    const inside = Math.min(taps, Math.max(0, Math.ceil((n - begin) / dilation))) - before;
    sum += inside;
    squares += inside * inside;
  }
  return sum === 0 ? 0 : squares / sum;
}

/** A linear step's factor and bias at the scale of the map it makes: the weight goes into the scale, unless it is 0. */
function linear(
  { node, scale }: CovarianceMap,
  weight: number,
  bias: number,
  taps: number,
): { factor: number; offset: number; nominal: number; scale: Scale } {
  const free = weight > 0 ? scale.times(weight) : scale;
  const nominal = (weight > 0 ? node.nominal * taps : 0) + free.of(bias);
  const shift = shiftOf(nominal, FAR_REACH);
  const own = free.times(shift);
  return { factor: (weight > 0 ? 1 : 0) / shift, offset: own.of(bias), nominal: nominal / shift, scale: own };
}

/** One pool that does what two do one after the other, where the first one's windows lie side by side. */
function composed(first: PoolGeometry, second: PoolGeometry): PoolGeometry | undefined {
  if (first.windowHeight !== first.strideHeight || first.windowWidth !== first.strideWidth) return undefined;
  return {
    inHeight: first.inHeight,
    inWidth: first.inWidth,
    outHeight: second.outHeight,
    outWidth: second.outWidth,
    windowHeight: first.windowHeight * second.windowHeight,
    windowWidth: first.windowWidth * second.windowWidth,
    strideHeight: first.strideHeight * second.strideHeight,
    strideWidth: first.strideWidth * second.strideWidth,
  };
}

function movesNothing(box: BoxGeometry): boolean {
  const single = box.filterHeight * box.filterWidth * box.strideHeight * box.strideWidth === 1;
  const unpadded = box.padTop + box.padLeft === 0;
  return single && unpadded && box.outHeight === box.inHeight && box.outWidth === box.inWidth;
}
