import { describe, expect, it } from "vitest";
import { chooseName, findNavigatorAdapter, isSoftwareName } from "./adapters.ts";
import { explainNoVulkan, findDawnAdapter } from "./adapters.node.ts";

const RTX = "NVIDIA GeForce RTX 4090";
const IRIS = "Intel(R) Iris(R) Xe Graphics";
const SWIFT = "SwiftShader Device (Subzero)";
const anything = { software: false } as const;

describe("choosing an adapter", () => {
  it("knows the adapters that run on the CPU", () => {
    const software = [
      SWIFT,
      "llvmpipe (LLVM 19.1.7, 256 bits)",
      "Microsoft Basic Render Driver",
      "Google SwiftShader",
      "lavapipe",
    ];
    expect(software.filter((name) => !isSoftwareName(name))).toEqual([]);
    expect([RTX, IRIS, "NVIDIA H200", "Warpcore 9"].filter(isSoftwareName)).toEqual([]);
  });
  it("takes hardware first, software only when named or allowed", () => {
    expect(chooseName([SWIFT, RTX], anything)).toBe(RTX);
    expect(chooseName([SWIFT], anything)).toBeUndefined();
    expect(chooseName([SWIFT], { software: true })).toBe(SWIFT);
    expect(chooseName([RTX, SWIFT], { name: "swiftshader", software: false })).toBe(SWIFT);
  });
  it("picks among several by a part of the name, whatever its case", () => {
    expect(chooseName([RTX, IRIS], { name: "iris", software: false })).toBe(IRIS);
    expect(chooseName([RTX, IRIS], { name: "radeon", software: false })).toBeUndefined();
  });
});

describe("navigator.gpu", () => {
  const adapter = (description: string, isFallbackAdapter = false): GPUAdapter =>
    ({ info: { description, device: "", architecture: "", vendor: "", isFallbackAdapter } }) as unknown as GPUAdapter;
  const gpu = (by: (options: GPURequestAdapterOptions) => GPUAdapter | null): GPU =>
    ({ requestAdapter: async (options: GPURequestAdapterOptions) => by(options) }) as unknown as GPU;

  it("finds the second GPU by its name", async () => {
    const two = gpu(({ powerPreference }) => adapter(powerPreference === "low-power" ? IRIS : RTX));
    expect(await findNavigatorAdapter({ name: "iris", software: false }, two)).toMatchObject({ name: IRIS });
    expect(await findNavigatorAdapter(anything, two)).toMatchObject({ name: RTX, software: false });
  });
  it("believes isFallbackAdapter where the name says nothing", async () => {
    const one = gpu(() => adapter("some renderer", true));
    expect(await findNavigatorAdapter(anything, one)).toBeUndefined();
    expect(await findNavigatorAdapter({ software: true }, one)).toMatchObject({ software: true });
  });
  it("finds nothing where there is nothing", async () => {
    expect(await findNavigatorAdapter({ software: true }, undefined)).toBeUndefined();
    expect(
      await findNavigatorAdapter(
        { software: true },
        gpu(() => null),
      ),
    ).toBeUndefined();
  });
});

describe("Dawn", () => {
  it("finds an adapter by its name, and none for a name that none has", async () => {
    const any = await findDawnAdapter({ software: true });
    if (any === undefined) throw new Error((await explainNoVulkan()).join("\n"));
    const again = await findDawnAdapter({ name: any.name.toUpperCase(), software: false });
    expect(again).toMatchObject({ name: any.name, software: any.software });
    expect(await findDawnAdapter({ name: "no such GPU", software: true })).toBeUndefined();
    any.release();
    again?.release();
  });
  it("explains what was looked for: the package, the loader, driver files, kernel drivers, and what to do", async () => {
    const text = (await explainNoVulkan()).join("\n");
    for (const topic of [/Dawn/, /adapters:/, /Vulkan loader/, /Vulkan driver/, /kernel driver/, /--backend wasm/]) {
      expect(text).toMatch(topic);
    }
  });
});
