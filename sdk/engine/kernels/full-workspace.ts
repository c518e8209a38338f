/**
 * Memory of the WebGPU kernels of full programs: what stands in a workgroup's memory, and the slices of `workspace`, one
 * for every workgroup in flight.
 *
 *     | the pair's state | its maps, where they do not fit in workgroup memory | an image's variances |
 *
 * State and maps are cells of (D, T) or of D alone (`shaders/full-maps.wgsl`).
 */
import type { BackendInfo } from "../backend.ts";
import type { Workspace } from "./covariance.ts";

/** What decides about memory; `FullShape` has it. */
export interface FullSizes {
  readonly ntk: number;
  readonly slots: number;
  readonly mapPixels: number;
  readonly sumPixels: number;
  readonly statePixels: number;
}

/** Most pixels of a map: the shaders find a pixel's row by a division of floats. */
export const MOST_PIXELS = 2 ** 20;

/** At least so many cells for sums: the lanes' shares of a mean. */
const FEWEST_SUMS = 128;

/** Enough workgroups for the largest GPUs, eight for each of 132 multiprocessors; a software adapter has a few cores. */
const HARDWARE_SLICES = 1056;
const SOFTWARE_SLICES = 8;
/** Room for all of them with the NTK of Myrtle's networks on 32 x 32 pixels, 0.64 MB a slice. Smaller jobs have fewer. */
const WORKSPACE_BYTES = 3 * 2 ** 28;

/** Cells of a pair's maps: the slots, and the sums between two passes of a convolution or of a pool. */
export function fullCells({ slots, mapPixels, sumPixels }: FullSizes): number {
  return slots * mapPixels + Math.max(sumPixels, mapPixels, FEWEST_SUMS);
}

/** Whether the maps do not fit in workgroup memory. */
export function spillsCells(sizes: FullSizes, workgroupBytes: number): boolean {
  return 4 * (1 + sizes.ntk) * fullCells(sizes) > workgroupBytes;
}

/** Bytes of workgroup memory come in steps, so that programs of about one size share their compiled shaders. */
const BYTES_STEP = 4096;

/** Cells of workgroup memory for maps that fit there. */
export function workgroupCells(sizes: FullSizes, workgroupBytes: number): number {
  const cellBytes = 4 * (1 + sizes.ntk);
  const bytes = Math.ceil((cellBytes * fullCells(sizes)) / BYTES_STEP) * BYTES_STEP;
  return Math.floor(Math.min(bytes, workgroupBytes) / cellBytes);
}

/**
 * The workspace of a program's WebGPU kernels: at most a quarter of a job's memory, unless one slice takes more. Without
 * slices where even one is larger than a buffer may be: the kernels then refuse the program.
 */
export function fullWebgpuWorkspace(info: BackendInfo, sizes: FullSizes, memoryBytes: number): Workspace {
  const { ntk, slots, mapPixels, statePixels } = sizes;
  const spilled = spillsCells(sizes, info.workgroupBytes) ? fullCells(sizes) : 0;
  const sliceFloats = (1 + ntk) * (statePixels + spilled) + (slots + 1) * mapPixels;
  const affordable = Math.max(1, Math.floor(Math.min(WORKSPACE_BYTES, memoryBytes / 4) / (4 * sliceFloats)));
  const possible = Math.floor(info.maxBufferBytes / (4 * sliceFloats));
  const slices = Math.min(info.software ? SOFTWARE_SLICES : HARDWARE_SLICES, affordable, possible);
  return { slices, sliceFloats, bytes: 4 * slices * sliceFloats };
}
