/**
 * The kernels of a sweep by their names: `ntk2`, `rf2`, `ntk3` (the NTK of three layers), `poly4` with every constant of
 * a list, `rbf:28` and `laplace:28` of a bandwidth, `arccos2:3` of an order and a depth, and architectures: `myrtle5:ntk`,
 * `net.json:nngp`. Each has its grid of ridges.
 */
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

/** Kernels from a list of names. Throws E_CONFIG for names that stand for nothing, and for those given twice. */
export async function sweepKernels(names: string, options: SweepKernelOptions): Promise<SweepKernel[]> {
  const list = names.split(",").map((name) => name.trim());
  const twice = list.find((name, at) => list.indexOf(name) !== at);
  if (twice !== undefined) throw new WidefieldError("E_CONFIG", `kernels "${names}": ${twice} is there twice`);
  const kernels: SweepKernel[] = [];
  for (const name of list) kernels.push(...(await kernelsOf(name, options)));
  return kernels;
}

async function kernelsOf(name: string, options: SweepKernelOptions): Promise<SweepKernel[]> {
  const { problem, constants = PAPER_CONSTANTS, openArch } = options;
  const lambdas = options.lambdas ?? paperLambdas(problem, name === "ntk3");
  if (name === "ntk2" || name === "rf2") return [{ name, line: name, kernel: { name }, lambdas }];
  if (name === "ntk3")
    return [{ name, line: name, kernel: { name: "arch", arch: threeLayers(), kind: "ntk" }, lambdas }];
  const degree = /^poly([1-9]\d?)$/.exec(name)?.[1];
  if (degree !== undefined)
    return constants.map((constant) => ({
      name: `${name}-c${Number(constant.toPrecision(4))}`,
      line: name,
      kernel: { name: "poly", degree: Number(degree), constant },
      lambdas,
    }));
  const closed = parametrised(name);
  if (closed !== undefined) return [{ name: name.replace(":", "-"), line: name, kernel: closed, lambdas }];
  const [, file = "", kind] = /^(.+):(nngp|ntk)$/.exec(name) ?? [];
  if (kind !== "nngp" && kind !== "ntk")
    throw new WidefieldError(
      "E_CONFIG",
      `kernels: "${name}" is none of ntk2, rf2, ntk3, poly1 .. poly99, rbf:BANDWIDTH, laplace:BANDWIDTH, arccosORDER:DEPTH ` +
        `(arccos1:2) and ARCHITECTURE:nngp or :ntk (myrtle5:ntk)`,
    );
  const kernel = { name: "arch", arch: await openArch(file), kind } as const;
  const short = (file.split(/[/\\]/).at(-1) ?? file).replace(/\.json$/, "").replaceAll(/[^\w.+-]/g, "_");
  return [{ name: `${short}-${kind}`, line: `${short} ${kind}`, kernel, lambdas }];
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
