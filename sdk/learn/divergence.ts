/**
 * Why a loss is not finite: the batch's forward pass done again with the weights and masks that it had, layer by layer,
 * for the first number that is not.
 */
import { WidefieldError } from "../errors.ts";
import type { Model, Pass } from "../tensor/model.ts";
import { scope, type Tensor } from "../tensor/tensor.ts";
import type { ModelArrays } from "./training-state.ts";

/** The batch whose loss is not finite. */
export interface Diverged {
  readonly loss: number;
  /** Batches before it, in all epochs. */
  readonly step: number;
  /** Counted from 1. */
  readonly epoch: number;
  /** Counted from 1, within the epoch. */
  readonly batch: number;
  readonly rate: number;
  /** What a resumed run would start from, in words. */
  readonly intact: string;
}

/** Numbers that are not finite, in an array of this name. */
interface Fault {
  readonly what: string;
  /** "inputs: 3 of 3072 numbers, the first is NaN at 17" */
  readonly text: string;
}

/**
 * The E_DIVERGED of a batch, with the first layer, and the parameter, that hold what is not finite. Details: `step`,
 * `epoch`, `batch`, `rate`, `layer`, `parameter`.
 */
export async function explainDivergence(
  diverged: Diverged,
  model: Model,
  images: Tensor,
  passOf: (observe: NonNullable<Pass["observe"]>) => Pass,
): Promise<WidefieldError> {
  const { layers, scores } = replay(model, images, passOf);
  const input = faultIn("the batch's inputs", await images.read());
  let parameter: Fault | undefined;
  for (const { name, tensor } of model.parameters) parameter ??= faultIn(name, await tensor.read());
  let layer: (Fault & { readonly title: string }) | undefined;
  for (const { name, title, output } of layers) {
    const fault = faultIn(name, await output);
    if (fault !== undefined) layer ??= { ...fault, title };
  }
  const last = await scores;
  const { step, epoch, batch, rate } = diverged;
  const lines = [`the loss is ${diverged.loss} in batch ${batch} of epoch ${epoch} (step ${step}, rate ${rate}):`];
  if (input !== undefined) lines.push(`not finite before training saw it: ${input.text}`);
  if (parameter !== undefined) lines.push(`not finite: parameter ${parameter.text}`);
  if (layer !== undefined) lines.push(`the first layer whose output is not finite is ${layer.text} (${layer.title})`);
  else lines.push(faultIn("what the model gives", last)?.text ?? overflow(last));
  lines.push(
    `this step changed no weights, and ${diverged.intact}: a lower rate, or smaller initial weights, may help`,
  );
  return new WidefieldError("E_DIVERGED", lines.join("\n  "), {
    details: { step, epoch, batch, rate, layer: layer?.what, parameter: parameter?.what },
  });
}

/**
 * The E_DIVERGED of a model whose arrays are not finite between two epochs, undefined where all are: gradients may overflow
 * where the loss that they are of does not, and behind the last step of an epoch comes no loss that would tell.
 */
export function divergedArrays(
  { parameters, states }: ModelArrays,
  { step, epoch, intact }: Pick<Diverged, "step" | "epoch" | "intact">,
): WidefieldError | undefined {
  for (const { name, data } of [...parameters, ...states]) {
    const fault = faultIn(name, data);
    if (fault === undefined) continue;
    const lines = [
      `the losses of epoch ${epoch} are finite, and the model behind it (step ${step}) is not:`,
      `not finite: ${fault.text}`,
      `it is not saved, and ${intact}: a lower rate, or smaller initial weights, may help`,
    ];
    return new WidefieldError("E_DIVERGED", lines.join("\n  "), { details: { step, epoch, parameter: name } });
  }
  return undefined;
}

interface Replay {
  readonly layers: readonly { readonly name: string; readonly title: string; readonly output: Promise<Float32Array> }[];
  readonly scores: Promise<Float32Array>;
}

/** A read is asked for where its tensor stands in the queue, so that the tensor may be disposed of behind it. */
function replay(model: Model, images: Tensor, passOf: Parameters<typeof explainDivergence>[3]): Replay {
  const heard = (read: Promise<Float32Array>): Promise<Float32Array> => {
    // Whoever waits for it hears of a failure; the first one ends the waiting.
    read.catch(() => undefined);
    return read;
  };
  const layers: Replay["layers"][number][] = [];
  return scope(images.device, () => {
    const pass = passOf((name, title, _input, output) => layers.push({ name, title, output: heard(output.read()) }));
    return { layers, scores: heard(model.apply(images, pass).read()) };
  });
}

function overflow(scores: Float32Array): string {
  const largest = scores.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return `every layer's output is finite, the largest score being ${largest}: the loss itself is what is not`;
}

function faultIn(what: string, numbers: Float32Array): Fault | undefined {
  const index = numbers.findIndex((value) => !Number.isFinite(value));
  if (index < 0) return undefined;
  const bad = numbers.reduce((count, value) => count + Number(!Number.isFinite(value)), 0);
  const text = `${what}: ${bad} of ${numbers.length} numbers, the first is ${numbers[index] ?? Number.NaN} at ${index}`;
  return { what, text };
}
