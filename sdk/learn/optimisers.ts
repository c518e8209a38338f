/**
 * Optimisers, by PyTorch's formulas and defaults (`sdk/engine/kernels/optimisers.ts` has them). Weight decay is L2: it is
 * added to the gradient. A parameter's own factors (`ModelParameter.rate`, `.decay`) multiply rate and weight decay.
 *
 *     const optimiser = adam({ rate: 2.5e-4, weightDecay: 5e-4 });
 *     const running = optimiser.start(device, model.parameters);
 *     running.step(gradients, loss);
 *
 * An optimiser is a description and can be started many times; what it remembers of each parameter belongs to what
 * `start` returns.
 */
import type { Slot } from "../engine/backend.ts";
import { adamStep, rmspropStep, sgdStep } from "../engine/kernels/optimisers.ts";
import { WidefieldError } from "../errors.ts";
import type { Device } from "../tensor/device.ts";
import type { ModelParameter } from "../tensor/model.ts";
import { filled } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { readAll, requireMatch, writeAll, type NamedTensor, type OptimiserState } from "./training-state.ts";

/** One update of one parameter, as its rule sees it. */
interface Update {
  readonly device: Device;
  readonly count: number;
  /** With schedule and the parameter's factor; of the rule's corrections, nothing. */
  readonly rate: number;
  readonly decay: number;
  /** Which update this is, from 1. */
  readonly step: number;
  readonly gradient: Slot;
  /** The update is left out where its first number is not finite. */
  readonly guard: Slot;
  readonly weights: Slot;
  /** What the rule remembers, in the order of its names. */
  readonly memory: readonly Slot[];
  /** Bound where a kernel has a buffer that this rule does not use. */
  readonly spare: Slot;
}

interface Rule {
  readonly weightDecay: number;
  /** Names of the arrays that it keeps for each parameter, of the parameter's shape. */
  readonly remembers: readonly string[];
  readonly update: (update: Update) => void;
}

export interface Optimiser {
  readonly name: OptimiserState["name"];
  /** Before schedule and factors. */
  readonly rate: number;
  /** Everything that was chosen or defaulted, for manifests. */
  readonly settings: Readonly<Record<string, number | boolean>>;
  /** Memory for these parameters, of zeros. */
  start(device: Device, parameters: readonly ModelParameter[]): RunningOptimiser;
}

export interface SgdOptions {
  readonly rate: number;
  /** Default 0. */
  readonly momentum?: number | undefined;
  /** Default false. */
  readonly nesterov?: boolean | undefined;
  /** Default 0. */
  readonly weightDecay?: number | undefined;
}

/** Stochastic gradient descent. Throws E_CONFIG. */
export function sgd({ rate, momentum = 0, nesterov = false, weightDecay = 0 }: SgdOptions): Optimiser {
  requireCommon(rate, weightDecay);
  requirePart("momentum", momentum);
  if (nesterov && momentum === 0)
    throw new WidefieldError("E_CONFIG", "Nesterov's step looks ahead along the momentum: give a momentum above 0");
  return optimiser(
    "sgd",
    rate,
    { momentum, nesterov, weightDecay },
    {
      weightDecay,
      remembers: momentum > 0 ? ["velocity"] : [],
      update: ({ device, count, rate, decay, step, gradient, guard, weights, memory: [velocity], spare }) => {
        const params = { count, rate, decay, momentum, nesterov: Number(nesterov), first: Number(step === 1) };
        device.dispatch(sgdStep, params, [gradient, guard, weights, velocity ?? spare]);
      },
    },
  );
}

export interface AdamOptions {
  /** Default 1e-3. */
  readonly rate?: number | undefined;
  /** Default 0.9. */
  readonly beta1?: number | undefined;
  /** Default 0.999. */
  readonly beta2?: number | undefined;
  /** Default 1e-8. */
  readonly epsilon?: number | undefined;
  /** Default 0. */
  readonly weightDecay?: number | undefined;
}

/** Adam (Kingma and Ba 2015). Throws E_CONFIG. */
export function adam(options: AdamOptions = {}): Optimiser {
  const { rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0 } = options;
  requireCommon(rate, weightDecay);
  requirePart("beta1", beta1);
  requirePart("beta2", beta2);
  requireNotNegative("epsilon", epsilon);
  return optimiser(
    "adam",
    rate,
    { beta1, beta2, epsilon, weightDecay },
    {
      weightDecay,
      remembers: ["first", "second"],
      update: ({ device, count, rate, decay, step, gradient, guard, weights, memory: [first, second], spare }) => {
        // In float64: 1 - beta2^t has lost half of float32's digits in the first steps. Of the betas that the kernel has:
        // 1 - 0.999 in float32 is off by 5e-5 of itself, which would not cancel.
        const [early, late] = [Math.fround(beta1), Math.fround(beta2)];
        const corrections = { rate: rate / (1 - early ** step), root: 1 / Math.sqrt(1 - late ** step) };
        const params = { count, decay, beta1, beta2, epsilon, ...corrections };
        device.dispatch(adamStep, params, [gradient, guard, weights, first ?? spare, second ?? spare]);
      },
    },
  );
}

