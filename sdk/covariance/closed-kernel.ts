/**
 * Kernels in closed form, and that of a finite random-feature model: what there is, and with which parameters. Of inputs
 * x and z in R^d, with c the cosine between them.
 */

/** The NTK of a two-layer relu network: |x| |z| (c (1 - acos(c) / pi) + sqrt(1 - c^2) / 2 pi). */
export interface TwoLayerNtk {
  readonly name: "ntk2";
}

/** Random relu features, infinitely many: |x| |z| / 2 (c asin(c) / pi + c / 2 + sqrt(1 - c^2) / pi). */
export interface RandomFeatures {
  readonly name: "rf2";
}

/** (constant + x.z / sqrt(d))^degree. */
export interface Polynomial {
  readonly name: "poly";
  readonly degree: number;
  readonly constant: number;
}

/** exp(-|x - z|^2 / (2 bandwidth^2)). */
export interface Gaussian {
  readonly name: "rbf";
  readonly bandwidth: number;
}

/** exp(-|x - z| / bandwidth). */
export interface Laplace {
  readonly name: "laplace";
  readonly bandwidth: number;
}

/** Cho & Saul 2009, eq. 1: the arc-cosine kernel of an order 0, 1 or 2, composed with itself `depth` times. */
export interface ArcCosine {
  readonly name: "arccos";
  readonly order: 0 | 1 | 2;
  readonly depth: number;
}

/** 1 + relu(X W / sqrt(d)) relu(X W / sqrt(d))' for one draw of W, [d, width], of standard normals from `seed`. */
export interface FiniteFeatures {
  readonly name: "rf";
  readonly width: number;
  readonly seed: number;
}

export type ClosedKernel = TwoLayerNtk | RandomFeatures | Polynomial | Gaussian | Laplace | ArcCosine | FiniteFeatures;
