/** `widefield train` and `widefield recipe` as processes: what they print, write, refuse, survive. */
import { readFile, readdir, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { start, wasm, widefield, workspace, type Outcome } from "./run.ts";

const space = workspace();

const tiny = {
  type: "serial",
  layers: [
    { type: "conv", filter: 3, stride: 4, channels: 4, biasVariance: 0.1 },
    { type: "relu" },
    { type: "flatten" },
    { type: "dense" },
  ],
};
/** The same tensors with another function between them. */
const tinyTanh = { ...tiny, layers: tiny.layers.map((layer) => (layer.type === "relu" ? { type: "tanh" } : layer)) };

const net = () => ["--arch", space.path("tiny.json")];
const few = ["--lr", "0.05", "--dbg-ds-size", "640", "--no-val"];

function train(...more: string[]): string[] {
  return ["train", ...wasm, "--ds", "digits", ...net(), ...few, "--epochs", "1", ...more];
}

interface Printed {
  readonly history: readonly {
    readonly epoch: number;
    readonly training: object;
    readonly validation?: object;
    readonly test?: { readonly loss: number };
  }[];
  readonly best?: { readonly epoch: number };
  readonly final?: { readonly epoch: number; readonly test: object };
  readonly images: object;
  readonly resumedAt: number;
  readonly folder: string | null;
}

async function resultOf(...args: string[]): Promise<Printed> {
  const { code, stdout, stderr } = await widefield(...args, "--json", "--quiet");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout) as Printed;
}

async function entriesOf(folder: string): Promise<string[]> {
  return readdir(space.path(folder)).catch(() => ["no such folder"]);
}

beforeAll(async () => {
  await writeFile(space.path("tiny.json"), JSON.stringify(tiny));
  await writeFile(space.path("tanh.json"), JSON.stringify(tinyTanh));
});

describe("widefield train", () => {
  it("has the published program's options", async () => {
    const { code, stdout } = await widefield("train", "--help");
    expect(code).toBe(0);
    const options =
      "ds arch nonlin tp-rule no-tp-grad-scale loss use-bn opt lr momentum wtdecay lr-decay lr-decay-epochs epochs batch " +
      "test-batch no-val plot-test test-final-model test-model resume save no-save log-info no-aug download dbg-ds-size " +
      "diagnostics tb-sample-pct tb-drop-pct no-tb-log gpus nworkers data-root seed";
    for (const option of options.split(" ")) expect(stdout).toMatch(new RegExp(`^ +--${option} `, "m"));
  });

  it("leaves checkpoints, metrics, events, a manifest and a chart, and prints what it came to", async () => {
    const { code, stdout, stderr } = await widefield(...train("--save", space.path("run"), "--epochs", "2"));
    expect(code).toBe(0);
    const scores = String.raw`loss [\d.]+, top-1 [\d.]+ %, top-5 [\d.]+ %`;
    const line = (epoch: number) => String.raw`epoch ${epoch}: training ${scores}; .* images/s\n`;
    expect(stderr).toMatch(new RegExp(`^checkpoints and records: .*/run\n${line(1)}${line(2)}$`));
    expect(stdout).toMatch(
      /^arch\.crossent\.sgd_lr0\.05_mu0\.9_wd0_noval on digits\nimages +640 training, 0 validation/,
    );
    expect((await entriesOf("run")).map((name) => name.replace(/tfevents.*/, "tfevents")).sort()).toEqual([
      ...["events.out.tfevents", "last.json", "last.safetensors", "manifest.json", "metrics.jsonl"],
      ...["training.png", "training.svg", "training.vl.json"],
    ]);
    const manifest = JSON.parse(await readFile(space.path("run/manifest.json"), "utf8")) as { command: string };
    expect(manifest).toMatchObject({ settings: { ds: "digits", lr: 0.05 }, images: { train: 640 } });
    expect(manifest.command).toContain("--dbg-ds-size 640");
  });

  it("with --no-save writes nothing, and with --json prints one object", async () => {
    const before = await entriesOf(".");
    const result = await resultOf(...train("--no-save", "--plot-test", "--test-final-model"));
    expect(result).toMatchObject({ folder: null, resumedAt: 0, history: [{ epoch: 1 }], final: { epoch: 1 } });
    expect(result.history[0]).not.toHaveProperty("validation");
    expect(result.final?.test).toEqual(result.history[0]?.test);
    expect(result).not.toHaveProperty("best");
    expect(await entriesOf(".")).toEqual(before);
  });

  it("tests the trained model, whether it was trained now or before, and refuses it in another architecture", async () => {
    const folder = space.path("tested");
    const trained = await resultOf(...train("--save", folder));
    expect(trained).not.toHaveProperty("final");
    expect(trained.history[0]).not.toHaveProperty("test");
    const again = await resultOf(...train("--save", folder, "--test-final-model", "--test-batch", "500"));
    expect(again).toMatchObject({ resumedAt: 1, history: trained.history, final: { epoch: 1 } });
    const { code, stdout } = await widefield(...train("--test-model", folder, "--test-batch", "500", "--json"));
    expect(code).toBe(0);
    const tested = JSON.parse(stdout) as { epoch: number; test: { loss: number } };
    expect(tested).toMatchObject({ epoch: 1, model: folder });
    expect(again.final?.test).toEqual(tested.test);
    const other = await widefield(...train("--arch", space.path("tanh.json"), "--test-model", folder));
    expect(other).toMatchObject({ code: 1, stdout: "" });
    expect(other.stderr).toMatch(
      /holds a model of another architecture .*\n +architecture\.layers\[1\]\.type: relu -> tanh/,
    );
  });

  it("keeps the best model on the validation images, which --no-val trains on", async () => {
    const folder = space.path("validated");
    const args = [
      "train",
      ...wasm,
      "--ds",
      "digits",
      ...net(),
      "--lr",
      "0.05",
      "--dbg-ds-size",
      "640",
      "--epochs",
      "2",
    ];
    const result = await resultOf(...args, "--save", folder, "--test-final-model", "--test-batch", "1000");
    expect(result.images).toEqual({ train: 640, validation: 10_000, test: 10_000 });
    expect(result.final?.epoch).toBe(result.best?.epoch);
    expect(await entriesOf("validated")).toEqual(expect.arrayContaining(["best.json", "best.safetensors"]));
    expect(result.history.every(({ validation }) => validation !== undefined)).toBe(true);
  });
});

