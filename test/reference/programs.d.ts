/** Covariance programs written down by hand, for tests that need one without an architecture. */
import type { Program } from "../../sdk/covariance/program.ts";
export interface ConvOptions {
    readonly filter: readonly [number, number];
    readonly stride?: readonly [number, number];
    readonly dilation?: readonly [number, number];
    /** Padding before and after, in both directions; "same" as for stride 1. */
    readonly padding?: "same" | number;
    readonly weightVariance?: number;
    readonly biasVariance?: number;
}
export type Layer = (ConvOptions & {
    readonly layer: "conv";
}) | {
    readonly layer: "relu";
} | {
    readonly layer: "mean";
};
/**
 * Layers to a program, one step each and nothing folded: conv weights are weightVariance / taps. Throws if a valid
 * convolution eats the map.
 */
export declare function programOf(input: readonly [number, number, number], layers: readonly Layer[]): Program;
/**
 * The ConvNet GP of Garriga-Alonso et al. (2019) for 28 x 28 images: 7 x [conv 7x7 same, relu], read-out. Each
 * layer multiplies covariances by about 68; the maps' scale is therefore taken down by 2^-6 a layer.
 */
export declare function convnetGp(layers?: number): Program;
/** Random generator of tests: 32 bits of state, uniform in [0, 1). */
export declare function mulberry32(seed: number): () => number;
/** Images with blank borders and smooth strokes, as handwritten digits have: floats in [0, 1], zero for the most part. */
export declare function digitLike(random: () => number, height: number, width: number, channels?: number): Float32Array<ArrayBuffer>;
