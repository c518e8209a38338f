/**
 * The memory-bound kernels of training: GB/s by shape, each beside an elementwise sum of two arrays of as many bytes measured
 * alternately with it, which says what the machine's memory had to give at that moment. Medians of seven.
 *
 *     npm run bench -- train-channels [threads ...]
 */
import type { Backend, Slot } from "../sdk/engine/backend.ts";
import { ClassLossOperation } from "../sdk/engine/kernels/class-loss.ts";
import { ElementwiseOperation } from "../sdk/engine/kernels/elementwise.ts";
import {
  channelAffine,
  channelMoments,
  channelSums,
  classLoss,
  elementwise,
  softmax,
  softmaxGradient,
  stridedCopy,
} from "../sdk/engine/kernels/index.ts";
import type { Fields, KernelSchema, ParamsOf } from "../sdk/engine/schema.ts";
import { open } from "../sdk/index.node.ts";

const REPEATS = 7;
/** Bytes that one measurement moves. */
const SAMPLE = 2e8;

interface Subject {
  readonly name: string;
  readonly kernel: KernelSchema;
  readonly params: ParamsOf<Fields>;
  /** Floats of each buffer. */
  readonly floats: readonly number[];
  /** Floats that have to be read or written, at least. */
  readonly moved: number;
}

function subject<F extends Fields>(
  name: string,
  kernel: KernelSchema<F>,
  params: ParamsOf<F>,
  floats: readonly number[],
  moved = floats.reduce((sum, count) => sum + count, 0),
): Subject {
  return { name, kernel: kernel as unknown as KernelSchema, params, floats, moved };
}

type Sizes = readonly [batch: number, channels: number, pixels: number];

function channelSubjects(sizes: Sizes): Subject[] {
  const [batch, channels, pixels] = sizes;
  const count = batch * channels * pixels;
  const shape = { batch, channels, pixels };
  const at = sizes.join(" x ");
  const [sums, affine] = [4 * channels, 3 * channels];
  return [
    subject(`sums ${at}`, channelSums, { ...shape, products: 0 }, [count, 1, 1, sums], count),
    subject(`products ${at}`, channelSums, { ...shape, products: 1 }, [count, count, channels, sums], 2 * count),
    subject(`moments ${at}`, channelMoments, shape, [count, sums], count),
    subject(`affine ${at}`, channelAffine, { ...shape, useB: 0 }, [count, 1, affine, count], 2 * count),
    subject(`affine with b ${at}`, channelAffine, { ...shape, useB: 1 }, [count, count, affine, count], 3 * count),
  ];
}

type Four = readonly [number, number, number, number];

function copySubject(name: string, sizes: Four, inStrides: Four, outStrides: Four, outFloats: number): Subject {
  const [n0, n1, n2, n3] = sizes;
  const [inStride0, inStride1, inStride2, inStride3] = inStrides;
  const [outStride0, outStride1, outStride2, outStride3] = outStrides;
  const count = n0 * n1 * n2 * n3;
  const params = {
    ...{ n0, n1, n2, n3, inOffset: 0, inStride0, inStride1, inStride2, inStride3, alpha: 1 },
    ...{ outOffset: 0, outStride0, outStride1, outStride2, outStride3, beta: 0 },
  };
  return subject(name, stridedCopy, params, [count, outFloats], 2 * count);
}

function rowSubjects(rows: number, columns: number): Subject[] {
  const count = rows * columns;
  const at = `${rows} x ${columns}`;
  const loss = { rows, classes: columns, operation: ClassLossOperation.crossEntropy, scale: 1 };
  return [
    subject(`softmax ${at}`, softmax, { rows, columns, log: 0 }, [count, count]),
    subject(`log softmax ${at}`, softmax, { rows, columns, log: 1 }, [count, count]),
    subject(`softmax backward ${at}`, softmaxGradient, { rows, columns, log: 0 }, [count, count, count]),
    subject(`cross-entropy ${at}`, classLoss, loss, [count, rows, rows, count, rows]),
  ];
}

