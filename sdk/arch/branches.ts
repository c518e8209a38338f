/** What `sum` and `mixture` share: several layers read one input, and their outputs have one shape. */
import { WidefieldError } from "../errors.ts";
import { formatShape, isImage, type Layer, type Shape } from "./layer.ts";

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
  const name = (index: number): string =>
    `${path}.layers[${index}] (${branches[index]?.title ?? ""}) gives ${formatShape(shapes[index] ?? first)}`;
  throw new WidefieldError("E_SHAPE", `branches of one sum must have one shape, but ${name(0)}, and ${name(odd)}`, {
    details: { path, input, shapes },
  });
}

/** Maps of one size, or vectors. */
function sameMap(a: Shape, b: Shape): boolean {
  if (!isImage(a) || !isImage(b)) return a.length === b.length;
  return a[1] === b[1] && a[2] === b[2];
}
