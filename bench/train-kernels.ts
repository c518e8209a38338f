/**
 * The kernels that a training step of a convolutional network spends its time in, on wasm: GFLOP/s by shape, each beside
 * a 1024^3 matrix product measured alternately with it, which says what the machine had to give at that moment. The
 * shapes are those of `convnet4` at batch 64 on 3x32x32, and a few that networks with strides and 1x1 filters have.
 * Pools are in milliseconds: they move memory. Medians of seven.
 *
 *     npm run bench -- train-kernels [threads ...]
 */
import type { Backend, Slot } from "../sdk/engine/backend.ts";
import { conv2d, conv2dInput, conv2dWeights, matmul, pool2d, pool2dInput } from "../sdk/engine/kernels/index.ts";
import { weightParts } from "../sdk/engine/kernels/conv2d-weights.ts";
import { PoolOperation } from "../sdk/engine/kernels/pool2d.ts";
import { open } from "../sdk/index.node.ts";

const REPEATS = 7;
const SIDE = 1024;

interface Convolution {
  readonly name: string;
  readonly batch: number;
  readonly from: number;
  readonly side: number;
  readonly to: number;
  readonly outSide: number;
  readonly filter: number;
  readonly pad: number;
  readonly stride?: number;
}

const CONVOLUTIONS: readonly Convolution[] = [
  { name: "convnet4, first", batch: 64, from: 3, side: 32, to: 32, outSide: 34, filter: 5, pad: 3 },
  { name: "convnet4, second", batch: 64, from: 32, side: 17, to: 64, outSide: 17, filter: 5, pad: 2 },
  { name: "3x3, 64 channels", batch: 32, from: 64, side: 16, to: 64, outSide: 16, filter: 3, pad: 1 },
  { name: "3x3 stride 2", batch: 32, from: 64, side: 16, to: 128, outSide: 8, filter: 3, pad: 1, stride: 2 },
  { name: "1x1, 64 to 128", batch: 32, from: 64, side: 16, to: 128, outSide: 16, filter: 1, pad: 0 },
  { name: "5x5 to one pixel", batch: 64, from: 128, side: 5, to: 512, outSide: 1, filter: 5, pad: 0 },
];

interface Product {
  readonly name: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA?: 1;
  readonly transposeB?: 1;
}

const PRODUCTS: readonly Product[] = [
  { name: "dense 4096-1024, forward", m: 64, n: 1024, k: 4096, transposeB: 1 },
  { name: "dense 4096-1024, input", m: 64, n: 4096, k: 1024 },
  { name: "dense 4096-1024, weights", m: 1024, n: 4096, k: 64, transposeA: 1 },
  { name: "dense 1024-10, forward", m: 64, n: 10, k: 1024, transposeB: 1 },
  { name: "dense 1024-10, input", m: 64, n: 1024, k: 10 },
  { name: "dense 1024-10, weights", m: 10, n: 1024, k: 64, transposeA: 1 },
];

function convolutionParams({ batch, from, side, to, outSide, filter, pad, stride = 1 }: Convolution) {
  return {
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
  };
}

class Bench {
  readonly #backend: Backend;
  readonly #square: readonly Slot[];

  constructor(backend: Backend) {
    this.#backend = backend;
    this.#square = [0, 1, 2].map(() => this.#random(SIDE * SIDE));
  }

