/**
 * The runs of "Deep Learning as a Mixed Convex-Combinatorial Optimization Problem" (Friesen and Domingos, ICLR 2018), table
 * 1, as their authors published the command lines. The published lines of convnet8's step activation say staircase3; the
 * paper's rows are of step activations, and so are these.
 */
import { WidefieldError } from "../errors.ts";
import { trainSettings, unknownName, type TrainSettings, type TrainSettingsInput } from "./train-settings.ts";

export interface Recipe {
  /** "ftprop/cifar10-convnet4-step-ftpsh" */
  readonly name: string;
  readonly summary: string;
  readonly settings: TrainSettings;
}

interface Suite {
  readonly name: string;
  readonly title: string;
  readonly settings: Omit<TrainSettingsInput, "nonlin" | "tpRule" | "wtdecay">;
  /** Weight decay of step activations, of staircases and of rectifiers. */
  readonly decay: readonly [step: number, staircase: number, relu: number];
  readonly staircase: "staircase" | "staircase3";
}

const onCifar = {
  ds: "cifar10",
  opt: "adam",
  momentum: 0.9,
  lrDecay: 0.1,
  lrDecayEpochs: [200, 250] as number[],
  epochs: 300,
  val: false,
  plotTest: true,
  testFinalModel: true,
} as const;
const onImagenet = { ds: "imagenet", momentum: 0.9, lrDecay: 0.1, useBn: true, val: false, plotTest: true } as const;

const suites: readonly Suite[] = [
  {
    name: "cifar10-convnet4",
    title: "4-layer convnet on CIFAR-10",
    settings: { ...onCifar, arch: "convnet4", lr: 2.5e-4 },
    decay: [5e-4, 5e-4, 5e-4],
    staircase: "staircase3",
  },
  {
    name: "cifar10-convnet8",
    title: "8-layer convnet on CIFAR-10",
    settings: { ...onCifar, arch: "convnet8", lr: 1e-3, useBn: true },
    decay: [5e-4, 5e-4, 5e-4],
    staircase: "staircase3",
  },
  {
    name: "imagenet-alexnet",
    title: "DoReFa's AlexNet on ImageNet",
    settings: {
      ...{ ...onImagenet, arch: "alexnet_drf", batch: 128, opt: "adam", lr: 1e-4 },
      ...{ epochs: 80, lrDecayEpochs: [56, 64] },
    },
    decay: [5e-6, 5e-5, 5e-4],
    staircase: "staircase3",
  },
  {
    name: "imagenet-resnet18",
    title: "ResNet-18 on ImageNet",
    settings: {
      ...{ ...onImagenet, arch: "resnet18", batch: 256, opt: "sgd", lr: 0.1 },
      ...{ epochs: 90, lrDecayEpochs: [30, 60] },
    },
    decay: [5e-7, 1e-5, 1e-4],
    staircase: "staircase",
  },
];

export const recipes: readonly Recipe[] = suites.flatMap((suite) => {
  const [step, staircase, relu] = suite.decay;
  const steps = suite.staircase === "staircase" ? 5 : 3;
  const variants = [
    { name: "step-ftpsh", what: "step activation, soft hinge", nonlin: "step11", tpRule: "SoftHinge", wtdecay: step },
    {
      name: "step-sste",
      what: "step activation, saturated straight-through",
      nonlin: "step11",
      tpRule: "SSTE",
      wtdecay: step,
    },
    {
      ...{ name: "staircase-ftpsh", what: `staircase of ${steps} steps, soft hinge` },
      ...{ nonlin: suite.staircase, tpRule: "SoftHinge", wtdecay: staircase },
    },
    {
      ...{ name: "staircase-sste", what: `staircase of ${steps} steps, saturated straight-through` },
      ...{ nonlin: suite.staircase, tpRule: "SSTE", wtdecay: staircase },
    },
    { name: "relu", what: "relu", nonlin: "relu", wtdecay: relu },
    { name: "threshrelu", what: "relu clipped at 1", nonlin: "threshrelu", wtdecay: relu },
  ];
  return variants.map(({ name, what, ...settings }) => ({
    name: `ftprop/${suite.name}-${name}`,
    summary: `${suite.title}: ${what}`,
    settings: trainSettings({ ...suite.settings, ...settings }),
  }));
});

/** Throws E_CONFIG for a name that no recipe has, with the nearest one. */
export function recipe(name: string): Recipe {
  const found = recipes.find((one) => one.name === name);
  if (found !== undefined) return found;
  throw new WidefieldError(
    "E_CONFIG",
    unknownName(
      "recipe",
      name,
      recipes.map((one) => one.name),
    ),
  );
}