const SUBJECTS: readonly Subject[] = [
  ...channelSubjects([64, 32, 1156]),
  ...channelSubjects([64, 64, 256]),
  ...channelSubjects([64, 256, 16]),
  ...channelSubjects([64, 1024, 1]),
  ...channelSubjects([8, 200_000, 1]).slice(0, 1),
  copySubject("copy 64 x 32 x 32 x 32", [64, 32, 32, 32], [32768, 1024, 32, 1], [32768, 1024, 32, 1], 2 ** 21),
  copySubject("crop to 64 x 32 x 32 x 28", [64, 32, 32, 28], [32768, 1024, 32, 1], [28672, 896, 28, 1], 2 ** 21),
  copySubject("pad to 64 x 32 x 36 x 36", [64, 32, 32, 32], [32768, 1024, 32, 1], [41472, 1296, 36, 1], 2_654_208),
  copySubject("transpose 1024 x 1024", [1, 1, 1024, 1024], [0, 0, 1024, 1], [0, 0, 1, 1024], 2 ** 20),
  copySubject("transpose 1000 x 1500", [1, 1, 1000, 1500], [0, 0, 1500, 1], [0, 0, 1, 1000], 1_500_000),
  copySubject(
    "channels last, 64 x 32 x 32 x 32",
    [64, 32, 32, 32],
    [32768, 1024, 32, 1],
    [32768, 1, 1024, 32],
    2 ** 21,
  ),
  copySubject("channels last, 64 x 3 x 32 x 32", [64, 3, 32, 32], [3072, 1024, 32, 1], [3072, 1, 96, 3], 196_608),
  ...rowSubjects(64, 10),
  ...rowSubjects(4096, 100),
  ...rowSubjects(64, 1000),
];

async function seconds(backend: Backend, run: () => void, times: number): Promise<number> {
  const started = performance.now();
  for (let i = 0; i < times; i++) run();
  await backend.finish();
  return (performance.now() - started) / 1000 / times;
}

function median(values: number[]): number {
  return values.sort((x, y) => x - y)[values.length >> 1] ?? NaN;
}

async function compare(backend: Backend, { name, kernel, params, floats, moved }: Subject): Promise<void> {
  // An elementwise sum moves three arrays.
  const count = Math.ceil(moved / 3);
  const slots = [...floats, count, count, count].map((length): Slot => {
    const slot = backend.allocate(4 * length, "bench");
    backend.write(slot, 0, new Float32Array(length).map(Math.random));
    return slot;
  });
  // Labels are whole numbers.
  const labels = slots[1];
  if (kernel.name === classLoss.name && labels !== undefined) backend.write(labels, 0, new Uint32Array(floats[1] ?? 0));
  const own = slots.slice(0, floats.length);
  const sum = { count, operation: ElementwiseOperation.add, alpha: 1, beta: 1 };
  const run = (): void => backend.dispatch(kernel, params, own);
  const add = (): void => backend.dispatch(elementwise, sum, slots.slice(floats.length));
  const times = Math.ceil(SAMPLE / (4 * moved));
  const rates: number[] = [];
  const ratios: number[] = [];
  for (let repeat = 0; repeat <= REPEATS; repeat++) {
    const rate = (4 * moved) / (await seconds(backend, run, times)) / 1e9;
    const plain = (12 * count) / (await seconds(backend, add, times)) / 1e9;
    if (repeat === 0) continue;
    rates.push(rate);
    ratios.push(rate / plain);
  }
  for (const slot of slots) backend.free(slot);
  console.log(`${name.padEnd(40)}${median(rates).toFixed(1).padStart(8)}${median(ratios).toFixed(2).padStart(12)}`);
}

for (const threads of process.argv.length > 2 ? process.argv.slice(2).map(Number) : [1, 2]) {
  await using engine = await open({ backend: "wasm", threads });
  console.log(`\n${engine.backend.info.adapter}, ${engine.backend.info.threads} threads`);
  console.log("kernel                                      GB/s    of a sum's");
  for (const one of SUBJECTS) await compare(engine.backend, one);
}
