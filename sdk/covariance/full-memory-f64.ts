/**
 * Memory that `fullVarianceF64` and `fullCovarianceF64` need beside tables: a slice for each thread, laid out by
 * `assembly/full64/room.ts`.
 */
import type { Workspace } from "../engine/kernels/covariance.ts";
import type { FullShape } from "./full-shape.ts";

/** Numbers in front of a slice's maps. */
const HEAD = 40;
/** Slices begin on cache lines. */
const CACHE_LINE = 8;

/** The workspace of a program's kernels in float64: every thread has a slice, whatever the program. */
export function fullWasmWorkspaceF64(shape: FullShape, threads: number): Workspace {
  const { ntk, slots, mapPixels, passPixels, statePixels } = shape;
  const maps = 1 + ntk;
  const needed = HEAD + (maps + 1) * (slots + 1) * mapPixels + passPixels + maps * statePixels;
  const sliceFloats = Math.ceil(needed / CACHE_LINE) * CACHE_LINE;
  return { slices: threads, sliceFloats, bytes: 8 * threads * sliceFloats };
}

/** Numbers of the table of `images` images: per image its pixels, then standard deviations and spreads. */
export function fullTableF64(images: number, { imageFloats, tablePixels }: FullShape): number {
  return images * (imageFloats + tablePixels);
}
