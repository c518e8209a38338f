/**
 * ConvNet GP pairs per second on a GPU: a line of pixels a lane against a pixel a lane, in alternation.
 *
 *     npm run bench -- covariance-gpu [--swiftshader] [--images 32] [--rounds 5] [--adapter NAME]
 */
import { parseArgs } from "node:util";
import { convnetGp, digitLike, mulberry32 } from "../test/reference/programs.ts";
import { encodeProgram } from "../sdk/covariance/program.ts";
import { programShape } from "../sdk/covariance/shape.ts";
import { covariance, NO_DIAGONAL, variance, webgpuTableFloats } from "../sdk/engine/kernels/covariance.ts";
import { WebGpuBackend } from "../sdk/engine/webgpu/backend.ts";
import { explainNoVulkan, findDawnAdapter } from "../sdk/platform/adapters.node.ts";

const { values } = parseArgs({
  options: {
    images: { type: "string", default: "32" },
    rounds: { type: "string", default: "5" },
    adapter: { type: "string" },
  },
});
const images = Number(values.images);
const rounds = Number(values.rounds);

const found = await findDawnAdapter({ name: values.adapter, software: true });
if (found === undefined) throw new Error((await explainNoVulkan()).join("\n"));
const backend = await WebGpuBackend.open(found);

const program = convnetGp();
const shape = programShape(program);
const random = mulberry32(1);
const words = encodeProgram(program);
const pixels = Float32Array.from(Array.from({ length: images }, () => [...digitLike(random, 28, 28)]).flat());
const steps = backend.allocate(words.byteLength, "program");
const source = backend.allocate(pixels.byteLength, "images");
const table = backend.allocate(4 * webgpuTableFloats(images, shape.imageFloats, shape.tablePixels), "table");
const variances = backend.allocate(4 * images, "variances");
const output = backend.allocate(4 * images * images, "output");
backend.write(steps, 0, words);
backend.write(source, 0, pixels);
backend.dispatch(variance, { ...shape, images }, [steps, source, table, variances]);
await backend.finish();

/** Seconds for all pairs; a line longer than any register file selects the layout with a pixel a lane. */
async function run(line: number): Promise<number> {
  const params = { ...shape, line, rows: images, columns: images, diagonal: NO_DIAGONAL, lower: 0 };
  const start = performance.now();
  backend.dispatch(covariance, params, [steps, table, table, variances, output]);
  await backend.finish();
  return (performance.now() - start) / 1000;
}

const layouts = { "a line a lane": shape.line, "a pixel a lane": 1 << 20 };
const seconds = Object.fromEntries(Object.keys(layouts).map((name) => [name, [] as number[]]));
console.log(`${backend.info.adapter}: ${images} x ${images} pairs, medians of ${rounds} rounds`);
for (const [name, line] of Object.entries(layouts)) console.log(`${name}: first run ${(await run(line)).toFixed(2)} s`);
for (let round = 0; round < rounds; round++) {
  for (const [name, line] of Object.entries(layouts)) seconds[name]?.push(await run(line));
}
for (const [name, times] of Object.entries(seconds)) {
  const median = times.sort((a, b) => a - b)[Math.floor(rounds / 2)] ?? NaN;
  console.log(`${name}: ${Math.round((images * images) / median).toLocaleString("en")} pairs/s`);
}
await backend.close();
