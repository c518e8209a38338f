/** serial: one layer after the other. */
import type { ProgramBuilder } from "../covariance/builder.ts";
import type { Layer, LayerJson, Shape } from "./layer.ts";

export class Serial implements Layer {
  readonly type = "serial";
  readonly layers: readonly Layer[];

  constructor(layers: readonly Layer[]) {
    this.layers = layers;
  }

  get title(): string {
    return `serial of ${this.layers.length} layers`;
  }

  shape(input: Shape, path = "architecture"): Shape {
    return this.layers.reduce((shape, layer, index) => layer.shape(shape, `${path}.layers[${index}]`), input);
  }

  covariance(program: ProgramBuilder, input: Shape): void {
    let shape = input;
    this.layers.forEach((layer, index) => {
      layer.covariance(program, shape);
      shape = layer.shape(shape, `layers[${index}]`);
    });
  }

  toJSON(): LayerJson {
    return { type: this.type, layers: this.layers.map((layer) => layer.toJSON()) };
  }
}
