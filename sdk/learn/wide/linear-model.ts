/** The models that are linear in what they learn, what they may be, and the memory that products with them take. */
import type { Backend } from "../../engine/backend.ts";
import { WidefieldError } from "../../errors.ts";

/** Random features, or the tangent model with random features. */
export type LinearWideName = "rf" | "nt";

export interface LinearWideModel {
  readonly name: LinearWideName;
  /** Hidden units. */
  readonly width: number;
  /** Numbers of an image. */
  readonly inputs: number;
  readonly outputs: number;
  /** Of directions and amplitudes. */
  readonly seed: number;
}

/** Numbers that the model learns. */
export function parameterCount({ name, width, inputs, outputs }: LinearWideModel): number {
  return (width + 1) * outputs + (name === "nt" ? width * inputs : 0);
}

/** Rows of a block at most: float32 sums over more of them would lose digits. */
export const MOST_ROWS = 8192;

/** Part of a wasm memory that one design may take. */
const WASM_SHARE = 0.75;

/** Vectors that random features, which do not couple outputs, multiply at once. */
const MOST_VECTORS = 8;

/** The tangent part of `nt` is as large as W: its vectors go one by one. */
export function vectorsOf({ name }: LinearWideModel): number {
  return name === "rf" ? MOST_VECTORS : 1;
}

/** Bytes that a design takes whatever its blocks, and those of each row of a block. */
function bytesOf(model: LinearWideModel): { readonly fixed: number; readonly row: number } {
  const { name, width, inputs, outputs } = model;
  const tangents = name === "nt" ? 1 : 0;
  const columns = vectorsOf(model) * outputs;
  const sections = (width + 1) * columns + tangents * width * inputs;
  // Parameters and sums, with the copies of them that are on their way: of two blocks' sums, and of new parameters.
  const fixed = 4 * (width * inputs + tangents * outputs * width + 5 * sections);
  return { fixed, row: 4 * (1 + 2 * inputs + (2 + 2 * tangents) * width + columns) };
}

/** Bytes of a design whose blocks have one row. */
export function leastBytes(model: LinearWideModel): number {
  const { fixed, row } = bytesOf(model);
  return fixed + row;
}

/** How many rows a block has, and the bytes that the design then takes. */
export function sizesOf(
  backend: Backend,
  model: LinearWideModel,
  most: number,
  memoryBytes: number,
): { readonly rows: number; readonly bytes: number } {
  const { name, width, inputs } = model;
  const { backend: kind, maxBufferBytes } = backend.info;
  const { fixed, row } = bytesOf(model);
  const budget = kind === "wasm" ? Math.min(memoryBytes, WASM_SHARE * maxBufferBytes) : memoryBytes;
  const rows = Math.floor(Math.min(most, MOST_ROWS, (budget - fixed) / row, maxBufferBytes / (4 * width)));
  if (rows >= 1 && 4 * width * inputs <= maxBufferBytes) return { rows, bytes: fixed + rows * row };
  throw new WidefieldError(
    "E_MEMORY",
    `${name} of ${width} units and ${inputs} inputs needs ${Math.ceil((fixed + row) / 2 ** 20)} MiB for its weights and one ` +
      `image, and ${Math.floor(Math.max(0, budget) / 2 ** 20)} are left (a buffer holds ` +
      `${Math.floor(maxBufferBytes / 2 ** 20)}): give the engine more memory, or choose a smaller width`,
    { details: { neededBytes: fixed + row, availableBytes: budget, maxBufferBytes } },
  );
}
