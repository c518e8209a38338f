/** What `sum` and `mixture` share: several layers read one input, and their outputs have one shape. */
import { WidefieldError } from "../errors.ts";
import { formatShape, isImage, type Layer, type Shape } from "./layer.ts";
import { placeInside, type Activation, type NetworkBuilder, type Place } from "./network-builder.ts";

/**
 * The shape that all branches have. Channels may differ: kernels do not know of them, and a finite network broadcasts
 * an identity of one channel. Throws E_SHAPE, naming the two branches that differ.
 */
export function branchShape(branches: readonly Layer[], input: Shape, path: string): Shape {
  const shapes = branches.map((layer, index) => layer.shape(input, `${path}.layers[${index}]`));
  const [first] = shapes;
  if (first === undefined) throw new Error("a sum has branches");
  const odd = shapes.findIndex((shape) => !sameMap(shape, first));
  if (odd < 0) return shapes.reduce((widest, shape) => (shape[0] > widest[0] ? shape : widest));
  const name = (index: number) => describe(branches, path, index, shapes[index] ?? first);
  throw new WidefieldError("E_SHAPE", `branches of one sum must have one shape, but ${name(0)}, and ${name(odd)}`, {
    details: { path, input, shapes },
  });
}

/** "architecture.layers[2].layers[0] (identity) gives 4 x 6 x 6" */
function describe(branches: readonly Layer[], path: string, index: number, shape: Shape): string {
  return `${path}.layers[${index}] (${branches[index]?.title ?? ""}) gives ${formatShape(shape)}`;
}

/** Maps of one size, or vectors. */
function sameMap(a: Shape, b: Shape): boolean {
  if (!isImage(a) || !isImage(b)) return a.length === b.length;
  return a[1] === b[1] && a[2] === b[2];
}

/**
 * The finite branches, each times its factor (default 1), and added. An identity of one channel is added to all channels
 * of the others, so that a residual network can begin with its image; other channels have to agree. Throws E_SHAPE,
 * naming two branches that do not.
 */
export function addBranches(
  builder: NetworkBuilder,
  x: Activation,
  layer: Layer,
  place: Place,
  branches: readonly Layer[],
  factors: readonly number[] = [],
): Activation {
  const { path } = place;
  const terms = branches.map((branch, index) => {
    const made = branch.network(builder, x, placeInside(place, index, false));
    return { x: made, weight: factors[index] ?? 1 };
  });
  const widest = terms.reduce((most, term) => Math.max(most, term.x.shape[0]), 0);
  const repeats = (made: Activation): boolean => made.value === x.value && made.shape[0] === 1 && widest > 1;
  const full = terms.filter((term) => !repeats(term.x));
  const reference = terms.findIndex((term) => term.x.shape[0] === widest);
  const odd = terms.findIndex((term) => term.x.shape[0] !== widest && !repeats(term.x));
  if (odd >= 0) {
    const name = (index: number) => describe(branches, path, index, terms[index]?.x.shape ?? x.shape);
    throw new WidefieldError(
      "E_SHAPE",
      `branches of one sum must have as many channels, but ${name(Math.min(reference, odd))}, and ` +
        `${name(Math.max(reference, odd))}: give their last layers the same channels, or put a 1 x 1 convolution ` +
        `in place of the identity`,
      { details: { path, shapes: terms.map((term) => term.x.shape) } },
    );
  }
  return builder.add(
    layer,
    place,
    full,
    terms.filter((term) => repeats(term.x)),
  );
}
