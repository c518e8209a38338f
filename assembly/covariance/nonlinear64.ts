/**
 * The nonlinearities in float64, with acos and asin (AssemblyScript's own, below one ulp). What a pixel needs to know of
 * its two images is `spread`, the variance of each, to which erf adds its offset.
 *
 * The n of a pair is sqrt(v v'), not sqrt(v) sqrt(v'): where the two images agree, v = v' = k bit for bit, and then
 * n = v exactly and c = 1. kappa_0 has an infinite slope there and would turn one rounding of 1e-16 into 1e-8.
 */
import { StepKind } from "../generated/kernels";
import { Step } from "./step";

/** What a nonlinearity keeps of an image's variance. */
export function spread64(step: Step, variance: f64): f64 {
  return step.kind == StepKind.erf ? variance + step.bias64 : variance;
}

/** The variance behind a nonlinearity; no image has a negative one. */
export function ownVariance64(step: Step, variance: f64): f64 {
  if (step.kind == StepKind.rectifier) return step.positive64 * variance;
  if (step.kind == StepKind.step) return variance > 0 ? 0.5 * step.factor64 : 0;
  return variance > 0 ? step.factor64 * Math.asin(variance / (variance + step.bias64)) : 0;
}

/** The covariance behind a nonlinearity, of images with the spreads v and w; zero where either has none. */
export function covariance64(step: Step, k: f64, v: f64, w: f64): f64 {
  const n = Math.sqrt(v * w);
  if (!(n > 0)) return 0;
  const c = Math.max(-1, Math.min(1, k / n));
  if (step.kind == StepKind.step) return (step.factor64 * (Math.PI - Math.acos(c))) / (2 * Math.PI);
  if (step.kind == StepKind.erf) return step.factor64 * Math.asin(c);
  const cosine = Math.abs(c);
  const curve = (Math.sqrt((1 - cosine) * (1 + cosine)) - Math.acos(cosine) * cosine) / (2 * Math.PI);
  const side = k > 0 ? step.positive64 * k : step.negative64 * -k;
  return side + step.factor64 * n * curve;
}
