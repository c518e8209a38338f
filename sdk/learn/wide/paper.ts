/** How Ghorbani et al. 2020 (arXiv 2006.13409, appendix A) train: rates and batches by epoch. */

/** Epochs in which the rate rises. */
const WARM_UP = 15;

/** Models of the paper that are trained. */
export type WideName = "nn" | "rf" | "nt" | "myrtle";

/** "fmnist" of "fmnist-hf". */
export function baseName(problem: string): string {
  return problem.toLowerCase().replace(/-(hf|lf)$/, "");
}

/**
 * The factor of the learning rate in an epoch, counted from 1, of `epochs`: with t = epoch - 1 it is 2t/15 while t < 15, and
 * then max(1 + cos(pi (t - 15) / (epochs - 15)), 1/15). The first epoch changes nothing.
 */
export function paperFactor(epoch: number, epochs: number): number {
  const t = epoch - 1;
  if (t < WARM_UP) return (2 * t) / WARM_UP;
  return Math.max(1 + Math.cos((Math.PI * (t - WARM_UP)) / (epochs - WARM_UP)), 1 / WARM_UP);
}

/** Images of a batch in an epoch, counted from 1. */
export function paperBatch(model: WideName, problem: string, epoch: number): number {
  const base = baseName(problem);
  if (model === "rf" || model === "nt") return base === "cifar2" ? 2000 : 10_000;
  if (model === "myrtle") return 128;
  if (base === "cifar2") return 250;
  const [first, later] = base === "fmnist" ? [500, 1000] : [512, 1024];
  return epoch - 1 < WARM_UP ? first : later;
}
