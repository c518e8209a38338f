/** repeat: a layer several times, one after the other; in a finite network each time with weights of its own. */
import * as z from "zod";
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import type { Layer, LayerJson, Shape } from "./layer.ts";
import { joined, type Activation, type NetworkBuilder, type Place } from "./network-builder.ts";

export const repeatSchema = z.strictObject({
  type: z.literal("repeat"),
  times: z.int("times is a whole number").min(1, "times must be at least 1").max(10_000, "times must be at most 10000"),
  layer: z.unknown().optional(),
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

  get weighted(): boolean {
    return this.layer.weighted;
  }

  shape(input: Shape, path = "architecture"): Shape {
    let shape = input;
    for (let time = 0; time < this.times; time++) shape = this.layer.shape(shape, this.inside(path, time));
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

  network(builder: NetworkBuilder, x: Activation, { path, name, readout }: Place): Activation {
    let state = x;
    for (let time = 0; time < this.times; time++) {
      const last = time === this.times - 1;
      const place = { path: this.inside(path, time), name: joined(name, `times.${time}`), readout: readout && last };
      state = this.layer.network(builder, state, place);
    }
    return state;
  }

  toJSON(): LayerJson {
    return { type: this.type, times: this.times, layer: this.layer.toJSON() };
  }

  private inside(path: string, time: number): string {
    return time === 0 ? `${path}.layer` : `${path}.layer (time ${time + 1})`;
  }
}
