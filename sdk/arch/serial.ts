/** serial: one layer after the other. */
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import type { Layer, LayerJson, Shape } from "./layer.ts";
import { placeInside, type Activation, type NetworkBuilder, type Place } from "./network-builder.ts";

export class Serial implements Layer {
  readonly type = "serial";
  readonly layers: readonly Layer[];

  constructor(layers: readonly Layer[]) {
    this.layers = layers;
  }

  get title(): string {
    return `serial of ${this.layers.length} layers`;
  }

  get weighted(): boolean {
    return this.layers.some(({ weighted }) => weighted);
  }

  shape(input: Shape, path = "architecture"): Shape {
    return this.layers.reduce((shape, layer, index) => layer.shape(shape, `${path}.layers[${index}]`), input);
  }

  covariance(program: ProgramBuilder, map: CovarianceMap, input: Shape): CovarianceMap {
    let shape = input;
    let state = map;
    this.layers.forEach((layer, index) => {
      state = layer.covariance(program, state, shape);
      shape = layer.shape(shape, `layers[${index}]`);
    });
    return state;
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    const last = this.layers.findLastIndex(({ weighted }) => weighted);
    return this.layers.reduce(
      (state, layer, index) =>
        layer.network(builder, state, placeInside(place, index, place.readout && index === last)),
      x,
    );
  }

  toJSON(): LayerJson {
    return { type: this.type, layers: this.layers.map((layer) => layer.toJSON()) };
  }
}
