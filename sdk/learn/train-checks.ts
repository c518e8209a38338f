/** What `train()` refuses before anything runs. */
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { deviceOf } from "../tensor/device.ts";
import type { Model } from "../tensor/model.ts";
import { sizeOf } from "../tensor/tensor.ts";
import type { Replica } from "./data-parallel.ts";
import type { TrainingData } from "./training-data.ts";

interface Asked {
  readonly engine: Engine;
  readonly model: Model;
  readonly data: TrainingData;
  readonly epochs: number;
  readonly accumulate?: number | undefined;
  readonly evaluateEvery?: number | undefined;
  readonly checkpoint?: { readonly every?: number | undefined } | undefined;
  readonly diagnostics?: { readonly every: number } | undefined;
  readonly replicas?: readonly Replica[] | undefined;
}

/** Throws E_CONFIG, E_SHAPE, E_DATA, and E_CLOSED for a closed engine. */
export function requireTrainable(asked: Asked): void {
  const { engine, model, data, epochs, replicas = [] } = asked;
  requireCount("epochs", epochs);
  requireCount("accumulate", asked.accumulate ?? 1);
  requireCount("evaluateEvery", asked.evaluateEvery ?? 1);
  requireCount("checkpoint.every", asked.checkpoint?.every ?? 1);
  requireCount("diagnostics.every", asked.diagnostics?.every ?? 1);
  for (const replica of [{ engine, model }, ...replicas]) requireModel(replica);
  if (new Set([engine, ...replicas.map((replica) => replica.engine)]).size !== 1 + replicas.length)
    throw new WidefieldError("E_CONFIG", "every replica needs an engine of its own");
  requireInputs(model, data);
  if (!(data.trainCount > 0)) throw new WidefieldError("E_DATA", "the data has no training examples");
}

function requireCount(what: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 1)
    throw new WidefieldError("E_CONFIG", `${what} is a whole number from 1 on, not ${value}`);
}

function requireModel({ engine, model }: Replica): void {
  const device = deviceOf(engine);
  const names = new Set<string>();
  if (model.parameters.length === 0) throw new WidefieldError("E_CONFIG", "the model has no parameters to train");
  for (const { name, tensor } of [...model.parameters, ...model.states]) {
    if (tensor.device !== device)
      throw new WidefieldError("E_CONFIG", `the model's ${name} is on another engine than the one that is to train it`);
    if (names.has(name)) throw new WidefieldError("E_CONFIG", `two of the model's arrays are called ${name}`);
    names.add(name);
  }
}

/** A model of vectors takes images too, as long as they have as many numbers. */
function requireInputs({ inputShape: wanted }: Model, { inputShape: given }: TrainingData): void {
  const same = wanted.length === given.length && wanted.every((side, axis) => side === given[axis]);
  if (same || (wanted.length === 1 && sizeOf(wanted) === sizeOf(given))) return;
  throw new WidefieldError(
    "E_SHAPE",
    `the model takes inputs of [${wanted.join(", ")}], and the data's are of [${given.join(", ")}]`,
    { details: { model: wanted, data: given } },
  );
}
