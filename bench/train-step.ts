/**
 * Training steps (forward, backward, Adam) of the CIFAR-10 network `convnet4` of Friesen and Domingos (ICLR 2018) with
 * relu: steps a second, the time of a step by kernel, and what is not kernels' time. The step's dispatches are written down
 * once, and those of each kernel are then run by themselves.
 *
 *     npm run bench -- train-step [threads ...] [--batch=64] [--steps=10]
 *     npm run bench -- train-step --gpu [--swiftshader]
 */
import type { Backend, Slot } from "../sdk/engine/backend.ts";
import { elementwise, ElementwiseOperation } from "../sdk/engine/kernels/elementwise.ts";
import { matmul } from "../sdk/engine/kernels/index.ts";
import type { Fields, KernelSchema, ParamsOf } from "../sdk/engine/schema.ts";
import { RandomStream } from "../sdk/engine/rng.ts";
import { Engine } from "../sdk/engine/engine.ts";
import { WebGpuBackend } from "../sdk/engine/webgpu/backend.ts";
import { open } from "../sdk/index.node.ts";
import { adam } from "../sdk/learn/optimisers.ts";
import { lossOf } from "../sdk/learn/training-loss.ts";
import { TrainingStep } from "../sdk/learn/training-step.ts";
import { findDawnAdapter } from "../sdk/platform/adapters.node.ts";
import type { Model, ModelParameter } from "../sdk/tensor/model.ts";
import * as ops from "../sdk/tensor/ops.ts";
import { tensor, type Tensor } from "../sdk/tensor/tensor.ts";

const REPEATS = 5;
const CLASSES = 10;
const INPUT = [3, 32, 32] as const;

interface Dispatch {
  readonly kernel: KernelSchema;
  readonly params: ParamsOf<Fields>;
  readonly buffers: readonly Slot[];
}

function convnet4(engine: Engine): Model {
  const random = new RandomStream(0, "bench");
  const parameters: ModelParameter[] = [];
  const drawn = (name: string, shape: readonly number[], fanIn: number): Tensor => {
    const bound = 1 / Math.sqrt(fanIn);
    const values = new Float32Array(shape.reduce((product, side) => product * side, 1));
    const made = tensor(
      engine,
      random.fillUniform(values).map((u) => bound * (2 * u - 1)),
      shape,
    );
    parameters.push({ name, tensor: made });
    return made;
  };
  const conv1 = [drawn("1.weights", [32, 3, 5, 5], 75), drawn("1.bias", [32], 75)] as const;
  const conv2 = [drawn("2.weights", [64, 32, 5, 5], 800), drawn("2.bias", [64], 800)] as const;
  const dense3 = [drawn("3.weights", [4096, 1024], 4096), drawn("3.bias", [1024], 4096)] as const;
  const dense4 = [drawn("4.weights", [1024, CLASSES], 1024), drawn("4.bias", [CLASSES], 1024)] as const;
  const dense = (x: Tensor, [weights, bias]: readonly [Tensor, Tensor]): Tensor =>
    ops.bias(ops.matmul(x, weights), bias);
  const pooled = (x: Tensor): Tensor => ops.relu(ops.maxPool(x, { window: 2 }));
  const apply = (x: Tensor): Tensor => {
    const first = pooled(ops.conv2d(x, conv1[0], { padding: 3 }, conv1[1]));
    const second = pooled(ops.conv2d(first, conv2[0], { padding: 2 }, conv2[1]));
    return dense(ops.relu(dense(ops.flatten(second), dense3)), dense4);
  };
  return { parameters, states: [], inputShape: INPUT, outputs: CLASSES, apply };
}