describe("widefield train refuses", () => {
  const refused = async (args: readonly string[]): Promise<Outcome> => {
    const outcome = await widefield(...args);
    expect(outcome.stdout).toBe("");
    expect(outcome.stderr).not.toContain("    at ");
    return outcome;
  };
  const named = (...more: string[]) => ["train", "--ds", "digits", "--no-save", "--lr", "0.1", ...more];

  it.concurrent.each<[string, number, RegExp, () => string[]]>([
    [
      "an unknown data set",
      2,
      /Allowed choices are mnist, cifar10/,
      () => named("--ds", "digitz", "--arch", "convnet4"),
    ],
    ["an unknown architecture", 1, /"convnet5"; did you mean "convnet4"\?/, () => named("--arch", "convnet5")],
    [
      "an unknown nonlinearity",
      1,
      /"stepp11"; did you mean "step11"\?/,
      () => named("--arch", "convnet4", "--nonlin", "stepp11"),
    ],
    [
      "an unknown rule",
      1,
      /"SoftHing".*did you mean "SoftHinge"\?/,
      () => named("--arch", "convnet4", "--nonlin", "step11", "--tp-rule", "SoftHing"),
    ],
    [
      "a rule that does not go with the nonlinearity, with those that do",
      1,
      /Adaline does not go with the activation step01; rules that work with step01 are STE, SSTE/,
      () => named("--arch", "convnet4", "--nonlin", "step01", "--tp-rule", "Adaline"),
    ],
    [
      "a rule that carries the gradient itself, without its size",
      1,
      /SSTE passes the gradient itself on .*\(--no-tp-grad-scale\)/,
      () => named("--arch", "convnet4", "--nonlin", "step11", "--tp-rule", "SSTE", "--no-tp-grad-scale"),
    ],
    ["no rate", 1, /--lr is needed/, () => ["train", "--ds", "digits", "--arch", "convnet4"]],
    ["no architecture", 1, /--arch is needed/, () => ["train", "--ds", "digits", "--lr", "0.1"]],
    ["a rate that is none", 1, /lr is a number/, () => named("--arch", "convnet4", "--lr", "fast")],
    [
      "layers' options beside a JSON file",
      1,
      /--nonlin, --use-bn: for convnet4/,
      () => named(...net(), "--nonlin", "relu", "--use-bn"),
    ],
    [
      "images that the network does not take",
      1,
      /40 x 40 or 32 x 32 pixels, not 28 x 28/,
      () => named("--arch", "convnet8", "--save", space.path("convnet8")),
    ],
    [
      "a data set that is not there",
      1,
      /missing in .*nowhere.*data fetch mnist/,
      () => named("--ds", "mnist", "--arch", "convnet4", "--data-root", space.path("nowhere")),
    ],
    [
      "two folders",
      1,
      /--resume goes on in its own folder/,
      () => train("--resume", space.path("a"), "--save", space.path("b")),
    ],
    ["to go on from nothing", 1, /typo holds no checkpoint to go on from/, () => train("--resume", space.path("typo"))],
    ["to test nothing", 1, /typo holds no checkpoint/, () => train("--test-model", space.path("typo"))],
  ])("%s", async (_, code, message, args) => {
    const outcome = await refused(args());
    expect(outcome.stderr).toMatch(message);
    expect(outcome.code).toBe(code);
  });

  it("without leaving a folder", async () => {
    for (const folder of ["convnet8", "typo", "a", "b"]) expect(await entriesOf(folder)).toEqual(["no such folder"]);
  });

  it("the folder of another run, line by line, and a damaged checkpoint, with what to do", async () => {
    const folder = space.path("one");
    await resultOf(...train("--save", folder));
    const other = await refused(train("--arch", space.path("tanh.json"), "--resume", folder, "--quiet"));
    expect(other).toMatchObject({ code: 1 });
    expect(other.stderr).toMatch(/another training run .*\n +architecture\.layers\[1\]\.type: relu -> tanh\n/);
    const file = `${folder}/last.safetensors`;
    const bytes = await readFile(file);
    bytes[bytes.length - 5] = (bytes.at(-5) ?? 0) ^ 4;
    await writeFile(file, bytes);
    const damaged = await refused(train("--resume", folder, "--quiet"));
    expect(damaged).toMatchObject({ code: 1 });
    expect(damaged.stderr).toMatch(
      /last\.safetensors is damaged: .*; put back a copy of .*remove both to train from the start/,
    );
    await writeFile(file, bytes.subarray(0, 100));
    expect((await refused(train("--resume", folder, "--quiet"))).stderr).toMatch(
      /it has 100 bytes, and \d+ are expected: truncated/,
    );
  });
});

