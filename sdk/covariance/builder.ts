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
import type { BoxGeometry, Program } from "./program.ts";
import { schedule, type MapNode, type NodeAction, type SumTerm } from "./schedule.ts";

const MEAN = { kind: "mean", weight: 1, bias: 0 } as const;

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

/** A positive number of any size: kernels of deep networks leave the range of float64, too. */
class Scale {
  readonly unit: number;
  readonly exponent: number;

  constructor(value: number, exponent = 0) {
    const octave = Math.floor(Math.log2(value));
    this.unit = value * 2 ** -octave;
    this.exponent = exponent + octave;
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

  constructor(channels: number, height: number, width: number) {
    this.imageFloats = channels * height * width;
    const node = this.node({ kind: "input", channels, scale: 1 / channels }, [], height, width, 1);
    this.input = { node, scale: new Scale(1) };
  }

  /** K' = weight * (sum over taps of K) + bias. */
  conv(map: CovarianceMap, geometry: BoxGeometry, weight: number, bias: number): CovarianceMap {
    if (movesNothing(geometry)) return this.affine(map, weight, bias);
    const taps = geometry.filterHeight * geometry.filterWidth;
    const { factor, offset, nominal, scale } = linear(map, weight, bias, taps);
    const action = { kind: "conv", ...geometry, weight: factor, bias: offset } as const;
    return { node: this.node(action, [map.node], geometry.outHeight, geometry.outWidth, nominal), scale };
  }

  /** K' = weight * K + bias: a dense layer on a vector, a 1 x 1 filter. */
  affine(map: CovarianceMap, weight: number, bias: number): CovarianceMap {
    const { factor, offset, nominal, scale } = linear(map, weight, bias, 1);
    if (factor === 1 && offset === 0) return { node: map.node, scale };
    const { action, inputs, height, width } = map.node;
    if (action.kind === "mean") {
      const readout = { kind: "mean", weight: action.weight * factor, bias: action.bias * factor + offset } as const;
      return { node: this.node(readout, inputs, 1, 1, nominal), scale };
    }
    const node = this.node({ kind: "affine", weight: factor, bias: offset }, [map.node], height, width, nominal);
    return { node, scale };
  }

  /**
   * phi(u) = a max(u, 0) - b max(-u, 0): relu is (1, 0), the absolute value (1, -1), a leaky relu (1, slope). With n, c
   * and w as in `RectifierStep`, E phi(u) phi(v) = (a^2 + b^2)/2 max(K, 0) - a b max(-K, 0) + (a - b)^2 n w(c), from Cho &
   * Saul 2009, eq. 3 and 6, for each pair of signs. The stored step has positive = 1.
   */
  rectifier(map: CovarianceMap, a: number, b: number): CovarianceMap {
    const half = (a * a + b * b) / 2;
    const { height, width, nominal } = map.node;
    const far = nominal > 0 && Math.abs(Math.log2(nominal)) > REACH; // not of a map that is zero
    const shift = far ? 2 ** Math.round(Math.log2(nominal)) : 1;
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
    const { height, width } = map.node;
    const node = this.node({ kind: "step", scale: 1 }, [map.node], height, width, 0.5);
    return { node, scale: new Scale(gain) };
  }

  /** phi(u) = erf(u): K' = 2/pi asin(2 K / sqrt((1 + 2 K(x, x)) (1 + 2 K(y, y)))) (Williams 1997, eq. 11). */
  erf(map: CovarianceMap): CovarianceMap {
    const { height, width, nominal } = map.node;
    const offset = map.scale.of(0.5);
    const variance = Math.asin(nominal / (nominal + offset));
    const node = this.node({ kind: "erf", scale: 1, offset }, [map.node], height, width, variance);
    return { node, scale: new Scale(2 / Math.PI) };
  }

  /** The mean over all pixels: `flatten` with whatever linear layer reads it. */
  mean(map: CovarianceMap): CovarianceMap {
    return { node: this.node(MEAN, [map.node], 1, 1, map.node.nominal), scale: map.scale };
  }

  /** K' = sum of weight K over maps of one size. */
  sum(terms: readonly { readonly map: CovarianceMap; readonly weight: number }[]): CovarianceMap {
    // The map that is there first keeps its units: the others are added to it.
    const [first, ...others] = terms.toSorted((a, b) => a.map.node.order - b.map.node.order);
    if (first === undefined) throw new Error("a sum has terms");
    const own = first.map.scale.times(first.weight);
    const weights = new Map<MapNode, number>([[first.map.node, 1]]);
    for (const { map, weight } of others)
      weights.set(map.node, (weights.get(map.node) ?? 0) + map.scale.times(weight).over(own));
    const base = first.map.node;
    const multiple = weights.get(base) ?? 1; // more than 1 where a map is added to itself
    weights.delete(base);
    const scale = own.times(multiple);
    if (weights.size === 0) return { node: base, scale };
    const added = [...weights].map(([node, weight]): SumTerm => ({ node, weight: weight / multiple }));
    const nominal = added.reduce((total, { node, weight }) => total + weight * node.nominal, base.nominal);
    const node = this.node({ kind: "sum", added }, [base], base.height, base.width, nominal);
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
    const { weight, bias } = node.action.kind === "mean" ? node.action : MEAN;
    const exponent = Math.abs(scale.exponent) <= PLAIN_EXPONENT ? 0 : scale.exponent;
    const factor = scale.unit * 2 ** (scale.exponent - exponent);
    const readout = { kind: "mean", weight: weight * factor, bias: bias * factor } as const;
    const output = this.node(readout, node.inputs, 1, 1, node.nominal);
    return { ...schedule(output), imageFloats: this.imageFloats, exponent };
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

/** A linear step's factor and bias at the scale of the map it makes: the weight goes into the scale, unless it is 0. */
function linear(
  { node, scale }: CovarianceMap,
  weight: number,
  bias: number,
  taps: number,
): { factor: number; offset: number; nominal: number; scale: Scale } {
  const free = weight > 0 ? scale.times(weight) : scale;
  const nominal = (weight > 0 ? node.nominal * taps : 0) + free.of(bias);
  const far = nominal > 0 && Math.abs(Math.log2(nominal)) > FAR_REACH;
  const shift = far ? 2 ** Math.round(Math.log2(nominal)) : 1;
  const own = free.times(shift);
  return { factor: (weight > 0 ? 1 : 0) / shift, offset: own.of(bias), nominal: nominal / shift, scale: own };
}

function movesNothing(box: BoxGeometry): boolean {
  const single = box.filterHeight * box.filterWidth * box.strideHeight * box.strideWidth === 1;
  const unpadded = box.padTop + box.padLeft === 0;
  return single && unpadded && box.outHeight === box.inHeight && box.outWidth === box.inWidth;
}
