/**
 * Convolutions in float32: GFLOP/s by shape, each beside a 1024^3 matrix product measured alternately with it, which
 * says what the machine had to give at that moment. Medians of seven.
 *
 *     npm run bench -- conv2d [threads ...]
 *     npm run bench -- conv2d --gpu [--swiftshader]
 */
import type { Backend } from "../sdk/engine/backend.ts";
import { conv2d, matmul } from "../sdk/engine/kernels/index.ts";
import { open } from "../sdk/index.node.ts";
import { findDawnAdapter } from "../sdk/platform/adapters.node.ts";
import { WebGpuBackend } from "../sdk/engine/webgpu/backend.ts";

const REPEATS = 7;

interface Shape {
  readonly name: string;
  readonly batch: number;
  readonly side: number;
  readonly from: number;
  readonly to: number;
  readonly filter: number;
  readonly stride?: number;
  readonly valid?: boolean;
}

const SHAPES: readonly Shape[] = [
  { name: "64 x 16x16, 5x5", batch: 64, side: 16, from: 32, to: 64, filter: 5 },
  { name: "convnet-gp, 10 channels", batch: 100, side: 28, from: 10, to: 10, filter: 7 },
  { name: "convnet-gp, 30 channels", batch: 25, side: 28, from: 30, to: 30, filter: 7 },
  { name: "convnet-gp, 100 channels", batch: 4, side: 28, from: 100, to: 100, filter: 7 },
  { name: "first layer", batch: 100, side: 28, from: 1, to: 30, filter: 7 },
  { name: "resnet, stage 3", batch: 100, side: 7, from: 64, to: 64, filter: 3 },
  { name: "resnet, projection", batch: 100, side: 28, from: 16, to: 32, filter: 1, stride: 2 },
  { name: "resnet, strided 3x3", batch: 100, side: 28, from: 16, to: 32, filter: 3, stride: 2 },
  { name: "resnet, 7x7 valid", batch: 100, side: 7, from: 64, to: 64, filter: 7, valid: true },
];

async function seconds(backend: Backend, run: () => void, times: number): Promise<number> {
  const started = performance.now();
  for (let i = 0; i < times; i++) run();
  await backend.finish();
  return (performance.now() - started) / 1000 / times;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}

async function compare(backend: Backend, shape: Shape): Promise<void> {
  const { batch, side, from, to, filter, stride = 1, valid = false } = shape;
  const pad = valid ? 0 : Math.floor((filter - 1) / 2);
  const outSide = valid ? Math.floor((side - filter) / stride) + 1 : Math.ceil(side / stride);
  const size = backend.info.software ? 256 : 1024;
  const floats = [batch * from * side * side, to * from * filter * filter, to, batch * to * outSide * outSide];
  const slots = [...floats, size * size, size * size, size * size].map((count) => {
    const slot = backend.allocate(4 * count, "bench");
    backend.write(slot, 0, new Float32Array(count).map(Math.random));
    return slot;
  });
  const params = {
    batch,
    inChannels: from,
    inHeight: side,
    inWidth: side,
    outChannels: to,
    outHeight: outSide,
    outWidth: outSide,
    kernelHeight: filter,
    kernelWidth: filter,
    strideHeight: stride,
    strideWidth: stride,
    dilationHeight: 1,
    dilationWidth: 1,
    padTop: pad,
    padLeft: pad,
    useBias: 0,
  };
  const product = { m: size, n: size, k: size, transposeA: 0, transposeB: 0, alpha: 1, beta: 0 };
  const convolve = (): void => backend.dispatch(conv2d, params, slots.slice(0, 4));
  const multiply = (): void => backend.dispatch(matmul, product, slots.slice(4));
  const flops = 2 * batch * to * outSide * outSide * from * filter * filter;
  // Enough a sample that a fence and a message do not count.
  const times = Math.max(1, Math.round((backend.info.software ? 1e8 : 1e9) / flops));
  const rates: number[] = [];
  const ratios: number[] = [];
  for (let repeat = 0; repeat <= REPEATS; repeat++) {
    const conv = flops / (await seconds(backend, convolve, times)) / 1e9;
    const gemm = (2 * size ** 3) / (await seconds(backend, multiply, 1)) / 1e9;
    if (repeat === 0) continue;
    rates.push(conv);
    ratios.push(conv / gemm);
  }
  for (const slot of slots) backend.free(slot);
  const [rate, ratio] = [median(rates), median(ratios)];
  console.log(`${shape.name.padEnd(28)}${rate.toFixed(1).padStart(8)}${ratio.toFixed(2).padStart(12)}`);
}

async function table(backend: Backend): Promise<void> {
  console.log(`\n${backend.info.adapter}, ${backend.info.threads} threads`);
  console.log("convolution                  GFLOP/s  of matmul's");
  for (const shape of SHAPES) await compare(backend, shape);
}

const requested = process.argv.slice(2);
if (requested.includes("--gpu")) {
  const found = await findDawnAdapter({ software: true });
  if (found === undefined) throw new Error("no GPU");
  const backend = await WebGpuBackend.open(found);
  await table(backend);
  await backend.close();
} else {
  for (const threads of requested.length > 0 ? requested.map(Number) : [1, 2]) {
    await using engine = await open({ backend: "wasm", threads });
    await table(engine.backend);
  }
}
