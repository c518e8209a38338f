/** Networks that are trained: their parameters, their JSON, and that they have no kernel. */
import { expect, it } from "vitest";
import { WidefieldError } from "../errors.ts";
import { abs, archToJson, avgPool, batchNorm, cabs, clippedRelu, compile, conv, dense, dropout, elu } from "./arch.ts";
import { flatten, hardTanh, maxPool, relu, serial, sigmoid, softplus, staircase, tanh, threshold } from "./arch.ts";
import type { Arch } from "./arch.ts";
import { describeArch, parameterCount } from "./describe.ts";
import { archFromJson } from "./json.ts";
import { trainableArch, trainableNames } from "./trainable.ts";
import { preset, presetEntry, trainablePresetNames } from "./presets.ts";

const MNIST = [1, 28, 28] as const;
const CIFAR = [3, 32, 32] as const;
const IMAGENET = [3, 224, 224] as const;

function refusal(work: () => unknown): WidefieldError {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof WidefieldError) return thrown;
    throw thrown;
  }
  throw new Error("nothing was thrown");
}

it("convnet4 has the parameters of 5 x 5 and 5 x 5 convolutions and two dense layers", () => {
  const cifar = 2_432 + 51_264 + 4_195_328 + 10_250;
  expect(parameterCount(trainableArch("convnet4", { input: CIFAR }), CIFAR)).toBe(cifar);
  const normed = trainableArch("convnet4", { input: CIFAR, batchNorm: true });
  expect(parameterCount(normed, CIFAR)).toBe(cifar + 2 * 64 + 2 * 1024);
  // 28 + 6 - 4 = 30, halved 15, halved 7: 64 x 7 x 7 numbers.
  const mnist = 832 + 51_264 + (64 * 49 * 1024 + 1024) + 10_250;
  expect(parameterCount(trainableArch("convnet4", { input: MNIST }), MNIST)).toBe(mnist);
});

it("convnet8 has the same convolutions for 32 and 40 pixels, and the read-out's window of what is left", () => {
  const threes = 9 * (48 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 128);
  const scales = 2 * (64 + 64 + 3 * 128 + 512);
  for (const [side, window] of [
    [32, 4],
    [40, 5],
  ] as const) {
    const input = [3, side, side] as const;
    const rest = 75 * 48 + 48 + threes + window ** 2 * 128 * 512 + 512 * 10 + 10;
    expect(parameterCount(trainableArch("convnet8", { input }), input)).toBe(rest + scales);
    const plain = trainableArch("convnet8", { input, batchNorm: false });
    expect(parameterCount(plain, input)).toBe(rest + scales / 2); // a bias in place of a scale and a shift
  }
});

it("alexnet_drf has 9216-4096-4096-1000 behind its convolutions, and one bias", () => {
  const convolutions = 144 * 3 * 96 + 25 * 96 * 256 + 9 * (256 * 384 + 384 * 384 + 384 * 256);
  const scales = 2 * (256 + 384 + 384 + 256 + 4096 + 4096);
  const fully = 9216 * 4096 + 4096 * 4096 + 4096 * 1000 + 1000;
  const arch = trainableArch("alexnet_drf", { input: IMAGENET, classes: 1000 });
  expect(parameterCount(arch, IMAGENET)).toBe(convolutions + scales + fully);
});

it("resnet18 has torchvision's parameters for ImageNet, and a 3 x 3 stem for CIFAR", () => {
  const block = (from: number, to: number): number =>
    9 * from * to + 9 * to * to + 4 * to + (from === to ? 0 : from * to + 2 * to);
  const stages = [64, 128, 256, 512].reduce((sum, to, i) => sum + block(i === 0 ? 64 : to / 2, to) + block(to, to), 0);
  const imagenet = 49 * 3 * 64 + 128 + stages + 512 * 1000 + 1000;
  expect(imagenet).toBe(11_689_512);
  expect(parameterCount(trainableArch("resnet18", { input: IMAGENET, classes: 1000 }), IMAGENET)).toBe(imagenet);
  const cifar = 9 * 3 * 64 + 128 + stages + 512 * 10 + 10;
  const arch = trainableArch("resnet18", { input: { channels: 3, height: 32, width: 32 } });
  expect(parameterCount(arch, CIFAR)).toBe(cifar);
});

it("the activation stands in place of every nonlinearity", () => {
  for (const name of trainableNames) {
    const input = name === "alexnet_drf" ? IMAGENET : CIFAR;
    const text = JSON.stringify(archToJson(trainableArch(name, { input, activation: threshold({ low: -1 }) })));
    expect(text).not.toContain('"relu"');
    const count = text.split('"threshold"').length - 1;
    expect(count, name).toBe({ convnet4: 3, convnet8: 7, alexnet_drf: 7, resnet18: 17 }[name]);
  }
});

