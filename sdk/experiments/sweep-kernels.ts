/**
 * The kernels of a sweep by their names: `ntk2`, `rf2`, `ntk3` (the NTK of three layers), `poly4` with every constant of
 * a list, `rbf:28` and `laplace:28` of a bandwidth, `arccos2:3` of an order and a depth, and architectures: `myrtle5:ntk`,
 * `net.json:nngp`. Each has its grid of ridges.
 */
import { closest, distance } from "fastest-levenshtein";
import { dense, flatten, relu, serial, type Arch } from "../arch/arch.ts";
import type { KernelSpec } from "../arch/kernel-spec.ts";
import { closedKernel } from "../covariance/closed-kernel.ts";
import { WidefieldError } from "../errors.ts";
import { paperLambdas, PAPER_CONSTANTS } from "./krr-lambdas.ts";

/** One kernel of a sweep, all its parameters fixed. */
export interface SweepKernel {
  /** Part of a file's name: "poly2-c0.125". */
  readonly name: string;
  /** Kernels of one line differ in a parameter, of which the best counts. */
  readonly line: string;
  readonly kernel: KernelSpec;
  readonly lambdas: readonly number[];
}

/** Six kernels of Ghorbani et al. 2020 that need no convolution. */
export const PAPER_KERNELS = "rf2,ntk2,ntk3,poly2,poly3,poly4";

export interface SweepKernelOptions {
  /** Named as on the command line: "fmnist-hf". It has a grid of the paper's. */
  readonly problem: string;
  /** In place of the paper's grid. */
  readonly lambdas?: readonly number[] | undefined;
  /** Of polynomials; default: the paper's ten. */
  readonly constants?: readonly number[] | undefined;
  /** What a name stands for that is no kernel in closed form: a preset's, or a file's. */
  readonly openArch: (name: string) => Promise<Arch>;
}

/**
 * Kernels from a list of names. Throws E_CONFIG for names that stand for nothing, and for kernels that would share the
 * name of a cell: given twice, with equal constants, or from files of one name.
 */
export async function sweepKernels(names: string, options: SweepKernelOptions): Promise<SweepKernel[]> {
  const list = names.split(",").map((name) => name.trim());
  const twice = list.find((name, at) => list.indexOf(name) !== at);
  if (twice !== undefined) throw new WidefieldError("E_CONFIG", `kernels "${names}": ${twice} is there twice`);
  const kernels: SweepKernel[] = [];
  for (const name of list) kernels.push(...(await kernelsOf(name, options)));
  requireNames(kernels.map(({ name }) => name));
  return kernels;
}

/** Names are files' names: they have to differ where upper and lower case are one, too. Throws E_CONFIG. */
export function requireNames(names: readonly string[]): void {
  const folded = names.map((name) => name.toLowerCase());
  const again = folded.findIndex((name, at) => folded.indexOf(name) !== at);
  if (again < 0) return;
  const name = names[again] ?? "";
  throw new WidefieldError(
    "E_CONFIG",
    `two kernels of the sweep are named ${name}, and one would overwrite the other: leave one of them out, or give ` +
      "their files other names",
    { details: { name } },
  );
}

async function kernelsOf(name: string, options: SweepKernelOptions): Promise<SweepKernel[]> {
  const { problem, constants = PAPER_CONSTANTS, openArch } = options;
  const lambdas = options.lambdas ?? paperLambdas(problem, name === "ntk3");
  if (name === "ntk2" || name === "rf2") return [{ name, line: name, kernel: { name }, lambdas }];
  if (name === "ntk3")
    return [{ name, line: name, kernel: { name: "arch", arch: threeLayers(), kind: "ntk" }, lambdas }];
  const degree = /^poly([1-9]\d?)$/.exec(name)?.[1];
  if (degree !== undefined) {
    const short = constants.map((constant) => Number(constant.toPrecision(4)));
    return constants.map((constant, at) => ({
      name: `${name}-c${short.filter((other) => other === short[at]).length === 1 ? short[at] : constant}`,
      line: name,
      kernel: closedKernel("poly", { degree: Number(degree), constant }),
      lambdas,
    }));
  }
  const closed = parametrised(name);
  if (closed !== undefined) return [{ name: safe(name.replace(":", "-")), line: name, kernel: closed, lambdas }];
  const [, file = "", kind] = /^(.+):(nngp|ntk)$/.exec(name) ?? [];
  if (kind !== "nngp" && kind !== "ntk")
    throw new WidefieldError(
      "E_CONFIG",
      `kernels: "${name}" is none of ntk2, rf2, ntk3, poly1 .. poly99, rbf:BANDWIDTH, laplace:BANDWIDTH, arccosORDER:DEPTH ` +
        `(arccos1:2) and ARCHITECTURE:nngp or :ntk (myrtle5:ntk)${suggestion(name)}`,
    );
  const kernel = { name: "arch", arch: await openArch(file), kind } as const;
  const short = safe((file.split(/[/\\]/).at(-1) ?? file).replace(/\.json$/, ""));
  return [{ name: `${short}-${kind}`, line: `${short} ${kind}`, kernel, lambdas }];
}

/** As part of a file's name. */
function safe(name: string): string {
  return name.replaceAll(/[^\w.+-]/g, "_");
}

const EXAMPLES = ["ntk2", "rf2", "ntk3", "poly2", "rbf:28", "laplace:28", "arccos1:2"];

/** The nearest name, where one is near. */
function suggestion(name: string): string {
  const head = (text: string) => text.split(":")[0] ?? text;
  const wanted = head(name.toLowerCase());
  const nearest = closest(wanted, EXAMPLES.map(head));
  const example = EXAMPLES.find((text) => head(text) === nearest);
  if (example === undefined || wanted === "" || distance(wanted, nearest) > Math.max(1, nearest.length / 2)) return "";
  return `; did you mean "${example}"?`;
}

/** Kernels whose parameters stand in their names; undefined for other names. Throws E_CONFIG for parameters out of range. */
function parametrised(name: string): KernelSpec | undefined {
  const [, radial, bandwidth] = /^(rbf|laplace):(.+)$/.exec(name) ?? [];
  if (radial === "rbf" || radial === "laplace") return closedKernel(radial, { bandwidth: Number(bandwidth) });
  const [, order, depth = "1"] = /^arccos(\d)(?::(\d+))?$/.exec(name) ?? [];
  return order === undefined ? undefined : closedKernel("arccos", { order: Number(order), depth: Number(depth) });
}

/** Fully connected, relu, two hidden layers, without biases, as neural-tangents has it by default: variance 1. */
function threeLayers(): Arch {
  return serial(flatten(), dense(), relu(), dense(), relu(), dense());
}
