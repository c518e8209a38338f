/**
 * Builds a covariance program step by step, as the layers of an architecture ask for it.
 *
 * The builder follows the variance of an input of unit variance through the layers and scales every map by the nearest
 * power of two, so that a network of any depth stays in float32's range; and it moves linear weights backwards into
 * the steps that absorb them (see `program.ts`).
 */
import { WidefieldError } from "../errors.ts";
import type { ConvStep, InputStep, MeanStep, Program, ReluStep } from "./program.ts";

export type BoxGeometry = Omit<ConvStep, "kind" | "weight" | "bias">;

/** Kernels whose nominal size is within 2^±64 are given as they are; others as mantissa and exponent. */
const PLAIN_EXPONENT = 64;

/** How far, in powers of two, the variance of a unit input may wander from 1 before a map is rescaled. */
const REACH = 40;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Draft = Mutable<InputStep> | Mutable<ConvStep> | Mutable<ReluStep> | Mutable<MeanStep>;

export class ProgramBuilder {
  private readonly steps: Draft[] = [];
  private readonly imageFloats: number;
  private height: number;
  private width: number;
  private tablePixels = 0;
  private mapPixels: number;
  /** The map here holds K / (unit 2^exponent), which is `nominal` for inputs of unit variance; 1 <= unit < 2. */
  private unit = 1;
  private exponent = 0;
  private nominal = 1;

  constructor(channels: number, height: number, width: number) {
    this.height = height;
    this.width = width;
    this.imageFloats = channels * height * width;
    this.mapPixels = height * width;
    this.steps.push({ kind: "input", channels, height, width, scale: 1 / channels });
  }

  /** K' = weight * (sum over taps of K) + bias. */
  conv(geometry: BoxGeometry, weight: number, bias: number): void {
    const taps = geometry.filterHeight * geometry.filterWidth;
    const { factor, offset } = this.rescale(weight, bias, taps);
    this.steps.push({ kind: "conv", ...geometry, weight: factor, bias: offset });
    this.height = geometry.outHeight;
    this.width = geometry.outWidth;
    this.mapPixels = Math.max(this.mapPixels, this.height * this.width);
  }

  /** K' = weight K + bias: a dense layer on a vector. */
  affine(weight: number, bias: number): void {
    const { factor, offset } = this.rescale(weight, bias, 1);
    const last = this.last();
    if (last.kind === "mean") {
      last.weight *= factor;
      last.bias = last.bias * factor + offset;
      return;
    }
    this.steps.push({ kind: "conv", ...unitBox(this.height, this.width), weight: factor, bias: offset });
  }

  /** K' = gain * s s' kappa_1(K / s s'): gain 1 for relu, 2 for sqrt(2) relu. */
  relu(gain: number): void {
    const { height, width } = this;
    this.steps.push({ kind: "relu", height, width, scale: gain, table: this.tablePixels });
    this.tablePixels += height * width;
    this.nominal *= gain / 2;
  }

  /** The mean over all pixels: `flatten` with whatever linear layer reads it. */
  mean(): void {
    this.steps.push({ kind: "mean", height: this.height, width: this.width, weight: 1, bias: 0 });
    this.height = 1;
    this.width = 1;
  }

  finish(): Program {
    if (this.height * this.width !== 1) {
      throw new WidefieldError(
        "E_SHAPE",
        `the architecture ends with a map of ${this.height} x ${this.width} pixels; a kernel needs one number: ` +
          `add flatten, or a convolution that covers the map`,
      );
    }
    // The kernel's own scale belongs into a read-out, even of one pixel: a relu's arc-cosine step is accurate for scales
    // near 2, and loses digits when it has to absorb a small one.
    if (this.last().kind !== "mean") this.mean();
    const exponent = Math.abs(this.exponent) <= PLAIN_EXPONENT ? 0 : this.exponent;
    scaleStep(this.last(), this.unit * 2 ** (this.exponent - exponent));
    for (let index = this.steps.length - 1; index > 0; index--) {
      const step = this.steps[index];
      const before = this.steps[index - 1];
      if (step?.kind !== "conv" || before === undefined) continue;
      scaleStep(before, step.weight);
      step.weight = 1;
    }
    return {
      steps: this.steps,
      imageFloats: this.imageFloats,
      tablePixels: this.tablePixels,
      mapPixels: this.mapPixels,
      exponent,
    };
  }

  /**
   * A linear step's weight and bias at the scale of the map it makes. Behind a relu that scale is the one at which the
   * relu's own becomes 2, as long as the map stays within reach of 1; otherwise, and elsewhere, the nearest power of two.
   */
  private rescale(weight: number, bias: number, taps: number): { factor: number; offset: number } {
    const variance = weight * taps * this.nominal + this.scaled(bias);
    const before = this.steps.at(-1);
    const free = before?.kind === "relu" ? (before.scale * weight) / 2 : 0;
    const near = before?.kind === "relu" && free > 0 && Math.abs(Math.log2(variance / free)) <= REACH;
    const shift = near ? free : variance > 0 ? 2 ** Math.round(Math.log2(variance)) : 1;
    const unit = this.unit * shift;
    const octave = Math.floor(Math.log2(unit));
    this.unit = unit * 2 ** -octave;
    this.exponent += octave;
    this.nominal = variance / shift;
    if (near) before.scale = 2;
    return { factor: near ? 1 : weight / shift, offset: this.scaled(bias) };
  }

  private scaled(bias: number): number {
    return (bias / this.unit) * 2 ** -this.exponent;
  }

  private last(): Draft {
    const last = this.steps.at(-1);
    if (last === undefined) throw new Error("a program has an input step");
    return last;
  }
}

/** Multiplies what a step gives. */
function scaleStep(step: Draft, factor: number): void {
  if (step.kind === "input" || step.kind === "relu") {
    step.scale *= factor;
    return;
  }
  step.weight *= factor;
  step.bias *= factor;
}

function unitBox(height: number, width: number): BoxGeometry {
  return {
    inHeight: height,
    inWidth: width,
    outHeight: height,
    outWidth: width,
    filterHeight: 1,
    filterWidth: 1,
    strideHeight: 1,
    strideWidth: 1,
    dilationHeight: 1,
    dilationWidth: 1,
    padTop: 0,
    padLeft: 0,
  };
}
