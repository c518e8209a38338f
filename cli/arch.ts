/** `widefield arch`: architectures, as they are compiled. */
import { Command } from "commander";
import { describeArch, type ArchDescription, type KernelDescription, type LayerRow } from "../sdk/arch/describe.ts";
import { formatShape, type Shape } from "../sdk/arch/layer.ts";
import { presetEntry, presetNames, trainablePresetNames } from "../sdk/arch/presets.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { formatBytes, table } from "./format.ts";
import { openArch } from "./inputs.ts";
import { addOutputOptions, withSession } from "./session.ts";

const names = [...presetNames, ...trainablePresetNames];

interface ShowOptions {
  readonly input?: string;
  readonly steps?: true;
  readonly json?: true;
  readonly quiet?: true;
}

export function archCommand(): Command {
  const list = addOutputOptions(new Command("list").description("the presets")).action(
    (options: { json?: true; quiet?: true }) =>
      withSession(options, (session) => {
        const presets = names.map((name) => ({ name, ...describePreset(name) }));
        session.print(
          session.json
            ? JSON.stringify({ presets })
            : table(presets.map(({ name, input, summary }) => [name, input.join("x"), summary])),
        );
        return Promise.resolve();
      }),
  );
  const show = addOutputOptions(
    new Command("show")
      .description("layers, shapes, and what a pair of images costs")
      .argument("<name|file>", `${names.join(", ")}, or a JSON file`)
      .option("--input <shape>", "shape of the inputs, such as 3x32x32, or 784 (default: the preset's, else 1x28x28)")
      .option("--steps", "the steps of the covariance program too"),
  ).action((name: string, options: ShowOptions) =>
    withSession(options, async (session) => {
      const arch = await openArch(name);
      const input =
        options.input === undefined
          ? names.includes(name)
            ? presetEntry(name).input
            : ([1, 28, 28] as const)
          : parseShape(options.input);
      const description = describeArch(arch, input);
      if (session.json) session.print(JSON.stringify({ name, ...description }));
      else printDescription(name, description, options.steps === true, (line) => session.print(line));
    }),
  );
  return new Command("arch").description("architectures: presets and JSON files").addCommand(list).addCommand(show);
}

function describePreset(name: string): { readonly input: Shape; readonly summary: string } {
  const { input, summary } = presetEntry(name);
  return { input, summary };
}

/** "3x32x32" or "784". */
function parseShape(text: string): Shape {
  const sizes = text.split("x").map(Number);
  const [a, b, c] = sizes;
  if (sizes.every((size) => Number.isSafeInteger(size) && size > 0)) {
    if (a !== undefined && b !== undefined && c !== undefined && sizes.length === 3) return [a, b, c];
    if (a !== undefined && sizes.length === 1) return [a];
  }
  throw new WidefieldError("E_CONFIG", `--input ${text}: write CHANNELSxHEIGHTxWIDTH, such as 1x28x28, or FEATURES`);
}

function printDescription(
  name: string,
  description: ArchDescription,
  withSteps: boolean,
  print: (line: string) => void,
): void {
  const { input, layers, parameters } = description;
  print(`${name} on inputs of ${formatShape(input)}\n`);
  const rowOf = ({ depth, title, shape, settings }: LayerRow) => [
    "  ".repeat(depth) + title,
    shape.length === 3 ? shape.join(" x ") : `${shape.join("")} features`,
    settings,
  ];
  print(table(layers.map(rowOf)));
  if (parameters !== undefined) print(`\n${parameters.toLocaleString("en")} parameters`);
  print("");
  if ("noKernel" in description) print(description.noKernel);
  else printKernel(description, withSteps, print);
}

function printKernel(
  { steps, liveMaps, mapPixels, cost }: KernelDescription,
  withSteps: boolean,
  print: (line: string) => void,
): void {
  if (withSteps) {
    const rows = steps.map(({ title, route, size, operations }) => [title, route, size.join(" x "), operations]);
    print(`${table([["step", "maps", "size", "operations"], ...rows])}\n`);
  }
  print(
    table([
      ["live maps", `${liveMaps} of ${mapPixels} pixels at most, ${formatBytes(cost.mapBytes)} a pair`],
      ["standard deviations", `${formatBytes(cost.imageBytes)} an image, with its pixels`],
      [
        "operations",
        `${cost.operations.toLocaleString("en")} a pair, with ${cost.nonlinearities.toLocaleString("en")} nonlinearities`,
      ],
    ]),
  );
}
