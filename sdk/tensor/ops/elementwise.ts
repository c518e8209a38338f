/** Operations on single numbers, and sums and products of tensors of one shape. */
import { WidefieldError } from "../../errors.ts";
import { activate, activateGradient, ActivateOperation, type ActivateName } from "../../engine/kernels/activate.ts";
import { elementwise, ElementwiseOperation } from "../../engine/kernels/elementwise.ts";
import { record } from "../tape.ts";
import { scope, Tensor } from "../tensor.ts";
import { requireFloats, requireSameShape } from "./shapes.ts";

/** f(x), number by number; p and q as the function says (`sdk/engine/kernels/activate.ts`). */
export function apply(x: Tensor, name: ActivateName, p = 0, q = 0): Tensor {
  requireFloats(name, x);
  const params = { count: x.size, operation: ActivateOperation[name], p, q };
  const out = Tensor.empty(x.device, x.shape);
  x.device.dispatch(activate, params, [x.slot, out.slot]);
  return record(out, [x], [x], (g, [saved = x]) => {
    const made = Tensor.empty(g.device, g.shape);
    g.device.dispatch(activateGradient, params, [saved.slot, g.slot, made.slot]);
    return [made];
  });
}

/** max(x, 0) */
export function relu(x: Tensor): Tensor {
  return apply(x, "relu");
}

/** x where x > 0, else slope x */
export function leakyRelu(x: Tensor, slope = 0.01): Tensor {
  return apply(x, "leakyRelu", slope);
}

/** x where x > 0, else alpha (e^x - 1) */
export function elu(x: Tensor, alpha = 1): Tensor {
  return apply(x, "elu", alpha);
}

export function sigmoid(x: Tensor): Tensor {
  return apply(x, "sigmoid");
}

/** log(1 + e^x) */
export function softplus(x: Tensor): Tensor {
  return apply(x, "softplus");
}

export function tanh(x: Tensor): Tensor {
  return apply(x, "tanh");
}

export function exp(x: Tensor): Tensor {
  return apply(x, "exp");
}

/** -infinity at 0, NaN below. */
export function log(x: Tensor): Tensor {
  return apply(x, "log");
}

export function sqrt(x: Tensor): Tensor {
  return apply(x, "sqrt");
}

export function square(x: Tensor): Tensor {
  return apply(x, "square");
}

export function abs(x: Tensor): Tensor {
  return apply(x, "abs");
}

/** -1, 0 or 1; its gradient is 0. */
export function sign(x: Tensor): Tensor {
  return apply(x, "sign");
}

/** min(max(x, low), high). Throws E_CONFIG where low > high. */
export function clamp(x: Tensor, low: number, high: number): Tensor {
  if (!(low <= high)) throw new WidefieldError("E_CONFIG", `clamp needs low <= high, not ${low} and ${high}`);
  return apply(x, "clamp", low, high);
}

/** 1 / x */
export function reciprocal(x: Tensor): Tensor {
  return apply(x, "reciprocal");
}

/** factor x + offset */
export function affine(x: Tensor, factor: number, offset = 0): Tensor {
  requireFloats("affine", x);
  const out = map(x, x, ElementwiseOperation.affine, factor, offset);
  return record(out, [x], [], (g) => [map(g, g, ElementwiseOperation.affine, factor, 0)]);
}

/** weightA a + weightB b, of one shape. Throws E_SHAPE. */
export function add(a: Tensor, b: Tensor, weightA = 1, weightB = 1): Tensor {
  requireFloats("add", a, b);
  requireSameShape("add", a, b);
  const out = map(a, b, ElementwiseOperation.add, weightA, weightB);
  return record(out, [a, b], [], (g, _, needs) => [
    needs[0] === true ? scaled(g, weightA) : undefined,
    needs[1] === true ? scaled(g, weightB) : undefined,
  ]);
}

/** a - b, of one shape. Throws E_SHAPE. */
export function subtract(a: Tensor, b: Tensor): Tensor {
  return add(a, b, 1, -1);
}

/** a b, number by number, of one shape. Throws E_SHAPE. */
export function multiply(a: Tensor, b: Tensor): Tensor {
  requireFloats("multiply", a, b);
  requireSameShape("multiply", a, b);
  const out = map(a, b, ElementwiseOperation.multiply, 1, 0);
  return record(out, [a, b], [a, b], (g, [savedA = a, savedB = b], needs) => [
    needs[0] === true ? map(g, savedB, ElementwiseOperation.multiply, 1, 0) : undefined,
    needs[1] === true ? map(g, savedA, ElementwiseOperation.multiply, 1, 0) : undefined,
  ]);
}

/** a / b, number by number, of one shape. Throws E_SHAPE. */
export function divide(a: Tensor, b: Tensor): Tensor {
  return scope(a.device, () => multiply(a, reciprocal(b)));
}

function scaled(g: Tensor, factor: number): Tensor {
  return factor === 1 ? g : map(g, g, ElementwiseOperation.affine, factor, 0);
}

function map(a: Tensor, b: Tensor, operation: number, alpha: number, beta: number): Tensor {
  const out = Tensor.empty(a.device, a.shape);
  a.device.dispatch(elementwise, { count: a.size, operation, alpha, beta }, [a.slot, b.slot, out.slot]);
  return out;
}
