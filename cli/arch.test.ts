/** `widefield arch` in a process of its own. */
import { writeFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { presetNames, trainablePresetNames } from "../sdk/arch/presets.ts";
import { widefield, workspace } from "../test/cli/run.ts";

const folder = workspace();

interface Shown {
  readonly name: string;
  readonly input: number[];
  readonly layers: readonly { readonly depth: number; readonly title: string; readonly shape: (number | "any")[] }[];
  readonly steps: readonly unknown[];
  readonly liveMaps: number;
  readonly cost: { readonly operations: number; readonly nonlinearities: number; readonly mapBytes: number };
}

describe("arch show", () => {
  it("gives every preset's layers, shapes, live maps, bytes and operations", async () => {
    for (const name of presetNames) {
      const { code, stdout } = await widefield("arch", "show", name);
      expect(code).toBe(0);
      expect(stdout).toMatch(/^[\w-]+ on inputs of \d+ x \d+ x \d+\n\nserial of/);
      expect(stdout).toMatch(/live maps\s+[12] of \d+ pixels at most, \d+\.\d+ KiB a pair/);
      expect(stdout).toMatch(/operations\s+[\d,]+ a pair, with [\d,]+ nonlinearities/);
    }
  });

  it("gives the layers and parameters of a network that is trained, and says that it has no kernel", async () => {
    const { code, stdout } = await widefield("arch", "show", "convnet4");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^convnet4 on inputs of 3 x 32 x 32\n\nserial of 10 layers/);
    expect(stdout).toMatch(/\n4,259,274 parameters\n\nmaxPool 2x2 has no kernel: /);
  });

  it("as JSON is one object, whose architecture can be given back as a file", async () => {
    const { stdout } = await widefield("arch", "show", "resnet32-gp", "--json");
    const shown = JSON.parse(stdout) as Shown & { arch: unknown };
    expect(shown).toMatchObject({ name: "resnet32-gp", input: [1, 28, 28], liveMaps: 2 });
    for (const { shape } of shown.layers)
      for (const size of shape) expect(size === "any" || size > 0, shape.join()).toBe(true);
    expect(shown.layers[1]?.shape).toEqual(["any", 7, 7]);
    // Stages of 28, 14 and 7 pixels: relus before and within each block, and one behind the 7 x 7 convolution.
    expect(shown.cost.nonlinearities).toBe(10 * 784 + (784 + 9 * 196) + (196 + 9 * 49) + 1);
    await writeFile(folder.path("resnet.json"), JSON.stringify(shown.arch));
    const again = await widefield("arch", "show", folder.path("resnet.json"), "--json", "--input", "1x28x28");
    expect((JSON.parse(again.stdout) as Shown).cost).toEqual(shown.cost);
  });

  it("takes other inputs, and names the layer that they do not fit", async () => {
    const wide = await widefield("arch", "show", "convnet-gp", "--input", "3x40x30", "--steps");
    expect(wide.stdout).toMatch(/conv 7x7\s+0 > 0\s+40 x 30/);
    const small = await widefield("arch", "show", "resnet32-gp", "--input", "1x12x12");
    expect(small.code).toBe(1);
    expect(small.stderr).toMatch(
      /architecture\.layers\[1\] \(conv 7x7 valid\): a filter that is 7 pixels high does not fit/,
    );
    const bad = await widefield("arch", "show", "convnet-gp", "--input", "28x28");
    expect(bad.stderr).toMatch(/--input 28x28: write CHANNELSxHEIGHTxWIDTH/);
  });

  it("shows variances, proportions and dilations", async () => {
    const arch = {
      type: "serial",
      layers: [
        { type: "conv", filter: 3, dilation: 2, weightVariance: 5, biasVariance: 0.1 },
        { type: "mixture", proportions: [0.25, 0.75], layers: [{ type: "relu", sqrt2: true }, { type: "erf" }] },
        { type: "flatten" },
        { type: "dense", weightVariance: 2.5 },
      ],
    };
    await writeFile(folder.path("settings.json"), JSON.stringify(arch));
    const { stdout } = await widefield("arch", "show", folder.path("settings.json"));
    expect(stdout).toMatch(/conv 3x3 dilation 2x2 same\s+any x 28 x 28\s+weights 5, biases 0\.1\n/);
    expect(stdout).toMatch(/mixture of 2 branches\s+any x 28 x 28\s+proportions 0\.25, 0\.75\n/);
    expect(stdout).toMatch(/relu times sqrt 2/);
    expect(stdout).toMatch(/dense\s+any features\s+weights 2\.5\s/);
  });

  it("suggests the nearest preset", async () => {
    const { code, stderr } = await widefield("arch", "show", "restnet32-gp");
    expect(code).toBe(1);
    expect(stderr).toMatch(/no preset "restnet32-gp"; did you mean "resnet32-gp"\?/);
  });
});

it("arch list names every preset", async () => {
  const { stdout } = await widefield("arch", "list");
  for (const name of [...presetNames, ...trainablePresetNames]) expect(stdout).toContain(name);
});
