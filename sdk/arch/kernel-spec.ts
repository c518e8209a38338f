/**
 * Which kernel: that of an architecture's infinitely wide network, or one in closed form. A spec is what the command
 * line names, what experiments take, and, as JSON, what a store's manifest says.
 */
import type { ClosedKernel } from "../covariance/closed-kernel.ts";
import { archToJson, type Arch } from "./arch.ts";

/** The covariance of the outputs of the infinite network, or of their gradients (Jacot et al. 2018). */
export type KernelKind = "nngp" | "ntk";

/**
 * How weights become parameters (Sohl-Dickstein et al. 2020): "ntk" draws them from N(0, 1) and scales their products,
 * so that every layer learns alike at any width; "standard" draws them from N(0, variance / fan-in), and needs widths.
 */
export type Parametrisation = "ntk" | "standard";

export interface ArchKernel {
  readonly name: "arch";
  readonly arch: Arch;
  readonly kind: KernelKind;
  /** Of the NTK; default "ntk". */
  readonly parametrisation?: Parametrisation | undefined;
}

export type KernelSpec = ArchKernel | ClosedKernel;

/** With every default written out: equal kernels have equal JSON, and others have another. */
export function kernelToJson(spec: KernelSpec): Readonly<Record<string, unknown>> {
  if (spec.name !== "arch") return { ...spec };
  const { arch, kind, parametrisation = "ntk" } = spec;
  return kind === "nngp" ? archToJson(arch) : { kind, parametrisation, arch: archToJson(arch) };
}

/** The NNGP of an architecture: what a Gaussian process is made of. */
export function nngp(arch: Arch): ArchKernel {
  return { name: "arch", arch, kind: "nngp" };
}
