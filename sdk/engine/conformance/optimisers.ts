/** Steps of the optimisers against PyTorch's formulas in float64. */
import { adamStep, rmspropStep, sgdStep } from "../kernels/optimisers.ts";
import type { RandomStream } from "../rng.ts";
import type { Fields, KernelSchema, ParamsOf } from "../schema.ts";
import { errorOf, launch, normals, sample, worst, type Case, type Row } from "./row.ts";

/** One weight with its state before a step. */
interface Before {
  readonly g: number;
  readonly w: number;
  readonly first: number;
  readonly second: number;
}

/** What a number becomes, and the size that its error is measured by: the sum of the magnitudes of its terms. */
interface Term {
  readonly value: number;
  readonly size: number;
}

interface After {
  readonly weights: Term;
  readonly first: Term;
  readonly second: Term;
}

type Step = (before: Before, params: Readonly<Record<string, number>>) => After;

const keep = (value: number): Term => ({ value, size: Math.abs(value) });
/** a x + b y. */
function blend(a: number, x: number, b: number, y: number): Term {
  return { value: a * x + b * y, size: Math.abs(a * x) + Math.abs(b * y) };
}

/** Numbers of a step that the params lack are 0. */
const sgd: Step = ({ g, w, first }, params) => {
  const { rate = 0, decay = 0, momentum = 0, nesterov = 0, first: fresh = 0 } = params;
  const gradient = blend(1, g, decay, w);
  if (momentum === 0) {
    const weights = { value: w - rate * gradient.value, size: Math.abs(w) + rate * gradient.size };
    return { weights, first: keep(first), second: keep(0) };
  }
  const old = fresh === 1 ? 0 : first;
  const v = blend(momentum, old, 1, gradient.value);
  const size = Math.abs(momentum * old) + gradient.size;
  const step = nesterov === 1 ? gradient.value + momentum * v.value : v.value;
  const weights = { value: w - rate * step, size: Math.abs(w) + rate * (gradient.size + size) };
  return { weights, first: { value: v.value, size }, second: keep(0) };
};

const adam: Step = ({ g, w, first, second }, params) => {
  const { rate = 0, decay = 0, beta1 = 0, beta2 = 0, epsilon = 0, root = 0 } = params;
  const gradient = blend(1, g, decay, w);
  const m = { ...blend(beta1, first, 1 - beta1, gradient.value) };
  const size = Math.abs(beta1 * first) + (1 - beta1) * gradient.size;
  const v = blend(beta2, second, 1 - beta2, gradient.value ** 2);
  const below = Math.sqrt(v.value) * root + epsilon;
  return {
    weights: { value: w - (rate * m.value) / below, size: Math.abs(w) + (rate * size) / below },
    first: { value: m.value, size },
    second: { value: v.value, size: beta2 * second + (1 - beta2) * gradient.size ** 2 },
  };
};

const rmsprop: Step = ({ g, w, first, second }, params) => {
  const { rate = 0, decay = 0, alpha = 0, momentum = 0, epsilon = 0 } = params;
  const gradient = blend(1, g, decay, w);
  // The schema's order: `second` moments first, then the buffer of the momentum.
  const v = alpha * first + (1 - alpha) * gradient.value ** 2;
  const below = Math.sqrt(v) + epsilon;
  const old = momentum > 0 ? second : 0;
  const step = momentum * old + gradient.value / below;
  const size = Math.abs(momentum * old) + gradient.size / below;
  return {
    weights: { value: w - rate * step, size: Math.abs(w) + rate * size },
    first: { value: v, size: alpha * first + (1 - alpha) * gradient.size ** 2 },
    second: momentum > 0 ? { value: step, size } : keep(second),
  };
};

interface Optimiser {
  readonly kernel: KernelSchema;
  readonly step: Step;
  /** State arrays, in the schema's order, and whether each holds squares. */
  readonly state: readonly boolean[];
  readonly settings: readonly Readonly<Record<string, number>>[];
}

/** Elements that are checked of arrays that are only timed. */
const CHECKED = 20_011;
/** A loss, and three that are none: nothing may change. */
const DIVERGED = [NaN, Infinity, -Infinity];

