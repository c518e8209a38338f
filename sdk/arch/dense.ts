/**
 * dense: weights i.i.d. N(0, weightVariance / features in), biases N(0, biasVariance), so that
 *
 *     K' = weightVariance * K + biasVariance,
 *
 * where behind `flatten` K is the mean over pixels. With `bias` a finite layer has biases though their variance is 0: they
 * are 0 in the prior, and learnt.
 */
import * as z from "zod";
import type { CovarianceMap, ProgramBuilder } from "../covariance/builder.ts";
import { vectorInput, type Layer, type LayerJson, type Shape } from "./layer.ts";
import type { Activation, NetworkBuilder, Place } from "./network-builder.ts";
import { biasSchema, hasBias, plainBias, varianceSchema, widthSchema } from "./schema.ts";

export const denseSchema = z
  .strictObject({
    type: z.literal("dense"),
    weightVariance: varianceSchema("weightVariance").default(1),
    biasVariance: varianceSchema("biasVariance").default(0),
    units: widthSchema("units").optional(),
    bias: biasSchema,
  })
  .transform(plainBias);

export type DenseOptions = Omit<z.input<typeof denseSchema>, "type">;

export class Dense implements Layer {
  readonly type = "dense";
  readonly title = "dense";
  readonly weighted = true;
  private readonly settings: z.output<typeof denseSchema>;

  constructor(settings: z.output<typeof denseSchema>) {
    this.settings = settings;
  }

  shape(input: Shape, path = "architecture"): Shape {
    vectorInput(this, input, path);
    return [this.settings.units ?? Number.POSITIVE_INFINITY];
  }

  covariance(program: ProgramBuilder, map: CovarianceMap, input: Shape): CovarianceMap {
    const { weightVariance, biasVariance } = this.settings;
    const fanIn = vectorInput(this, input, this.type);
    return program.affine(map, weightVariance, biasVariance, { fanIn, weightVariance, biasVariance });
  }

  network(builder: NetworkBuilder, x: Activation, place: Place): Activation {
    const { weightVariance, biasVariance, units } = this.settings;
    const features = vectorInput(this, x.shape, place.path);
    const width = builder.width(place, { own: units });
    const prior = { weightVariance: weightVariance / features, biasVariance, bias: hasBias(this.settings) };
    return builder.dense(this, place, x, width, prior);
  }

  toJSON(): LayerJson {
    return this.settings;
  }
}