describe("a run of widefield train that is interrupted", () => {
  const long = (folder: string, epochs: number) => [
    ...["train", ...wasm, "--ds", "digits", ...net(), "--lr", "0.01", "--no-val", "--dbg-ds-size", "4000"],
    ...["--batch", "16", "--epochs", String(epochs), "--save", space.path(folder)],
  ];
  const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const text = (path: string) => readFile(space.path(path), "utf8").catch(() => "");
  const untilThereIs = async (path: string): Promise<void> => {
    while ((await text(path)) === "") await pause(5);
  };
  /** All but how long epochs took. */
  const numbersOf = (metrics: string) => metrics.replaceAll(/"(seconds|examplesPerSecond)":[\d.e+-]+/g, "");
  const bytesOf = (folder: string) => readFile(space.path(`${folder}/last.safetensors`));

  it("by SIGKILL goes on with the same command, to the bytes of one that never was", async () => {
    const whole = widefield(...long("whole", 6));
    const { process: child, outcome } = start(...long("killed", 6));
    await untilThereIs("killed/last.json");
    // In the middle of an epoch, or of the checkpoint behind it.
    await pause(100 * Math.random());
    child.kill("SIGKILL");
    expect((await outcome).code).toBeNull();
    expect(await text("killed/manifest.json")).toBe("");
    const { code, stdout } = await widefield(...long("killed", 6));
    expect(code).toBe(0);
    expect(stdout).toMatch(/epochs +6, of which [1-5] were there/);
    expect((await whole).code).toBe(0);
    expect((await bytesOf("killed")).equals(await bytesOf("whole"))).toBe(true);
    expect(numbersOf(await text("killed/metrics.jsonl"))).toBe(numbersOf(await text("whole/metrics.jsonl")));
    expect((await entriesOf("killed")).filter((name) => /\.tmp$|\.lock$|next/.test(name))).toEqual([]);
  });

  it("by Ctrl-C in the middle of an epoch ends with 130 and says where, and goes on", async () => {
    const { process: child, outcome } = start(...long("stopped", 100));
    await untilThereIs("stopped/last.json");
    child.kill("SIGINT");
    const { code, stdout, stderr } = await outcome;
    expect({ code, stdout }).toEqual({ code: 130, stdout: "" });
    expect(stderr).toMatch(
      /stopped in epoch \d+ .*; the checkpoint of epoch \d+ is as it was, and the same run goes on from it \[E_ABORTED\]\n$/,
    );
    const { epoch } = JSON.parse(await text("stopped/last.json")) as { epoch: number };
    const goneOn = await resultOf(...long("stopped", epoch + 1));
    expect(goneOn).toMatchObject({ resumedAt: epoch });
    expect(goneOn.history.map((record) => record.epoch)).toEqual(Array.from({ length: epoch + 1 }, (_, i) => i + 1));
  });
});

