/**
 * `myrtle`: the CNN whose infinitely wide limit is the `myrtle5` preset, with the biases and the initialisation that
 * Ghorbani et al. 2020 train it with: four 3 x 3 layers of N channels with "same" padding,
 *
 *     conv, conv, pool, conv, pool, conv, pool, pool, pool, dense
 *
 * relu behind each, mean pools of 2 x 2; filters ~ N(0, 2 / (9 N)), biases 0.01; the read-out ~ N(0, 1 / its inputs), its
 * bias 0. Weight decay is of the filters alone.
 */
import type { Engine } from "../../engine/engine.ts";
import { WidefieldError } from "../../errors.ts";
import type { Pass } from "../../tensor/model.ts";
import { avgPool, bias, conv2d, flatten, matmul, relu } from "../../tensor/ops.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { requireSizes, WideNetwork } from "./wide-network.ts";

export interface MyrtleOptions {
  /** [channels, height, width], sides of at least 32. */
  readonly input: readonly [number, number, number];
  /** N. */
  readonly width: number;
  readonly outputs: number;
  readonly seed?: number | undefined;
}

/** Pools behind each layer of the four. */
const POOLS = [0, 1, 1, 3];
const SHRINKS = 2 ** POOLS.reduce((sum, count) => sum + count, 0);
const FILTER = 3;
const HIDDEN_BIAS = 0.01;

export class MyrtleNetwork extends WideNetwork {
  readonly inputShape: readonly [number, number, number];
  readonly outputs: number;
  private readonly layers: readonly { readonly filters: Tensor; readonly bias: Tensor; readonly pools: number }[];
  private readonly output: { readonly weights: Tensor; readonly bias: Tensor };

  /** Throws E_CONFIG, E_MEMORY, and E_SHAPE for images that the five pools leave nothing of. */
  constructor(engine: Engine, { input, width, outputs, seed = engine.seed }: MyrtleOptions) {
    const [channels, height, breadth] = input;
    requireSizes("myrtle", { channels, height, breadth, width, outputs });
    if (Math.min(height, breadth) < SHRINKS)
      throw new WidefieldError(
        "E_SHAPE",
        `myrtle halves its images five times, and of ${height} x ${breadth} nothing is left: they have to be ${SHRINKS} x ` +
          `${SHRINKS} at least`,
      );
    super(engine, seed);
    this.inputShape = input;
    this.outputs = outputs;
    const deviation = Math.sqrt(2 / (FILTER * FILTER * width));
    this.layers = POOLS.map((pools, index) => {
      const shape = [width, index === 0 ? channels : width, FILTER, FILTER];
      return {
        pools,
        filters: this.parameter(`layers.${index}.weights`, shape, { deviation }, { decay: 1 }),
        bias: this.parameter(`layers.${index}.bias`, [width], { value: HIDDEN_BIAS }, { decay: 0 }),
      };
    });
    const features = width * Math.floor(height / SHRINKS) * Math.floor(breadth / SHRINKS);
    const initial = { deviation: 1 / Math.sqrt(features) };
    this.output = {
      weights: this.parameter("output.weights", [features, outputs], initial, { decay: 0 }),
      bias: this.parameter("output.bias", [outputs], { value: 0 }, { decay: 0 }),
    };
  }

  apply(x: Tensor, pass: Pass): Tensor {
    let h = x;
    for (const [index, { filters, bias: biases, pools }] of this.layers.entries()) {
      let next = relu(conv2d(h, filters, { padding: 1 }, biases));
      for (let pool = 0; pool < pools; pool++) next = avgPool(next, { window: 2 });
      pass.observe?.(`layers.${index}`, "conv 3 x 3, relu", h, next);
      h = next;
    }
    const f = bias(matmul(flatten(h), this.output.weights), this.output.bias);
    pass.observe?.("output", "dense", h, f);
    return f;
  }
}
