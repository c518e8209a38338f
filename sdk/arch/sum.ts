/**
 * sum: several layers read the same input, and what they give is added: K' = K_1 + K_2 + .. for branches that are
 * independent given their input and have mean zero, as linear layers and the identity do. (A branch that ends with a relu
 * has a mean: the formula is then a definition, which no finite network converges to.)
 */
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import { addBranches, branchShape } from "./branches.ts";
import type { Layer, LayerJson, Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

export class Sum implements Layer {
  readonly type = "sum";
  readonly layers: readonly Layer[];

  constructor(layers: readonly Layer[]) {
    this.layers = layers;
  }

  get title(): string {
    return `sum of ${this.layers.length} branches`;
  }

  get weighted(): boolean {
    return this.layers.some(({ weighted }) => weighted);
  }

  shape(input: Shape, path = "architecture"): Shape {
    return branchShape(this.layers, input, path);
  }

  covariance(program: ProgramBuilder, map: CovarianceMap, input: Shape): CovarianceMap {
    return program.sum(this.layers.map((layer) => ({ map: layer.covariance(program, map, input), weight: 1 })));
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return addBranches(builder, x, this, place, this.layers);
  }

  toJSON(): LayerJson {
    return { type: this.type, layers: this.layers.map((layer) => layer.toJSON()) };
  }
}