describe("widefield recipe", () => {
  it("lists every run of the paper's tables, and shows one", async () => {
    const { code, stdout } = await widefield("recipe", "list", "--json");
    expect(code).toBe(0);
    const recipes = JSON.parse(stdout) as {
      name: string;
      settings: { arch: string; nonlin: string; tpRule: string };
    }[];
    const names = ["cifar10-convnet4", "cifar10-convnet8", "imagenet-alexnet", "imagenet-resnet18"].flatMap((run) =>
      ["step-ftpsh", "step-sste", "staircase-ftpsh", "staircase-sste", "relu", "threshrelu"].map(
        (kind) => `ftprop/${run}-${kind}`,
      ),
    );
    expect(recipes.map(({ name }) => name).sort()).toEqual(names.sort());
    const text = await widefield("recipe", "list");
    expect(text.stdout.trimEnd().split("\n")).toHaveLength(24);
    const shown = await widefield("recipe", "show", "ftprop/cifar10-convnet8-step-sste");
    const recipe = JSON.parse(shown.stdout) as { settings: object };
    expect(recipe.settings).toMatchObject({
      arch: "convnet8",
      nonlin: "step11",
      tpRule: "SSTE",
      lr: 1e-3,
      useBn: true,
    });
    expect(recipes).toContainEqual(recipe);
  });

  it("names the nearest of an unknown one, and the folder where a data set belongs", async () => {
    for (const verb of ["show", "run"]) {
      const { code, stderr } = await widefield("recipe", verb, "ftprop/cifar10-convnet4-step-ftps");
      expect(code).toBe(1);
      expect(stderr).toContain('did you mean "ftprop/cifar10-convnet4-step-ftpsh"?');
    }
    const missing = ["--data-root", space.path("nowhere"), "--no-save"];
    const { code, stderr } = await widefield("recipe", "run", "ftprop/cifar10-convnet4-step-ftpsh", ...missing);
    expect(code).toBe(1);
    expect(stderr).toMatch(/missing in .*nowhere.*widefield data fetch cifar10/);
  });

  it("runs with options in place of its settings", async () => {
    const run = ["recipe", "run", "ftprop/cifar10-convnet4-step-sste", ...wasm, "--ds", "digits", "--no-save"];
    const more = ["--epochs", "1", "--limit", "64", "--batch", "32", "--nworkers", "0"];
    const { code, stdout } = await widefield(...run, ...more, ...net(), "--json");
    expect(code).toBe(0);
    const printed = JSON.parse(stdout) as Printed & { settings: object };
    expect(printed.settings).toMatchObject({ ds: "digits", opt: "adam", lr: 2.5e-4, epochs: 1, val: false });
    expect(printed.images).toMatchObject({ train: 64, validation: 0 });
    expect(printed.history[0]).toHaveProperty("test");
    expect(printed).toHaveProperty("final");
  });
});
