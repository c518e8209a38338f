/**
 * Pairs per second of the ConvNet GP and of the ResNet GP on a GPU: a line of pixels a lane against a pixel a lane, in
 * alternation, and against maps in device memory (what images too large for workgroup memory get).
 *
 *     npm run bench -- covariance-gpu [--swiftshader] [--images 32] [--rounds 5] [--adapter NAME] [--presets A,B]
 */
import { parseArgs } from "node:util";
import { compile } from "../sdk/arch/arch.ts";
import { presetEntry } from "../sdk/arch/presets.ts";
import { encodeProgram } from "../sdk/covariance/encode.ts";
import { programShape } from "../sdk/covariance/shape.ts";
import { covariance, NO_DIAGONAL, variance, webgpuTableFloats } from "../sdk/engine/kernels/covariance.ts";
import { WebGpuBackend } from "../sdk/engine/webgpu/backend.ts";
import { explainNoVulkan, findDawnAdapter } from "../sdk/platform/adapters.node.ts";
import { digitLike, mulberry32 } from "../test/reference/programs.ts";

const { values } = parseArgs({
  options: {
    images: { type: "string", default: "32" },
    rounds: { type: "string", default: "5" },
    adapter: { type: "string" },
    presets: { type: "string", default: "convnet-gp,resnet32-gp" },
  },
});
const images = Number(values.images);
const rounds = Number(values.rounds);

const found = await findDawnAdapter({ name: values.adapter, software: true });
if (found === undefined) throw new Error((await explainNoVulkan()).join("\n"));
const backend = await WebGpuBackend.open(found);
console.log(`${backend.info.adapter}: ${images} x ${images} pairs, medians of ${rounds} rounds`);

for (const name of values.presets.split(",")) await bench(name);
await backend.close();

async function bench(name: string): Promise<void> {
  const { make, input } = presetEntry(name);
  const [channels = 1, height = 1, width = 1] = input;
  const program = compile(make(), input);
  const sizes = programShape(program);
  const sliceFloats = sizes.slots * sizes.mapPixels + sizes.sumPixels;
  const slices = backend.info.software ? 16 : 1056;
  const shape = { ...sizes, slices: 0, sliceFloats };
  const random = mulberry32(1);
  const words = encodeProgram(program);
  const digits = Array.from({ length: images }, () => [...digitLike(random, height, width, channels)]);
  const pixels = Float32Array.from(digits.flat());
  const steps = backend.allocate(words.byteLength, "program");
  const source = backend.allocate(pixels.byteLength, "images");
  const table = backend.allocate(4 * webgpuTableFloats(images, shape.imageFloats, shape.tablePixels), "table");
  const variances = backend.allocate(4 * images, "variances");
  const output = backend.allocate(4 * images * images, "output");
  const workspace = backend.allocate(4 * slices * sliceFloats, "workspace");
  backend.write(steps, 0, words);
  backend.write(source, 0, pixels);
  backend.dispatch(variance, { ...shape, images }, [steps, source, table, variances, workspace]);
  await backend.finish();

  /** Seconds for all pairs. */
  const run = async (layout: { readonly line: number; readonly slices: number }): Promise<number> => {
    const params = { ...shape, ...layout, rows: images, columns: images, diagonal: NO_DIAGONAL, lower: 0 };
    const start = performance.now();
    backend.dispatch(covariance, params, [steps, table, table, variances, output, workspace]);
    await backend.finish();
    return (performance.now() - start) / 1000;
  };

  // A line longer than any register file selects the layout with a pixel a lane.
  const layouts = {
    "a line a lane": { line: shape.line, slices: 0 },
    "a pixel a lane": { line: 1 << 20, slices: 0 },
    "a pixel a lane, in device memory": { line: 1 << 20, slices },
  };
  const seconds = new Map<string, number[]>();
  for (const [layout, choice] of Object.entries(layouts)) {
    console.log(`${name}, ${layout}: first run ${(await run(choice)).toFixed(2)} s`);
    seconds.set(layout, []);
  }
  for (let round = 0; round < rounds; round++) {
    for (const [layout, choice] of Object.entries(layouts)) seconds.get(layout)?.push(await run(choice));
  }
  for (const [layout, times] of seconds) {
    const median = times.sort((a, b) => a - b)[Math.floor(rounds / 2)] ?? NaN;
    console.log(`${name}, ${layout}: ${Math.round((images * images) / median).toLocaleString("en")} pairs/s`);
  }
  for (const slot of [steps, source, table, variances, output, workspace]) backend.free(slot);
}
