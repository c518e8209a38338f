/**
 * `nn`: a fully connected network in the mean-field scaling of Ghorbani et al. 2020, appendix A. With N units in each of m
 * hidden layers,
 *
 *     h_1 = relu(x W_1 + b_1),   h_l = relu(h_(l-1) W_l + b_l) / N,   f = h_m a / N + c
 *
 *     W_1 ~ N(0, 1/d);  W_l, a ~ N(0, 1);  b = 0.01;  c = 0
 *
 * Gradients of a mean-field network are small, and rates make up for it: times N in the first layer, times the number of
 * entries for every other array, times 1 for c. Weight decay lambda is the penalty
 *
 *     lambda (|W_1|^2 / 2 + sum over l > 1 of |W_l|^2 / (2 sqrt N))
 */
import type { Engine } from "../../engine/engine.ts";
import { streamAddress } from "../../engine/rng.ts";
import { WidefieldError } from "../../errors.ts";
import type { Pass } from "../../tensor/model.ts";
import { affine, bias, dropout, matmul, relu } from "../../tensor/ops.ts";
import { sizeOf, type Tensor } from "../../tensor/tensor.ts";
import { requireSizes, WideNetwork } from "./wide-network.ts";

export interface MeanFieldOptions {
  /** Numbers of an input. */
  readonly inputs: number;
  /** N. */
  readonly width: number;
  /** m; default 1. */
  readonly hidden?: number | undefined;
  readonly outputs: number;
  /** Part of the hidden units that are left out in training; default 0. */
  readonly dropout?: number | undefined;
  readonly seed?: number | undefined;
}

const HIDDEN_BIAS = 0.01;

interface Layer {
  readonly weights: Tensor;
  readonly bias: Tensor;
}

export class MeanFieldNetwork extends WideNetwork {
  readonly inputShape: readonly number[];
  readonly outputs: number;
  private readonly width: number;
  private readonly dropoutRate: number;
  private readonly layers: readonly Layer[];
  private readonly output: Layer;

  /** Throws E_CONFIG, E_MEMORY. */
  constructor(engine: Engine, options: MeanFieldOptions) {
    const { inputs, width, hidden = 1, outputs, dropout: dropped = 0, seed = engine.seed } = options;
    requireSizes("nn", { inputs, width, hidden, outputs });
    if (!(dropped >= 0 && dropped < 1))
      throw new WidefieldError("E_CONFIG", `nn: a dropout's rate is in [0, 1), not ${dropped}`);
    super(engine, seed);
    this.inputShape = [inputs];
    this.outputs = outputs;
    this.width = width;
    this.dropoutRate = dropped;
    this.layers = Array.from({ length: hidden }, (_, index): Layer => {
      const name = `hidden.${index}`;
      const shape = [index === 0 ? inputs : width, width];
      const first = index === 0;
      const initial = { deviation: first ? 1 / Math.sqrt(inputs) : 1 };
      const weights = { rate: first ? width : sizeOf(shape), decay: first ? 1 : 1 / Math.sqrt(width) };
      return {
        weights: this.parameter(`${name}.weights`, shape, initial, weights),
        bias: this.parameter(`${name}.bias`, [width], { value: HIDDEN_BIAS }, { rate: width, decay: 0 }),
      };
    });
    const shape = [width, outputs];
    this.output = {
      weights: this.parameter("output.weights", shape, { deviation: 1 }, { rate: sizeOf(shape), decay: 0 }),
      bias: this.parameter("output.bias", [outputs], { value: 0 }, { rate: 1, decay: 0 }),
    };
  }

  apply(x: Tensor, pass: Pass): Tensor {
    const { width } = this;
    let h = x;
    for (const [index, layer] of this.layers.entries()) {
      const active = relu(bias(matmul(h, layer.weights), layer.bias));
      const address = streamAddress(pass.seed, `nn dropout ${index}`, pass.step);
      const kept = pass.training ? dropout(active, this.dropoutRate, address) : active;
      const next = index === 0 ? kept : affine(kept, 1 / width);
      pass.observe?.(`hidden.${index}`, `relu, ${width} units`, h, next);
      h = next;
    }
    const f = bias(affine(matmul(h, this.output.weights), 1 / width), this.output.bias);
    pass.observe?.("output", "dense", h, f);
    return f;
  }
}
