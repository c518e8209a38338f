/**
 * `rf` and `nt` (`design.ts`) as models that are trained step by step. Everything that they learn starts at zero. Weight
 * decay lambda is the penalty lambda |V|^2 of the output weights of `rf`, or lambda |G|^2 of `nt`: without the half that
 * weight decay has by itself, so that a ridge is the same number here and in least squares (`ridge.ts`).
 */
import type { Engine } from "../../engine/engine.ts";
import type { Pass } from "../../tensor/model.ts";
import { add, apply, bias, matmul, multiply, relu } from "../../tensor/ops.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { LinearWideModel } from "./linear-model.ts";
import { tangentAmplitudes, writeDirections } from "./directions.ts";
import { requireSizes, WideNetwork } from "./wide-network.ts";

/** The gradient of lambda |V|^2 is 2 lambda V. */
const DECAY = 2;

export class LinearWideNetwork extends WideNetwork {
  readonly inputShape: readonly number[];
  readonly outputs: number;
  private readonly name: LinearWideModel["name"];
  private readonly directions: Tensor;
  private readonly weights: Tensor;
  private readonly biases: Tensor;
  /** Of `nt`: amplitudes [outputs, width], and G. */
  private readonly tangent: { readonly amplitudes: Tensor; readonly weights: Tensor } | undefined;

  /** Draws directions and amplitudes. Throws E_CONFIG, E_MEMORY. */
  static async open(engine: Engine, model: LinearWideModel): Promise<LinearWideNetwork> {
    const network = new LinearWideNetwork(engine, model);
    try {
      await writeDirections(engine.backend, network.directions.slot, model);
    } catch (error) {
      network.dispose();
      throw error;
    }
    return network;
  }

  private constructor(engine: Engine, { name, width, inputs, outputs, seed }: LinearWideModel) {
    requireSizes(name, { width, inputs, outputs });
    super(engine, seed);
    this.name = name;
    this.inputShape = [inputs];
    this.outputs = outputs;
    const tangent = name === "nt";
    this.directions = this.constant([width, inputs]);
    this.weights = this.parameter("output.weights", [width, outputs], { value: 0 }, { decay: tangent ? 0 : DECAY });
    this.biases = this.parameter("output.bias", [outputs], { value: 0 }, { decay: 0 });
    if (!tangent) return;
    const amplitudes = this.constant([outputs, width]);
    amplitudes.write(tangentAmplitudes(seed, outputs, width));
    this.tangent = { amplitudes, weights: this.parameter("tangent", [width, inputs], { value: 0 }, { decay: DECAY }) };
  }

  apply(x: Tensor, pass: Pass): Tensor {
    const z = matmul(x, this.directions, { transposeB: true });
    const features = relu(z);
    pass.observe?.("features", "relu of fixed directions", x, features);
    const linear = matmul(features, this.weights);
    const f = bias(this.tangent === undefined ? linear : add(linear, this.tangentOf(x, z)), this.biases);
    pass.observe?.("output", this.name, features, f);
    return f;
  }

  /** sum over j of a_cj 1[w_j . x > 0] (G_j . x) */
  private tangentOf(x: Tensor, z: Tensor): Tensor {
    if (this.tangent === undefined) throw new Error("random features have no tangent part");
    const active = apply(z, "threshold", 0, 1);
    const moved = matmul(x, this.tangent.weights, { transposeB: true });
    return matmul(multiply(moved, active), this.tangent.amplitudes, { transposeB: true });
  }
}