/** Of a product or a convolution; 0 for other kernels. */
function flops(params: ParamsOf<Fields>): number {
  const all = (...names: readonly string[]): number =>
    names.reduce((product, name) => product * (params[name] ?? 0), 2);
  const convolution = all("batch", "inChannels", "kernelHeight", "kernelWidth", "outChannels", "outHeight", "outWidth");
  return all("m", "n", "k") + convolution;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** Milliseconds of everything that `run` appends. */
async function timed(backend: Backend, run: () => void): Promise<number> {
  await backend.finish();
  const started = performance.now();
  run();
  await backend.finish();
  return performance.now() - started;
}

/** The dispatches that `run` appends, which are appended all the same. */
function recorded(backend: Backend, run: () => void): Dispatch[] {
  const found: Dispatch[] = [];
  const dispatch = backend.dispatch.bind(backend);
  backend.dispatch = (kernel, params, buffers) => {
    found.push({ kernel: kernel as unknown as KernelSchema, params, buffers: [...buffers] });
    dispatch(kernel, params, buffers);
  };
  try {
    run();
  } finally {
    backend.dispatch = dispatch;
  }
  return found;
}

async function bench(engine: Engine, batch: number, steps: number): Promise<void> {
  const { backend } = engine;
  const model = convnet4(engine);
  const loss = lossOf("crossEntropy", { model, classes: CLASSES });
  const optimiser = adam({ rate: 2.5e-4, weightDecay: 5e-4 });
  const training = new TrainingStep({ engine, model, loss, optimiser, classes: CLASSES, seed: 0 });
  const random = new RandomStream(1, "bench");
  const images = random.fillNormal(new Float32Array(batch * 3 * 32 * 32));
  const labels = Uint32Array.from({ length: batch }, (_, index) => index % CLASSES);
  // Before warm-up: what the pool gives for them, steps need not ask for again.
  const one = tensor(engine, [1]);
  const other = tensor(engine, [1]);
  const size = backend.info.software ? 256 : 1024;
  const square = Array.from({ length: 3 }, () => tensor(engine, new Float32Array(size * size).fill(0.5)).slot);
  let step = 0;
  const append = (): Promise<unknown> =>
    training.append({ count: batch, images, labels }, { step: step++, factor: 1, update: true });
  const run = async (count: number): Promise<{ readonly each: number; readonly host: number }> => {
    const started = performance.now();
    let host = 0;
    let before: Promise<unknown> = Promise.resolve();
    for (let index = 0; index < count; index++) {
      const begun = performance.now();
      const next = append();
      host += performance.now() - begun;
      await before;
      before = next;
    }
    await before;
    return { each: (performance.now() - started) / count, host: host / count };
  };
  await run(4);
  const dispatches: Dispatch[] = recorded(backend, () => void append());
  await backend.finish();
  const byKernel = new Map<string, Dispatch[]>();
  for (const dispatch of dispatches) {
    const { name } = dispatch.kernel;
    byKernel.set(name, [...(byKernel.get(name) ?? []), dispatch]);
  }
  const replay = (some: readonly Dispatch[]): void => {
    for (const { kernel, params, buffers } of some) backend.dispatch(kernel, params, buffers);
  };
  const smallest = { count: 1, operation: ElementwiseOperation.affine, alpha: 1, beta: 0 };
  const tiny = (): void => {
    for (let index = 0; index < 10 * dispatches.length; index++)
      backend.dispatch(elementwise, smallest, [one.slot, one.slot, other.slot]);
  };
  const product = { m: size, n: size, k: size, transposeA: 0, transposeB: 0, alpha: 1, beta: 0 };

  const [each, host, all, empty, gemm]: [number[], number[], number[], number[], number[]] = [[], [], [], [], []];
  const kernelTimes = new Map<string, number[]>([...byKernel.keys()].map((name) => [name, []]));
  let allocations = 0;
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    const before = backend.stats().allocations;
    const measured = await run(steps);
    allocations += backend.stats().allocations - before;
    each.push(measured.each);
    host.push(measured.host);
    all.push(await timed(backend, () => replay(dispatches)));
    empty.push((await timed(backend, tiny)) / (10 * dispatches.length));
    gemm.push((2 * size ** 3) / (await timed(backend, () => backend.dispatch(matmul, product, square))) / 1e6);
    for (const [name, some] of byKernel) kernelTimes.get(name)?.push(await timed(backend, () => replay(some)));
  }
  const milliseconds = median(each);
  const rate = dispatches.reduce((sum, { params }) => sum + flops(params), 0) / milliseconds / 1e6;
  const share = (time: number): string => `${((100 * time) / milliseconds).toFixed(1).padStart(6)} %`;
  const row = (name: string, calls: number | "", time: number): void =>
    console.log(`${name.padEnd(26)}${String(calls).padStart(6)}${time.toFixed(2).padStart(10)}${share(time)}`);
  console.log(`\n${backend.info.adapter}, ${backend.info.threads} threads, batch ${batch}`);
  console.log(
    `${(1000 / milliseconds).toFixed(2)} steps/s (${REPEATS} times ${steps}: ` +
      `${each.map((time) => (1000 / time).toFixed(2)).join(", ")}), ${allocations} allocations\n` +
      `${rate.toFixed(1)} GFLOP/s in products and convolutions; a ${size}^3 product meanwhile: ${median(gemm).toFixed(1)}`,
  );
  console.log("kernel                     calls        ms   of step");
  const rows = [...kernelTimes].map(([name, times]) => ({ name, time: median(times) })).sort((a, b) => b.time - a.time);
  for (const { name, time } of rows) row(name, byKernel.get(name)?.length ?? 0, time);
  row("the same dispatches at once", dispatches.length, median(all));
  row("a whole step", "", milliseconds);
  const overhead = median(empty) * dispatches.length;
  row("as many of one number", dispatches.length, overhead);
  row("the host, meanwhile", "", median(host));
  console.log(`overhead of ${dispatches.length} operations: ${share(overhead).trim()} of the step`);
  training.dispose();
}

const given = process.argv.slice(2);
const option = (name: string, fallback: number): number =>
  Number(given.find((one) => one.startsWith(`--${name}=`))?.split("=")[1] ?? fallback);
const [batch, steps] = [option("batch", 64), option("steps", 10)];
if (given.includes("--gpu")) {
  const found = await findDawnAdapter({ software: true });
  if (found === undefined) throw new Error("no GPU");
  const backend = await WebGpuBackend.open(found);
  const settings = { memoryBytes: 2 ** 32, seed: 0, threads: 1, log: () => undefined };
  await using engine = new Engine(backend, settings);
  await bench(engine, batch, steps);
} else {
  const threads = given.filter((one) => !one.startsWith("--")).map(Number);
  for (const count of threads.length > 0 ? threads : [2]) {
    await using engine = await open({ backend: "wasm", threads: count });
    await bench(engine, batch, steps);
  }
}