export interface RmspropOptions {
  /** Default 0.01. */
  readonly rate?: number | undefined;
  /** Default 0.99. */
  readonly alpha?: number | undefined;
  /** Default 1e-8. */
  readonly epsilon?: number | undefined;
  /** Default 0. */
  readonly momentum?: number | undefined;
  /** Default 0. */
  readonly weightDecay?: number | undefined;
}

/** RMSprop (Tieleman and Hinton 2012), epsilon outside of the root. Throws E_CONFIG. */
export function rmsprop(options: RmspropOptions = {}): Optimiser {
  const { rate = 1e-2, alpha = 0.99, epsilon = 1e-8, momentum = 0, weightDecay = 0 } = options;
  requireCommon(rate, weightDecay);
  requirePart("alpha", alpha);
  requirePart("momentum", momentum);
  requireNotNegative("epsilon", epsilon);
  return optimiser(
    "rmsprop",
    rate,
    { alpha, epsilon, momentum, weightDecay },
    {
      weightDecay,
      remembers: momentum > 0 ? ["second", "velocity"] : ["second"],
      update: ({ device, count, rate, decay, gradient, guard, weights, memory: [second, velocity], spare }) => {
        const params = { count, rate, decay, alpha, momentum, epsilon };
        device.dispatch(rmspropStep, params, [gradient, guard, weights, second ?? spare, velocity ?? spare]);
      },
    },
  );
}

function optimiser(
  name: OptimiserState["name"],
  rate: number,
  settings: Readonly<Record<string, number | boolean>>,
  rule: Rule,
): Optimiser {
  return {
    name,
    rate,
    settings: { rate, ...settings },
    start: (device, parameters) => new RunningOptimiser({ device, name, rate, rule, parameters }),
  };
}

/** A parameter, and what is remembered of it. */
interface Remembered {
  readonly parameter: ModelParameter;
  readonly memory: readonly NamedTensor[];
}

export class RunningOptimiser {
  /** Updates so far. */
  steps = 0;
  private readonly device: Device;
  private readonly name: OptimiserState["name"];
  private readonly rate: number;
  private readonly rule: Rule;
  private readonly each: readonly Remembered[];
  private readonly spare: Tensor;

  constructor(made: {
    readonly device: Device;
    readonly name: OptimiserState["name"];
    readonly rate: number;
    readonly rule: Rule;
    readonly parameters: readonly ModelParameter[];
  }) {
    this.device = made.device;
    this.name = made.name;
    this.rate = made.rate;
    this.rule = made.rule;
    this.spare = filled(made.device, [1], 0);
    this.each = made.parameters.map((parameter) => ({
      parameter,
      memory: made.rule.remembers.map((what) => ({
        name: `${parameter.name}.${what}`,
        tensor: filled(made.device, parameter.tensor.shape, 0),
      })),
    }));
  }

  /**
   * Updates every parameter in place, in as many dispatches, unless the first number of `guard` (the loss that the
   * gradients are of) is not finite. `gradients` are in the order of the parameters. `factor`: the schedule's.
   */
  step(gradients: readonly Tensor[], guard: Tensor, factor = 1): void {
    this.steps++;
    this.each.forEach(({ parameter: { tensor, rate = 1, decay = 1 }, memory }, index) => {
      const gradient = gradients[index];
      if (gradient?.size !== tensor.size) throw new Error(`gradient ${index} is not the parameter's`);
      this.rule.update({
        ...{ device: this.device, count: tensor.size, step: this.steps },
        ...{ rate: this.rate * factor * rate, decay: this.rule.weightDecay * decay },
        ...{ gradient: gradient.slot, guard: guard.slot, weights: tensor.slot, spare: this.spare.slot },
        memory: memory.map((one) => one.tensor.slot),
      });
    });
  }

  /** What is remembered after everything dispatched so far. */
  async capture(): Promise<OptimiserState> {
    const { name, steps } = this;
    return { name, steps, arrays: await readAll(this.memory) };
  }

  /** Goes on from what another run remembered. Throws E_CONFIG where that was another optimiser or another model's. */
  restore({ name, steps, arrays }: OptimiserState): void {
    if (name !== this.name)
      throw new WidefieldError("E_CONFIG", `the state is of the optimiser ${name}, and this one is ${this.name}`);
    requireMatch("the optimiser's state is of another model, or of other settings", this.memory, arrays);
    writeAll(this.memory, arrays);
    this.steps = steps;
  }

  dispose(): void {
    for (const { tensor } of this.memory) tensor.dispose();
    this.spare.dispose();
  }

  private get memory(): readonly NamedTensor[] {
    return this.each.flatMap(({ memory }) => memory);
  }
}

function requireCommon(rate: number, weightDecay: number): void {
  requireNotNegative("the learning rate", rate);
  requireNotNegative("weight decay", weightDecay);
}

function requireNotNegative(what: string, value: number): void {
  if (Number.isFinite(value) && value >= 0) return;
  throw new WidefieldError("E_CONFIG", `${what} must be finite and not negative, not ${value}`);
}

/** Of what is averaged exponentially: 1 would never forget. */
function requirePart(what: string, value: number): void {
  if (value >= 0 && value < 1) return;
  throw new WidefieldError("E_CONFIG", `${what} must be in [0, 1), not ${value}`);
}