function stepCase(
  random: RandomStream,
  { kernel, step, state }: Optimiser,
  setting: Readonly<Record<string, number>>,
  count: number,
  loss = 2.5,
): Case {
  const arrays = [normals(random, count), normals(random, count)];
  for (const squares of state) arrays.push(normals(random, count).map((x) => (squares ? x * x + 0.01 : x)));
  const [g = new Float32Array(), w = new Float32Array(), first = g, second = new Float32Array()] = arrays;
  const names = ["first state", "second state"].slice(0, state.length);
  const buffers: Case["buffers"] = {
    gradient: g,
    guard: Float32Array.of(loss),
    weights: w,
    ...Object.fromEntries(names.map((name, i) => [name, arrays[i + 2] ?? g])),
  };
  // Numbers as the kernel sees them: rounded to float32.
  const rounded = Object.fromEntries(Object.entries(setting).map(([name, value]) => [name, Math.fround(value)]));
  const params = { count, ...setting } as ParamsOf<Fields>;
  const places = sample(random, count, CHECKED);
  const text = Object.entries(setting).map(([name, value]) => `${name} ${value}`);
  return {
    name: `${count} weights, ${text.join(", ")}, loss ${loss}`,
    buffers,
    launches: [launch(kernel, params, ["gradient", "guard", "weights", ...names])],
    outputs: ["weights", ...names],
    check: (output) => {
      const actual = ["weights", ...names].map((name) => new Float32Array(output(name)));
      return worst(places.length, (index) => {
        const at = places[index] ?? 0;
        const number = (array: Float32Array): number => array[at] ?? 0;
        const before = { g: number(g), w: number(w), first: number(first), second: number(second) };
        const same = { weights: keep(before.w), first: keep(before.first), second: keep(before.second) };
        const after = Number.isFinite(loss) ? step(before, rounded) : same;
        const terms = [after.weights, after.first, after.second];
        return worst(actual.length, (i) => {
          const { value, size } = terms[i] ?? keep(NaN);
          return errorOf(actual[i]?.[at], value, Number.isFinite(loss) ? size : 0);
        });
      });
    },
  };
}

const common = {
  measure: "the sum of the magnitudes of the number's terms",
  unit: "GB/s",
};

function optimiserRow(optimiser: Optimiser, tolerance: number, reason: string, bytes: number): Row {
  const { kernel, settings } = optimiser;
  return {
    ...common,
    kernel,
    tolerance,
    reason,
    *cases(random) {
      for (const setting of settings) {
        for (const count of [3, 1021]) yield stepCase(random, optimiser, setting, count);
        for (const loss of DIVERGED) yield stepCase(random, optimiser, setting, 61, loss);
      }
      const [setting = {}] = settings;
      for (const count of [0, 1, 2, 4, 5, 20_011]) yield stepCase(random, optimiser, setting, count);
    },
    large(level, random) {
      const count = 2 ** (16 + 2 * level) + 3;
      const [setting] = settings;
      if (level > 2 || setting === undefined) return undefined;
      return { ...stepCase(random, optimiser, setting, count), work: (bytes * count) / 1e9 };
    },
  };
}

const SGD = { rate: 0.1, decay: 5e-4, momentum: 0.9, nesterov: 0, first: 0 };
const RMSPROP = { rate: 0.01, decay: 0, alpha: 0.99, momentum: 0, epsilon: 1e-8 };
const ADAM = { rate: 0.001, decay: 5e-4, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, root: 3.2 };

export const optimiserRows: readonly Row[] = [
  optimiserRow(
    {
      kernel: sgdStep as unknown as KernelSchema,
      step: sgd,
      state: [false],
      settings: [
        SGD,
        { ...SGD, first: 1 },
        { ...SGD, nesterov: 1 },
        { ...SGD, nesterov: 1, first: 1 },
        { ...SGD, momentum: 0 },
      ],
    },
    8e-7,
    "at most seven roundings of products and sums, of one unit in the last place (2^-23) each: WGSL may round either way.",
    20,
  ),
  optimiserRow(
    {
      kernel: adamStep as unknown as KernelSchema,
      step: adam,
      state: [false, true],
      settings: [ADAM, { ...ADAM, rate: 0.1, decay: 0 }],
    },
    1.6e-6,
    "in units of the last place (2^-23): the squared gradient 4, its mean 2, of which the root keeps half; the root itself " +
      "3, the quotient 2.5, and five products and sums.",
    28,
  ),
  optimiserRow(
    {
      kernel: rmspropStep as unknown as KernelSchema,
      step: rmsprop,
      state: [true, false],
      settings: [
        { ...RMSPROP, decay: 5e-4, momentum: 0.9 },
        RMSPROP,
        { ...RMSPROP, rate: 0.1, alpha: 0.9, epsilon: 0.1 },
      ],
    },
    1.6e-6,
    "as for Adam.",
    28,
  ),
];
