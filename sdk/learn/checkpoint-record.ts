/**
 * The JSON half of a checkpoint: everything of a training state but its arrays, which it names, in their order, with the
 * seal of the file that holds them. This file says what stands there, and takes it apart again.
 */
import * as z from "zod";
import { manifestChecksum, type Json } from "../covariance/store/manifest.ts";
import { messageOf, WidefieldError } from "../errors.ts";
import type { FileSeal, NamedArray } from "../platform/safetensors.ts";
import { epochSchema, jsonOf, scoresSchema } from "./epoch-json.ts";
import type { TrainingState } from "./training-state.ts";

/** What tells a run from others, as JSON: architecture, data set, optimiser, seed, ... Two runs with the same one may share a folder. */
export type RunIdentity = Readonly<Record<string, Json>>;

const FORMAT = "widefield checkpoint, version 1";

/** Names of the optimiser's arrays begin with this in the file: "optimiser/layers.0.weights.velocity". */
const OPTIMISER = "optimiser/";

const recordSchema = z.strictObject({
  format: z.literal(FORMAT),
  widefield: z.string(),
  run: z.record(z.string(), z.json()),
  epoch: z.int().nonnegative(),
  step: z.int().nonnegative(),
  best: z.strictObject({ epoch: z.int().nonnegative(), scores: scoresSchema }).optional(),
  optimiser: z.strictObject({
    name: z.enum(["sgd", "adam", "rmsprop"]),
    steps: z.int().nonnegative(),
    arrays: z.array(z.string()),
  }),
  parameters: z.array(z.string()),
  states: z.array(z.string()),
  tensors: z.strictObject({
    file: z.string().regex(/^[\w.-]+$/, "not the name of a file"),
    bytes: z.int().nonnegative(),
    crc32c: z.string().regex(/^[0-9a-f]{8}$/, "not a CRC-32C"),
  }),
  history: z.array(epochSchema),
});

export type CheckpointRecord = z.infer<typeof recordSchema>;

/** The arrays of a state under the names that they have in the file. Throws where two have one name. */
export function arraysOf({ parameters, states, optimiser }: TrainingState): NamedArray[] {
  return [
    ...parameters,
    ...states,
    ...optimiser.arrays.map((array) => ({ ...array, name: `${OPTIMISER}${array.name}` })),
  ];
}

/** The record of a state whose arrays went to `file`, as the bytes of its file. */
export function encodeRecord(state: TrainingState, run: RunIdentity, file: string, seal: FileSeal): Uint8Array {
  const { epoch, step, best, optimiser, parameters, states, history } = state;
  const names = (arrays: readonly NamedArray[]): string[] => arrays.map(({ name }) => name);
  const record = {
    format: FORMAT,
    widefield: WIDEFIELD_VERSION,
    run,
    ...{ epoch, step, best },
    optimiser: { name: optimiser.name, steps: optimiser.steps, arrays: names(optimiser.arrays) },
    parameters: names(parameters),
    states: names(states),
    tensors: { file, bytes: seal.bytes, crc32c: hexadecimal(seal.crc32c) },
    history,
  };
  // Keys in the schema's order: a state that was read gives the same bytes as the one that was written. And through
  // text, which drops what is undefined: the checksum is of what a reader will find.
  const ordered = recordSchema.parse(JSON.parse(jsonOf(record)));
  const stored = JSON.parse(jsonOf(ordered)) as object;
  const text = JSON.stringify({ ...stored, checksum: manifestChecksum(stored) }, null, 1);
  return new TextEncoder().encode(`${text}\n`);
}

/** Throws E_CORRUPT, with `advice`, for bytes that are no checkpoint's record or not what was written. */
export function decodeRecord(bytes: Uint8Array, path: string, advice: string): CheckpointRecord {
  try {
    const { checksum, ...stored } = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    if (checksum !== manifestChecksum(stored)) throw new Error("its checksum is wrong");
    return recordSchema.parse(stored);
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : messageOf(cause);
    throw new WidefieldError("E_CORRUPT", `${path} is damaged or no checkpoint: ${why}; ${advice}`, {
      cause,
      details: { path },
    });
  }
}

export function isSealed({ tensors }: CheckpointRecord, { bytes, crc32c }: FileSeal): boolean {
  return tensors.bytes === bytes && tensors.crc32c === hexadecimal(crc32c);
}

/** The state that a record and its arrays make. Throws E_CORRUPT, with the tensor's name, where they do not belong together. */
export function stateOf(record: CheckpointRecord, found: ReadonlyMap<string, NamedArray>, path: string): TrainingState {
  const { epoch, step, best, optimiser, history } = record;
  const take = (name: string, inFile: string): NamedArray => {
    const array = found.get(inFile);
    if (array !== undefined) return { ...array, name };
    throw new WidefieldError("E_CORRUPT", `${path} names a tensor ${inFile} that is not in ${record.tensors.file}`, {
      details: { path, tensor: inFile },
    });
  };
  return {
    ...{ epoch, step, history, best },
    parameters: record.parameters.map((name) => take(name, name)),
    states: record.states.map((name) => take(name, name)),
    optimiser: {
      name: optimiser.name,
      steps: optimiser.steps,
      arrays: optimiser.arrays.map((name) => take(name, `${OPTIMISER}${name}`)),
    },
  };
}

function hexadecimal(checksum: number): string {
  return checksum.toString(16).padStart(8, "0");
}
