/** How layers with hard thresholds go back: by feasible target propagation (see `threshold.ts`). */
import type * as z from "zod";
import { targetGradient } from "../engine/kernels/target-gradient.ts";
import { WidefieldError } from "../errors.ts";
import { customGradient } from "../tensor/tape.ts";
import type { TargetRuleParams } from "../tensor/target-rules.ts";
import { Tensor } from "../tensor/tensor.ts";

export interface Targets {
  readonly rule: TargetRuleParams;
  /** True: the rule's derivative is multiplied by |g|; false: divided by the batch size. */
  readonly gradScale: boolean;
}

/** `forward` of z, whose way back is `backward`: without one, the rule on z and the gradient as they are. */
export function withTargets(
  z: Tensor,
  forward: (z: Tensor) => Tensor,
  targets: Targets,
  backward: (z: Tensor, g: Tensor) => Tensor = (input, g) => targetGradientOf(input, g, targets),
): Tensor {
  return customGradient([z], {
    forward: ([input = z]) => forward(input),
    backward: (g, [input = z]) => [backward(input, g)],
  });
}

/** What a rule makes of units with inputs z that the gradient g reaches. */
export function targetGradientOf(z: Tensor, g: Tensor, { rule, gradScale }: Targets): Tensor {
  const out = Tensor.empty(z.device, z.shape);
  const scale = gradScale ? 0 : 1 / Math.max(1, z.shape[0] ?? 1);
  z.device.dispatch(targetGradient, { count: z.size, ...rule, scale }, [z.slot, g.slot, out.slot]);
  return out;
}

/** Makes what `check` throws an issue of a schema, at the field that it is about. */
export function refuse(context: z.RefinementCtx, field: string, check: () => unknown): void {
  try {
    check();
  } catch (thrown) {
    if (!(thrown instanceof WidefieldError)) throw thrown;
    context.addIssue({ code: "custom", message: thrown.message, path: [field] });
  }
}
