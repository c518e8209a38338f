/** repeat: a layer several times, one after the other; in a finite network each time with weights of its own. */
import * as z from "zod";
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import type { Layer, LayerJson, Shape } from "./layer.ts";

export const repeatSchema = z.strictObject({
  type: z.literal("repeat"),
  times: z.int("times is a whole number").min(1, "times must be at least 1").max(10_000, "times must be at most 10000"),
  layer: z.unknown(),
});

export class Repeat implements Layer {
  readonly type = "repeat";
  readonly times: number;
  readonly layer: Layer;

  constructor(times: number, layer: Layer) {
    this.times = times;
    this.layer = layer;
  }

  get title(): string {
    return `${this.times} times ${this.layer.title}`;
  }

  shape(input: Shape, path = "architecture"): Shape {
    let shape = input;
    for (let time = 0; time < this.times; time++)
      shape = this.layer.shape(shape, time === 0 ? `${path}.layer` : `${path}.layer (time ${time + 1})`);
    return shape;
  }

  covariance(program: ProgramBuilder, map: CovarianceMap, input: Shape): CovarianceMap {
    let shape = input;
    let state = map;
    for (let time = 0; time < this.times; time++) {
      state = this.layer.covariance(program, state, shape);
      shape = this.layer.shape(shape);
    }
    return state;
  }

  toJSON(): LayerJson {
    return { type: this.type, times: this.times, layer: this.layer.toJSON() };
  }
}
