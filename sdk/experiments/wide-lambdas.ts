/** The grids of ridges that Ghorbani et al. 2020 (arXiv 2006.13409) give the models that are trained. */
import { baseName, type WideName } from "../learn/wide/paper.ts";
import { geometric } from "./krr-lambdas.ts";

/**
 * The paper's grid for a model and a problem, named as on the command line. `hidden`: layers of `nn`. Problems that the
 * paper does not have take Fashion-MNIST's of one hidden layer, other kinds of CIFAR cifar2's.
 */
export function wideLambdas(model: WideName, problem: string, hidden = 1): readonly number[] {
  const base = baseName(problem);
  const synth = base === "synth";
  const cifar = base.startsWith("cifar");
  switch (model) {
    case "rf":
    case "nt":
      if (synth) return geometric(model === "rf" ? -5 : -4, 2, 10);
      return cifar ? geometric(-4, 4, 20) : geometric(-5, 3, 20);
    case "myrtle":
      return geometric(-5, -2, 10);
    case "nn":
      if (synth) return [...geometric(-8, -5, 15), ...geometric(-4.8, -4, 5), ...geometric(-3.8, -2, 5)];
      return hidden === 2 && base === "fmnist" ? geometric(-7, -5, 10) : geometric(-6, -2, 20);
  }
}
