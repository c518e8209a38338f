/**
 * Kernels in closed form, and that of a finite random-feature model: what there is, and with which parameters. Of inputs
 * x and z in R^d, with c the cosine between them.
 */
import { closest, distance } from "fastest-levenshtein";
import { WidefieldError } from "../errors.ts";

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

/**
 * Cho & Saul 2009, eq. 1: the arc-cosine kernel of an order 0, 1 or 2, of depth 1; above that composed, as in section 2.3.
 *
 * Of order 0 each further depth takes a root of the angle and of its rounding. Between inputs that are parallel up to
 * rounding (x and 1.3 x) float32 is off by 7e-5 at depth 2, 4e-3 at depth 3 and 3e-2 at depth 4. Of float32 inputs float64
 * has the kernel to 1e-9; of float64 inputs, parallel to 1e-16, it is itself off by 1e-8, 5e-5 and 3e-3.
 */
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

/** What a parameter of a kernel may be. */
interface Limits {
  readonly whole: boolean;
  readonly least: number;
  readonly most: number;
  /** `least` itself is not allowed. */
  readonly open?: true;
}

/** 4.2 million: 2,048 blocks of 2,048 features. */
const FEATURES = { whole: true, least: 1, most: 2 ** 22 } as const;
const LENGTH = { whole: false, least: 0, most: Number.MAX_VALUE, open: true } as const;

/** The kernels by name, with what their parameters may be. */
const KERNELS = {
  ntk2: {},
  rf2: {},
  // Beyond a hundred the power is a threshold; a negative constant may make matrices indefinite.
  poly: { degree: { whole: true, least: 1, most: 100 }, constant: { whole: false, least: 0, most: Number.MAX_VALUE } },
  rbf: { bandwidth: LENGTH },
  laplace: { bandwidth: LENGTH },
  arccos: { order: { whole: true, least: 0, most: 2 }, depth: { whole: true, least: 1, most: 100 } },
  rf: { width: FEATURES, seed: { whole: true, least: 0, most: Number.MAX_SAFE_INTEGER } },
} as const satisfies Readonly<Record<ClosedKernel["name"], Readonly<Record<string, Limits>>>>;

export const closedKernelNames = Object.keys(KERNELS) as readonly ClosedKernel["name"][];

/** The names of a kernel's parameters. */
export function parametersOf(name: ClosedKernel["name"]): readonly string[] {
  return Object.keys(KERNELS[name]);
}

/** Whether a name is one of `closedKernelNames`. */
export function isClosedKernel(name: string): name is ClosedKernel["name"] {
  return Object.hasOwn(KERNELS, name);
}

/** The kernel of a name with these parameters. Throws E_CONFIG for a name or a parameter that cannot be meant. */
export function closedKernel(
  name: string,
  parameters: Readonly<Record<string, number | undefined>> = {},
): ClosedKernel {
  if (!isClosedKernel(name)) throw unknownKernel(name);
  const limits: Readonly<Record<string, Limits>> = KERNELS[name];
  for (const [parameter, value] of Object.entries(parameters)) {
    if (value === undefined || Object.hasOwn(limits, parameter)) continue;
    const own = Object.keys(limits);
    const has = own.length === 0 ? "it has no parameters" : `it has ${own.join(" and ")}`;
    throw new WidefieldError("E_CONFIG", `kernel ${name} has no ${parameter}: ${has}`);
  }
  const values = Object.entries(limits).map(([parameter, limit]) => {
    return [parameter, checkedParameter(name, parameter, parameters[parameter], limit)] as const;
  });
  // Every parameter that the kernel of this name has is there, and is a number of its kind.
  return { name, ...Object.fromEntries(values) } as unknown as ClosedKernel;
}

function checkedParameter(kernel: string, name: string, value: number | undefined, limits: Limits): number {
  const { whole, least, most, open = false } = limits;
  const kind = whole ? "whole number" : "number";
  const range = most > 1e9 ? `${open ? "above" : "from"} ${least}${open ? "" : " on"}` : `from ${least} to ${most}`;
  if (value === undefined)
    throw new WidefieldError("E_CONFIG", `kernel ${kernel} needs its ${name}, a ${kind} ${range}`);
  const fits = (whole ? Number.isSafeInteger(value) : Number.isFinite(value)) && value >= least && value <= most;
  if (fits && !(open && value === least)) return value;
  throw new WidefieldError("E_CONFIG", `kernel ${kernel}: ${name} is a ${kind} ${range}, not ${value}`);
}

/** A name that is none, with the nearest that is. */
function unknownKernel(name: string): WidefieldError {
  const names = closedKernelNames;
  const nearest = closest(name.toLowerCase(), names);
  const near = distance(name.toLowerCase(), nearest) <= Math.max(1, nearest.length / 2);
  const guess = near ? `; did you mean "${nearest}"?` : "";
  return new WidefieldError("E_CONFIG", `no kernel is named "${name}" (there are ${names.join(", ")})${guess}`, {
    details: { name, names },
  });
}
