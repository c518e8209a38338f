/**
 * mixture: several layers read the same input, and each makes its proportion of the result: K' = sum of p_i K_i, p_i > 0,
 * which add up to 1. A finite network scales branch i by sqrt(p_i).
 */
import * as z from "zod";
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import { SMALLEST } from "./schema.ts";
import { addBranches, branchShape } from "./branches.ts";
import type { Layer, LayerJson, Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";

/** How far from 1 proportions may add up to: what decimal fractions round to. */
const TOLERANCE = 1e-6;

export const mixtureSchema = z
  .strictObject({
    type: z.literal("mixture"),
    proportions: z
      .array(
        z
          .number("proportions are numbers")
          .positive("proportions must be positive")
          .min(SMALLEST, `proportions must be at least ${SMALLEST}`),
      )
      .min(1),
    layers: z.array(z.unknown()).min(1),
  })
  .superRefine(({ proportions, layers }, context) => {
    const total = proportions.reduce((sum, each) => sum + each, 0);
    const add = (message: string): void => context.addIssue({ code: "custom", message, path: ["proportions"] });
    if (proportions.length !== layers.length)
      add(`there are ${proportions.length} proportions for ${layers.length} layers`);
    else if (Math.abs(total - 1) > TOLERANCE)
      add(`proportions must add up to 1, but ${proportions.join(" + ")} = ${total}`);
  });

export class Mixture implements Layer {
  readonly type = "mixture";
  readonly proportions: readonly number[];
  readonly layers: readonly Layer[];

  constructor(proportions: readonly number[], layers: readonly Layer[]) {
    this.proportions = proportions;
    this.layers = layers;
  }

  get title(): string {
    return `mixture of ${this.layers.length} branches`;
  }

  get weighted(): boolean {
    return this.layers.some(({ weighted }) => weighted);
  }

  shape(input: Shape, path = "architecture"): Shape {
    return branchShape(this.layers, input, path);
  }

  covariance(program: ProgramBuilder, map: CovarianceMap, input: Shape): CovarianceMap {
    const terms = this.layers.map((layer, index) => ({
      map: layer.covariance(program, map, input),
      weight: this.proportions[index] ?? 0,
    }));
    return program.sum(terms);
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    return addBranches(builder, x, this, place, this.layers, this.proportions.map(Math.sqrt));
  }

  toJSON(): LayerJson {
    return {
      type: this.type,
      proportions: this.proportions,
      layers: this.layers.map((layer) => layer.toJSON()),
    };
  }
}
