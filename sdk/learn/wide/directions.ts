/**
 * The random weights that wide models keep: directions w_j of their hidden units, normal and scaled to unit length, and
 * the amplitudes a_cj of a tangent model. Unit j has streams of its own, so that the units of a model are the first ones
 * of every wider model with its seed, whatever the memory or the backend.
 */
import type { Backend, Slot } from "../../engine/backend.ts";
import { RandomStream } from "../../engine/rng.ts";
import { euclidean } from "../../linalg/vectors.ts";

/** Numbers that are drawn between two looks at the queue, which holds a copy of them: 16 MiB. */
const CHUNK = 2 ** 22;

/** Directions of the units [begin, end), row-major, [end - begin, inputs]: each of length 1. */
export function unitDirections(seed: number, begin: number, end: number, inputs: number): Float32Array<ArrayBuffer> {
  const directions = new Float32Array((end - begin) * inputs);
  const normals = new Float64Array(inputs);
  for (let unit = begin; unit < end; unit++) {
    new RandomStream(seed, "wide directions", unit).fillNormal(normals);
    const length = euclidean(normals);
    const row = directions.subarray((unit - begin) * inputs, (unit - begin + 1) * inputs);
    for (let i = 0; i < inputs; i++) row[i] = (normals[i] as number) / length;
  }
  return directions;
}

/** Amplitudes, row-major, [outputs, width]: standard normal. */
export function tangentAmplitudes(seed: number, outputs: number, width: number): Float32Array<ArrayBuffer> {
  const amplitudes = new Float32Array(outputs * width);
  for (let output = 0; output < outputs; output++)
    new RandomStream(seed, "tangent amplitudes", output).fillNormal(
      amplitudes.subarray(output * width, (output + 1) * width),
    );
  return amplitudes;
}

/** Writes the directions of all units to a backend's memory, [width, inputs], without a copy of them all on the host. */
export async function writeDirections(
  backend: Backend,
  slot: Slot,
  { seed, width, inputs }: { readonly seed: number; readonly width: number; readonly inputs: number },
): Promise<void> {
  const units = Math.max(1, Math.floor(CHUNK / inputs));
  for (let begin = 0; begin < width; begin += units) {
    const directions = unitDirections(seed, begin, Math.min(width, begin + units), inputs);
    backend.write(slot, 4 * begin * inputs, directions);
    await backend.finish();
  }
}
