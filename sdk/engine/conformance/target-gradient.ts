/** Rules of target propagation, each on every activation that it goes with, against the table's derivatives in float64. */
import { targetFunction, targetRule, targetRulesOf, type TargetActivation } from "../../tensor/target-rules.ts";
import { targetGradient } from "../kernels/target-gradient.ts";
import type { RandomStream } from "../rng.ts";
import type { KernelSchema } from "../schema.ts";
import { relativeError } from "./activate.ts";
import { launch, normals, sample, worst, type Case, type Row } from "./row.ts";

interface Pairing {
  readonly name: string;
  readonly activation: TargetActivation;
  readonly steps: number;
}

/** Elements that are checked of arrays that are only timed. */
const CHECKED = 20_011;

function* pairings(random: RandomStream): Generator<Pairing> {
  for (const activation of ["step01", "step11", "staircase"] as const)
    for (const name of targetRulesOf(activation)) yield { name, activation, steps: 2 + random.below(6) };
}

/** Inputs of both sides of every kink; none of a staircase so close to one that a rounding puts it on the other side. */
function inputs(random: RandomStream, count: number, { activation, steps }: Pairing): Float32Array<ArrayBuffer> {
  const z = normals(random, count).map((x) => 1.5 * x);
  if (activation !== "staircase") return z;
  const last = steps - 1;
  return z.map((x) => (Math.abs(x * last - Math.round(x * last)) < 1e-4 ? x + 0.01 : x));
}

function ruleCase(
  random: RandomStream,
  pairing: Pairing,
  count: number,
  scale: number,
  edit: (z: Float32Array, g: Float32Array) => void = () => undefined,
): Case {
  const { name, activation, steps } = pairing;
  const params = targetRule(name, activation, { steps });
  const { loss, derivative } = targetFunction(name, activation, { steps });
  const z = inputs(random, count, pairing);
  const g = normals(random, count).map((x, i) => (i % 11 === 3 ? 0 : x));
  edit(z, g);
  const places = sample(random, count, CHECKED);
  const expected = (x: number, y: number): number => {
    if (Number.isNaN(x) || Number.isNaN(y)) return NaN;
    if (y === 0) return 0;
    // A rule that carries g has no other scale.
    return derivative(x, -Math.sign(y)) * (scale === 0 || loss === undefined ? Math.abs(y) : scale);
  };
  return {
    name: `${name} on ${activation}, scale ${scale}, ${count} elements`,
    buffers: { z, g, out: 4 * count },
    launches: [launch(targetGradient, { count, ...params, scale }, ["z", "g", "out"])],
    outputs: ["out"],
    check: (output) => {
      const actual = new Float32Array(output("out"));
      return worst(places.length, (index) => {
        const at = places[index] ?? 0;
        const x = z[at] ?? NaN;
        const error = relativeError(actual[at], expected(x, g[at] ?? NaN));
        return Number.isFinite(x) ? error / (1 + Math.abs(x)) : error;
      });
    },
  };
}

/** Kinks, zeros of both signs, infinities and NaN, with gradients of both signs, zeros and NaN. */
const PLACES = [0, -0, 1, -1, 0.5, 2, -2, Infinity, -Infinity, NaN];
const GRADIENTS = [1.5, -0.75, 0, -0, NaN];

function specialCase(random: RandomStream, pairing: Pairing): Case {
  const count = PLACES.length * GRADIENTS.length;
  const test = ruleCase(random, pairing, count, 0, (z, g) => {
    for (let i = 0; i < count; i++) {
      z[i] = PLACES[i % PLACES.length] ?? NaN;
      g[i] = GRADIENTS[Math.floor(i / PLACES.length)] ?? NaN;
    }
  });
  // The bits of a NaN are no promise.
  return { ...test, name: `${pairing.name} on ${pairing.activation} at its kinks`, loose: true };
}

export const targetGradientRow: Row = {
  kernel: targetGradient as unknown as KernelSchema,
  measure: "the value times 1 + |z|: a rounding of 2 z or 3 z counts for more, the larger z is",
  tolerance: 1.2e-6,
  reason:
    "wasm stays below 4e-7. In units of WGSL's last place (2^-23): an e^x of 2.5, a quotient of 2.5, and a product each for " +
    "the slope, the gradient and what stands in the exponent.",
  unit: "GB/s",
  *cases(random) {
    const soft: Pairing = { name: "SoftHinge", activation: "step11", steps: 2 };
    for (const count of [0, 1, 2, 3, 4, 5, 257, 20_011]) yield ruleCase(random, soft, count, 0);
    for (const pairing of pairings(random)) {
      yield ruleCase(random, pairing, 1003, 0);
      yield ruleCase(random, pairing, 501, 1 / 64);
      yield specialCase(random, pairing);
    }
  },
  large(level, random) {
    if (level > 2) return undefined;
    const count = 2 ** (16 + 2 * level) + 3;
    const test = ruleCase(random, { name: "SoftHinge", activation: "step11", steps: 2 }, count, 0);
    return { ...test, work: (12 * count) / 1e9 };
  },
};
