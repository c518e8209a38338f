/**
 * What a covariance program means, in plain float64: every window summed tap by tap, the arc-cosine step by Math.acos.
 * Slow and obvious; all backends are compared with it.
 */
import type { Program } from "../../sdk/covariance/program.ts";
type Image = ArrayLike<number>;
/** The program's output for the pair (x, y), before the scale 2^exponent. Images are channels x height x width. */
export declare function referenceCovariance(program: Program, x: Image, y: Image): number;
/** The program's output for each image with itself, before the scale 2^exponent. */
export declare function referenceVariances(program: Program, images: readonly Image[]): number[];
export {};
