/**
 * Learning-rate schedules: the factor of an optimiser's rate at each update. Any function of this shape is one; those
 * here are the usual ones.
 */
import { WidefieldError } from "../errors.ts";

/**
 * `epoch` is counted from 1; `step` from 0 within the epoch, of `steps` updates. The factor is finite and not negative.
 */
export type Schedule = (epoch: number, step: number, steps: number) => number;

/** Always the optimiser's own rate. */
export const constantRate: Schedule = () => 1;

export interface StepDecayOptions {
  /** Default 0.1. */
  readonly factor?: number | undefined;
  /** Counted from 1. The rate changes before the named epoch: 200 is the first with the lower rate. */
  readonly epochs: readonly number[];
}

/** The rate is multiplied by `factor` before each of the named epochs. Throws E_CONFIG. */
export function stepDecay({ factor = 0.1, epochs }: StepDecayOptions): Schedule {
  requirePositive("the factor of a step decay", factor);
  for (const epoch of epochs)
    if (!Number.isSafeInteger(epoch) || epoch < 1)
      throw new WidefieldError("E_CONFIG", `the rate decays before epochs counted from 1, not before ${epoch}`);
  return (epoch) => factor ** epochs.filter((named) => epoch >= named).length;
}

/** From 1 at the first update in a straight line to 0, where it is when the last epoch has ended. Throws E_CONFIG. */
export function linearToZero({ epochs }: { readonly epochs: number }): Schedule {
  requirePositive("the epochs of a schedule", epochs);
  return (epoch, step, steps) => Math.max(0, 1 - elapsed(epoch, step, steps) / epochs);
}

export interface CosineOptions {
  /** Of the whole run, warm-up and all. */
  readonly epochs: number;
  /** Epochs of a straight line up to 1, which the last update of the warm-up reaches; default 0. */
  readonly warmup?: number | undefined;
}

/** After the warm-up (1 + cos(pi t)) / 2, t going from 0 to 1 at the end of the last epoch. Throws E_CONFIG. */
export function cosine({ epochs, warmup = 0 }: CosineOptions): Schedule {
  requirePositive("the epochs of a schedule", epochs);
  if (!(warmup >= 0 && warmup < epochs))
    throw new WidefieldError("E_CONFIG", `a warm-up of ${warmup} epochs does not fit into ${epochs}`);
  return (epoch, step, steps) => {
    const done = elapsed(epoch, step, steps);
    if (done < warmup) return Math.min(1, (done + 1 / steps) / warmup);
    return 0.5 * (1 + Math.cos(Math.PI * Math.min(1, (done - warmup) / (epochs - warmup))));
  };
}

/** A schedule that stays the same within an epoch, from a function of the epoch, counted from 1. */
export function scheduleFrom(factorOf: (epoch: number) => number): Schedule {
  return (epoch) => factorOf(epoch);
}

/** The factor of an update. Throws E_CONFIG where a schedule gives what is none. */
export function factorAt(schedule: Schedule, epoch: number, step: number, steps: number): number {
  const factor = schedule(epoch, step, steps);
  if (Number.isFinite(factor) && factor >= 0) return factor;
  throw new WidefieldError(
    "E_CONFIG",
    `the schedule gives ${factor} for update ${step} of epoch ${epoch}: a factor is finite and not negative`,
  );
}

/** Epochs since the start. */
function elapsed(epoch: number, step: number, steps: number): number {
  return epoch - 1 + step / steps;
}

function requirePositive(what: string, value: number): void {
  if (!(Number.isFinite(value) && value > 0))
    throw new WidefieldError("E_CONFIG", `${what} must be a positive number, not ${value}`);
}