it("names and sizes that there are not are refused with those that there are", () => {
  expect(refusal(() => trainableArch("vgg", { input: CIFAR }))).toMatchObject({
    code: "E_CONFIG",
    message: expect.stringMatching(/"vgg": there are convnet4, convnet8, alexnet_drf, resnet18/) as string,
  });
  expect(refusal(() => trainableArch("convnet8", { input: MNIST })).message).toMatch(/40 x 40 or 32 x 32.*28 x 28/);
  expect(refusal(() => trainableArch("alexnet_drf", { input: CIFAR })).message).toMatch(/224 x 224.*32 x 32/);
  expect(refusal(() => trainableArch("convnet4", { input: [784] })).code).toBe("E_SHAPE");
  expect(refusal(() => trainableArch("resnet18", { input: CIFAR, batchNorm: false })).message).toMatch(
    /resnet18 has batch norm.*batchNorm/,
  );
});

const layers: readonly Arch[] = [
  batchNorm({ epsilon: 1e-4 }),
  maxPool({ window: 3, stride: 2, padding: 1 }),
  dropout({ rate: 0.25, perChannel: true }),
  ...[elu({ alpha: 0.5 }), sigmoid(), softplus(), tanh(), hardTanh(), clippedRelu({ max: 2 }), cabs()],
  ...[threshold({ low: -1, backward: "SoftHinge" }), staircase({ steps: 3 })],
];

it.each(layers.map((layer): [string, Arch] => [layer.type, layer]))(
  "%s is the same after a way through JSON",
  (_, layer) => {
    expect(archToJson(archFromJson(JSON.stringify(archToJson(layer))))).toEqual(archToJson(layer));
  },
);

it.each(layers.map((layer): [string, Arch] => [layer.type, layer]))(
  "%s has no kernel, and says so by name",
  (type, layer) => {
    const arch = serial(conv({ filter: 3 }), layer, flatten(), dense());
    const { code, message } = refusal(() => compile(arch, CIFAR));
    expect(code).toBe("E_CONFIG");
    expect(message).toMatch(
      new RegExp(`^${type}\\b.* has no kernel: .* relu, leakyRelu, abs, step, erf and resnet have`),
    );
  },
);

it("what has no kernel is described by its layers and its parameters", () => {
  for (const name of trainablePresetNames) {
    const { input } = presetEntry(name);
    const description = describeArch(preset(name), input);
    expect("noKernel" in description && description.noKernel).toMatch(/has no kernel/);
    expect(description.parameters).toBeGreaterThan(0);
    expect(description.layers.at(-1)?.shape).toEqual([input[1] === 224 ? 1000 : 10]);
  }
  const open = describeArch(serial(conv({ filter: 3 }), abs(), flatten(), dense()), CIFAR);
  expect(open).not.toHaveProperty("parameters");
  expect(open).toHaveProperty("liveMaps", 1);
});

it("a bias is part of the JSON form only where it says something, and none with a variance is a contradiction", () => {
  expect(archToJson(dense({ bias: true, biasVariance: 0.1 }))).toEqual(archToJson(dense({ biasVariance: 0.1 })));
  expect(archToJson(conv({ filter: 3, bias: false }))).toEqual(archToJson(conv({ filter: 3 })));
  expect(archToJson(dense({ bias: true }))).toMatchObject({ bias: true, biasVariance: 0 });
  expect(refusal(() => dense({ bias: false, biasVariance: 0.1 })).message).toMatch(
    /^dense\.bias: .*biasVariance is 0.1/,
  );
  // In the kernel a bias of variance 0 is nothing.
  const kernelOf = (bias: boolean) =>
    compile(serial(conv({ filter: 3, bias }), relu(), flatten(), dense({ bias })), CIFAR);
  expect(kernelOf(true)).toEqual(kernelOf(false));
});

it("settings of layers that cannot be meant are refused with their field", () => {
  expect(refusal(() => maxPool({ window: 2, padding: 2 })).message).toMatch(/^maxPool\.padding: .*half the window/);
  expect(refusal(() => dropout({ rate: 1 })).message).toMatch(/^dropout\.rate: /);
  expect(refusal(() => batchNorm({ epsilon: 0 })).message).toMatch(/^batchNorm\.epsilon: /);
  expect(refusal(() => batchNorm({ momentum: 2 })).message).toMatch(/^batchNorm\.momentum: /);
  expect(refusal(() => clippedRelu({ max: 0 })).message).toMatch(/^clippedRelu\.max: /);
  expect(refusal(() => elu({ alpha: -1 })).message).toMatch(/^elu\.alpha: /);
  expect(refusal(() => serial(avgPool({ window: 2 }), maxPool({ window: 5 })).shape([1, 6, 6])).message).toMatch(
    /architecture\.layers\[1\] \(maxPool 5x5\): a window of 5 x 5 pixels does not fit into 1 x 3 x 3/,
  );
  expect(refusal(() => maxPool({ window: 2 }).shape([784])).message).toMatch(/needs an image/);
});
