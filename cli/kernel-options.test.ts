import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { archToJson } from "../sdk/arch/arch.ts";
import { kernelToJson, type KernelSpec } from "../sdk/arch/kernel-spec.ts";
import { preset } from "../sdk/arch/presets.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { addKernelOptions, kernelFromOptions, type KernelOptions } from "./kernel-options.ts";

/** The kernel of a command line. */
async function parse(line: string): ReturnType<typeof kernelFromOptions> {
  const command = addKernelOptions(new Command("test"));
  command.parse(line.split(" ").filter(Boolean), { from: "user" });
  return kernelFromOptions(command.opts<KernelOptions>());
}

async function refusal(line: string): Promise<string> {
  const error = await parse(line).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(WidefieldError);
  return (error as WidefieldError).message;
}

describe("the kernel of a command line", () => {
  it("is one in closed form, with its parameters or their defaults", async () => {
    expect(await parse("--kernel ntk2")).toEqual({ name: "ntk2" });
    expect(await parse("--kernel rf2")).toEqual({ name: "rf2" });
    expect(await parse("--kernel poly --degree 3")).toEqual({ name: "poly", degree: 3, constant: 1 });
    expect(await parse("--kernel poly --degree 2 --constant 0.125")).toEqual({
      name: "poly",
      degree: 2,
      constant: 0.125,
    });
    expect(await parse("--kernel rbf --bandwidth 2.5")).toEqual({ name: "rbf", bandwidth: 2.5 });
    expect(await parse("--kernel laplace --bandwidth 1e3")).toEqual({ name: "laplace", bandwidth: 1000 });
    expect(await parse("--kernel arccos --order 0 --depth 4")).toEqual({ name: "arccos", order: 0, depth: 4 });
    expect(await parse("--kernel rf --width 4194304 --kernel-seed 7")).toEqual({ name: "rf", width: 4194304, seed: 7 });
  });

  it("without --kernel is an architecture's", async () => {
    const spec = await parse("--arch resnet32-gp --kind ntk");
    if (spec.name !== "arch") throw new Error("an architecture was named");
    expect(spec.kind).toBe("ntk");
    expect(archToJson(spec.arch)).toEqual(archToJson(preset("resnet32-gp")));
    expect(await parse("")).toMatchObject({ name: "arch", kind: "nngp" });
  });

  it("is a tangent kernel in the standard parametrisation where that is asked for, and no other kernel is", async () => {
    expect(await parse("--kind ntk --parametrisation standard")).toMatchObject({ parametrisation: "standard" });
    expect(await refusal("--parametrisation standard")).toMatch(/of tangent kernels: give --kind ntk too/);
    expect(await refusal("--kernel ntk2 --parametrisation ntk")).toMatch(/^--parametrisation is of an architecture's/);
  });

  it("tells kernels apart in JSON: kinds and parametrisations of one architecture, too", () => {
    const arch = preset("lenet-like");
    const specs: KernelSpec[] = [
      { name: "arch", arch, kind: "nngp" },
      { name: "arch", arch, kind: "ntk" },
      { name: "arch", arch, kind: "ntk", parametrisation: "standard" },
      { name: "rf2" },
    ];
    expect(new Set(specs.map((spec) => JSON.stringify(kernelToJson(spec)))).size).toBe(specs.length);
  });

  it("suggests the nearest name for an unknown one", async () => {
    expect(await refusal("--kernel nkt2")).toMatch(/no kernel is named "nkt2".*did you mean "ntk2"\?/);
    expect(await refusal("--kernel Laplace2")).toMatch(/did you mean "laplace"\?/);
    expect(await refusal("--kernel constructor")).toMatch(/no kernel is named/);
  });

  it("has no parameters of another kernel", async () => {
    expect(await refusal("--kernel ntk2 --degree 3")).toBe(
      "--degree is of another kernel: --kernel ntk2 takes no parameters",
    );
    expect(await refusal("--kernel poly --degree 3 --bandwidth 1")).toMatch(
      /--kernel poly takes --degree and --constant/,
    );
    expect(await refusal("--degree 3")).toMatch(/name it with --kernel/);
    expect(await refusal("--kernel ntk2 --arch lenet-like")).toMatch(/^--arch is of an architecture's kernel/);
    expect(await refusal("--kernel ntk2 --kind ntk")).toMatch(/^--kind is of an architecture's kernel/);
  });

  it("has all its parameters, each in its range", async () => {
    expect(await refusal("--kernel poly")).toBe("--kernel poly needs --degree");
    expect(await refusal("--kernel rbf")).toBe("--kernel rbf needs --bandwidth");
    expect(await refusal("--kernel poly --degree 0")).toBe(
      "kernel poly: degree is a whole number from 1 to 100, not 0",
    );
    expect(await refusal("--kernel poly --degree 2.5")).toMatch(/--degree is a whole number, not "2.5"/);
    expect(await refusal("--kernel poly --degree 2 --constant=-1")).toMatch(/constant is a number from 0 on, not -1/);
    expect(await refusal("--kernel laplace --bandwidth 0")).toMatch(/bandwidth is a number above 0, not 0/);
    expect(await refusal("--kernel rbf --bandwidth wide")).toMatch(/--bandwidth is a number, not "wide"/);
    expect(await refusal("--kernel arccos --order 3")).toMatch(/order is a whole number from 0 to 2, not 3/);
    expect(await refusal("--kernel arccos --depth 0")).toMatch(/depth is a whole number from 1 to 100, not 0/);
    expect(await refusal("--kernel rf --width 0")).toMatch(/width is a whole number from 1 to 4194304, not 0/);
    expect(await refusal("--kernel rf --width 5000000000")).toMatch(/from 1 to 4194304, not 5000000000/);
  });
});
