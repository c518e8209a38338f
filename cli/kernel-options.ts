/** From what the command line names to a kernel: one in closed form, or that of an architecture. */
import { type Command, Option } from "commander";
import type { KernelKind, KernelSpec, Parametrisation } from "../sdk/arch/kernel-spec.ts";
import { presetNames } from "../sdk/arch/presets.ts";
import { closedKernel, closedKernelNames, parametersOf, isClosedKernel } from "../sdk/covariance/closed-kernel.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { openArch } from "./inputs.ts";
import { wholeNumber } from "./session.ts";

export interface KernelOptions {
  readonly kernel?: string;
  readonly arch?: string;
  readonly kind?: KernelKind;
  readonly parametrisation?: Parametrisation;
  readonly degree?: string;
  readonly constant?: string;
  readonly bandwidth?: string;
  readonly order?: string;
  readonly depth?: string;
  readonly width?: string;
  readonly kernelSeed?: string;
}

/** Where nothing is named. */
export const DEFAULT_ARCH = "convnet-gp";

/** For commands that do not take `addDataOptions`, whose --arch has a default of its own. */
export function addKernelOptions(command: Command): Command {
  return command
    .option("--kernel <name>", `a kernel in closed form: ${closedKernelNames.join(", ")}`)
    .option(
      "--arch <name|file>",
      `without --kernel: the architecture, ${presetNames.join(", ")}, or a JSON file (default: "${DEFAULT_ARCH}")`,
    )
    .addOption(
      new Option("--kind <name>", "of an architecture: covariance of outputs, or of gradients (default: nngp)").choices(
        ["nngp", "ntk"],
      ),
    )
    .addOption(
      new Option(
        "--parametrisation <name>",
        "of an NTK (default: ntk); standard needs the widths of all layers",
      ).choices(["ntk", "standard"]),
    )
    .option("--degree <n>", "of poly, (constant + x.z / sqrt(d))^degree")
    .option("--constant <x>", "of poly (default: 1)")
    .option("--bandwidth <x>", "of rbf, exp(-|x - z|^2 / (2 bandwidth^2)), and laplace, exp(-|x - z| / bandwidth)")
    .option("--order <0|1|2>", "of arccos (default: 1)")
    .option("--depth <n>", "of arccos: layers, 1 for the kernel itself (default: 1)")
    .option("--width <n>", "of rf: random features, up to 4.2 million")
    .option("--kernel-seed <n>", "of rf: the seed of its weights (default: 0)");
}

/** A parameter's option, its value where neither is given, and how it is read. */
const PARAMETERS = {
  degree: { option: "degree", flag: "--degree", read: wholeNumber, value: undefined },
  constant: { option: "constant", flag: "--constant", read: anyNumber, value: 1 },
  bandwidth: { option: "bandwidth", flag: "--bandwidth", read: anyNumber, value: undefined },
  order: { option: "order", flag: "--order", read: wholeNumber, value: 1 },
  depth: { option: "depth", flag: "--depth", read: wholeNumber, value: 1 },
  width: { option: "width", flag: "--width", read: wholeNumber, value: undefined },
  seed: { option: "kernelSeed", flag: "--kernel-seed", read: wholeNumber, value: 0 },
} as const;

/**
 * The kernel that the options name: of --kernel with its parameters, else of --arch and --kind. Throws E_CONFIG for
 * unknown names, with the nearest, for parameters out of range, and for those of another kernel.
 */
export async function kernelFromOptions(options: KernelOptions): Promise<KernelSpec> {
  const { kernel, kind, parametrisation } = options;
  const given = Object.entries(PARAMETERS).filter(([, { option }]) => options[option] !== undefined);
  if (kernel === undefined) {
    const stray = given[0]?.[1].flag;
    if (stray !== undefined)
      throw new WidefieldError("E_CONFIG", `${stray} belongs to a kernel in closed form: name it with --kernel`);
    if (parametrisation !== undefined && kind !== "ntk")
      throw new WidefieldError("E_CONFIG", "--parametrisation is of tangent kernels: give --kind ntk too");
    return { name: "arch", arch: await openArch(options.arch ?? DEFAULT_ARCH), kind: kind ?? "nngp", parametrisation };
  }
  // An unknown name is told first, whatever else is wrong.
  const name = isClosedKernel(kernel) ? kernel : closedKernel(kernel).name;
  for (const [flag, value] of [
    ["--arch", options.arch],
    ["--kind", kind],
    ["--parametrisation", parametrisation],
  ] as const) {
    if (value !== undefined)
      throw new WidefieldError("E_CONFIG", `${flag} is of an architecture's kernel, and --kernel ${name} has none`);
  }
  const own = parametersOf(name);
  const stray = given.find(([parameter]) => !own.includes(parameter))?.[1].flag;
  if (stray !== undefined) {
    const flags = Object.entries(PARAMETERS).filter(([parameter]) => own.includes(parameter));
    const takes = flags.length === 0 ? "no parameters" : flags.map(([, { flag }]) => flag).join(" and ");
    throw new WidefieldError("E_CONFIG", `${stray} is of another kernel: --kernel ${name} takes ${takes}`);
  }
  const values = Object.entries(PARAMETERS)
    .filter(([parameter]) => own.includes(parameter))
    .map(([parameter, { option, flag, read, value }]): [string, number | undefined] => {
      const text = options[option];
      if (text === undefined && value === undefined)
        throw new WidefieldError("E_CONFIG", `--kernel ${name} needs ${flag}`);
      return [parameter, text === undefined ? value : read(flag, text)];
    });
  return closedKernel(name, Object.fromEntries(values));
}

function anyNumber(name: string, text: string): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (Number.isFinite(value)) return value;
  throw new WidefieldError("E_CONFIG", `${name} is a number, not "${text}"`);
}
