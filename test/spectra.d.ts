/** Symmetric matrices with known spectra, and the plain float64 algorithms that the engine's are compared with. */
/** Row-major n x n. */
export type Matrix = Float64Array;
/** Q diag(eigenvalues) Q^T with Q a product of random reflections; exactly symmetric. */
export declare function withSpectrum(eigenvalues: readonly number[]): Matrix;
export declare function entry(a: ArrayLike<number>, n: number, i: number, j: number): number;
/** A x for an n x n matrix and n x m right-hand sides, row-major. */
export declare function times(a: ArrayLike<number>, n: number, x: ArrayLike<number>, m?: number): Float64Array;
export interface NaiveFactor {
    readonly l: Matrix;
    readonly pivots: Float64Array;
    /** Index of the first pivot that is not positive; n if all are. */
    readonly passed: number;
}
export declare function naiveCholesky(a: ArrayLike<number>, n: number, shift?: number): NaiveFactor;
/** L Y = B. */
export declare function naiveForward(l: Matrix, n: number, b: ArrayLike<number>, m: number): Float64Array;
export declare function norm(values: ArrayLike<number>): number;
export declare function difference(a: ArrayLike<number>, b: ArrayLike<number>): Float64Array;
export declare function randoms(length: number): Float64Array;