  products(): Promise<void> {
    return this.#each(PRODUCTS, async ({ name, m, n, k, transposeA = 0, transposeB = 0 }) => {
      const params = { m, n, k, transposeA, transposeB, alpha: 1, beta: 0 };
      await this.#rate(`matmul, ${name}`, 2 * m * n * k, [m * k, k * n, m * n], (slots) => {
        this.#backend.dispatch(matmul, params, slots);
      });
    });
  }

  convolutions(): Promise<void> {
    return this.#each(CONVOLUTIONS, async (shape) => {
      const { name, batch, from, side, to, outSide, filter } = shape;
      const size = convolutionParams(shape);
      const parts = weightParts(size);
      const images = batch * from * side * side;
      const weights = to * from * filter * filter;
      const outputs = batch * to * outSide * outSide;
      const flops = 2 * outputs * from * filter * filter;
      await this.#rate(`conv2d, ${name}`, flops, [images, weights, to, outputs], (slots) => {
        this.#backend.dispatch(conv2d, { ...size, useBias: 0 }, slots);
      });
      await this.#rate(`conv2dInput, ${name}`, flops, [outputs, weights, images], (slots) => {
        this.#backend.dispatch(conv2dInput, size, slots);
      });
      const label = `conv2dWeights, ${name} (${parts})`;
      await this.#rate(label, flops, [images, outputs, parts * weights], (slots) => {
        this.#backend.dispatch(conv2dWeights, { ...size, parts }, slots);
      });
    });
  }

  pools(): Promise<void> {
    const shapes = [
      { name: "convnet4, first", planes: 64 * 32, side: 34, outSide: 17, window: 2, stride: 2, pad: 0 },
      { name: "convnet4, second", planes: 64 * 64, side: 17, outSide: 8, window: 2, stride: 2, pad: 0 },
      { name: "alexnet, 3/2", planes: 16 * 256, side: 27, outSide: 14, window: 3, stride: 2, pad: 1 },
    ];
    return this.#each(shapes, async ({ name, planes, side, outSide, window, stride, pad }) => {
      for (const operation of ["max", "mean"] as const) {
        const params = {
          planes,
          inHeight: side,
          inWidth: side,
          outHeight: outSide,
          outWidth: outSide,
          windowHeight: window,
          windowWidth: window,
          strideHeight: stride,
          strideWidth: stride,
          padTop: pad,
          padLeft: pad,
          operation: PoolOperation[operation],
        };
        const slots = [planes * side * side, planes * outSide * outSide, planes * outSide * outSide].map((floats) =>
          this.#random(floats),
        );
        const [image, pooled, places] = slots as [Slot, Slot, Slot];
        const times: [number[], number[]] = [[], []];
        for (let repeat = 0; repeat <= REPEATS; repeat++) {
          const forward = await this.#seconds(() => this.#backend.dispatch(pool2d, params, [image, pooled, places]), 4);
          const backward = await this.#seconds(
            () => this.#backend.dispatch(pool2dInput, params, [pooled, places, image]),
            4,
          );
          if (repeat === 0) continue;
          times[0].push(forward);
          times[1].push(backward);
        }
        const [forward, backward] = times.map((values) => (median(values) * 1000).toFixed(2).padStart(7));
        console.log(`${`pool2d ${operation}, ${name}`.padEnd(44)}${forward} ms, backward ${backward} ms`);
        for (const slot of slots) this.#backend.free(slot);
      }
    });
  }

  async #each<T>(shapes: readonly T[], run: (shape: T) => Promise<void>): Promise<void> {
    for (const shape of shapes) await run(shape);
  }

  /** Prints the rate of `run`, and its share of the square product's. */
  async #rate(name: string, flops: number, floats: readonly number[], run: (slots: Slot[]) => void): Promise<void> {
    const slots = floats.map((count) => this.#random(count));
    // Enough a sample that a fence and a message do not count.
    const times = Math.max(1, Math.round(5e8 / flops));
    const product = { m: SIDE, n: SIDE, k: SIDE, transposeA: 0, transposeB: 0, alpha: 1, beta: 0 };
    const rates: number[] = [];
    const ratios: number[] = [];
    for (let repeat = 0; repeat <= REPEATS; repeat++) {
      const rate = flops / 1e9 / (await this.#seconds(() => run(slots), times));
      const square = await this.#seconds(() => this.#backend.dispatch(matmul, product, this.#square), 1);
      if (repeat === 0) continue;
      rates.push(rate);
      ratios.push((rate * square) / (2e-9 * SIDE ** 3));
    }
    for (const slot of slots) this.#backend.free(slot);
    console.log(`${name.padEnd(44)}${median(rates).toFixed(1).padStart(8)}${median(ratios).toFixed(2).padStart(10)}`);
  }

  async #seconds(run: () => void, times: number): Promise<number> {
    const started = performance.now();
    for (let i = 0; i < times; i++) run();
    await this.#backend.finish();
    return (performance.now() - started) / 1000 / times;
  }

  #random(floats: number): Slot {
    const slot = this.#backend.allocate(4 * floats, "bench");
    this.#backend.write(slot, 0, new Float32Array(floats).map(Math.random));
    return slot;
  }
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}

const requested = process.argv.slice(2).map(Number);
for (const threads of requested.length > 0 ? requested : [2]) {
  await using engine = await open({ backend: "wasm", threads });
  console.log(`\n${engine.info.adapter}, ${threads} threads`);
  console.log(`${"".padEnd(44)} GFLOP/s  of 1024^3`);
  const bench = new Bench(engine.backend);
  await bench.products();
  await bench.convolutions();
  await bench.pools();
}
