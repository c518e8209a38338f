/**
 * What the trained models of Ghorbani et al. 2020 have in common: parameters and constants in a backend's memory, drawn on
 * the host from streams that their names name, so that they are the same bits on every backend.
 */
import type { Engine } from "../../engine/engine.ts";
import { RandomStream } from "../../engine/rng.ts";
import { WidefieldError } from "../../errors.ts";
import { deviceOf, type Device } from "../../tensor/device.ts";
import type { Model, ModelParameter, ModelState, Pass } from "../../tensor/model.ts";
import { sizeOf, Tensor } from "../../tensor/tensor.ts";

export abstract class WideNetwork implements Model {
  abstract readonly inputShape: readonly number[];
  abstract readonly outputs: number;
  readonly parameters: ModelParameter[] = [];
  readonly states: readonly ModelState[] = [];
  protected readonly device: Device;
  private readonly seed: number;
  private readonly constants: Tensor[] = [];

  protected constructor(engine: Engine, seed: number) {
    this.device = deviceOf(engine);
    this.seed = seed;
  }

  abstract apply(x: Tensor, pass: Pass): Tensor;

  /** Frees parameters and constants. Idempotent. */
  dispose(): void {
    for (const { tensor } of this.parameters) tensor.dispose();
    for (const tensor of this.constants) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** A parameter: normal with the standard deviation given, or the same number everywhere. Throws E_MEMORY. */
  protected parameter(
    name: string,
    shape: readonly number[],
    initial: { readonly deviation: number } | { readonly value: number },
    factors: Pick<ModelParameter, "rate" | "decay">,
  ): Tensor {
    // Before its numbers: what the backend has no room for may be more than an array can hold.
    const tensor = this.made(shape);
    this.parameters.push({ name, tensor, ...factors });
    const values = new Float32Array(sizeOf(shape));
    if ("value" in initial) values.fill(initial.value);
    else {
      new RandomStream(this.seed, `wide ${name}`).fillNormal(values);
      for (let i = 0; i < values.length; i++) values[i] = initial.deviation * (values[i] as number);
    }
    tensor.write(values);
    return tensor;
  }

  /** What stays as it is; its numbers are the caller's to write. */
  protected constant(shape: readonly number[]): Tensor {
    const tensor = this.made(shape);
    this.constants.push(tensor);
    return tensor;
  }

  /** A tensor that no scope disposes of. Where there is no room for it, those before it go too: nobody else will free them. */
  private made(shape: readonly number[]): Tensor {
    try {
      const tensor = Tensor.empty(this.device, shape);
      this.device.scopes.at(-1)?.delete(tensor);
      return tensor;
    } catch (error) {
      this.dispose();
      throw error;
    }
  }
}

/** Throws E_CONFIG for sizes that are not positive whole numbers. */
export function requireSizes(model: string, sizes: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(sizes))
    if (!(Number.isSafeInteger(value) && value >= 1))
      throw new WidefieldError("E_CONFIG", `${model}: ${name} is a whole number of at least 1, not ${value}`);
}
