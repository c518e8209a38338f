import fc from "fast-check";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { freshSeed } from "../../test/seed.ts";
import { RandomStream } from "../engine/rng.ts";
import { nodePlatform } from "../platform/node.ts";
import { installPlatform, type WorkerHandle } from "../platform/platform.ts";
import { drawCut } from "./augment.ts";
import { type BatchSource, datasetSource, fromTargets, problemSource, requireFit } from "./batch-source.ts";
import { type Batch, batches, BatchLoader, type BatchPlan, epochOrder, release } from "./batches.ts";
import { type Dataset, fromArrays } from "./dataset.ts";
import { digits } from "./digits.ts";
import { normalisationOf } from "./normalisation.ts";
import { classification } from "./problems.ts";

installPlatform(nodePlatform);

/** Node hides its collector behind a flag. */
async function collectGarbage(): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  // A weak reference holds on to what was just asked of it until this turn has ended.
  await new Promise((resolve) => setTimeout(resolve));
  collect();
}

const seed = freshSeed();
const random = new RandomStream(seed, "batches.test");

/** Byte images of a random awkward shape, some of them test images, under the name whose augmentation is wanted. */
function dataset(name: string, count: number, channels = 3): Dataset {
  const shape = { channels, height: 5 + random.below(6), width: 5 + random.below(6) };
  const floats = channels * shape.height * shape.width;
  return fromArrays({
    name,
    shape,
    images: Uint8Array.from({ length: count * floats }, () => random.below(256)),
    labels: Array.from({ length: count }, () => random.below(4)),
    classes: 4,
    trainCount: Math.ceil(count / 2),
  });
}

const normalisation = normalisationOf("cifar10");

function planOf(source: BatchSource, more: Partial<BatchPlan> = {}): BatchPlan {
  const order = epochOrder(
    Uint32Array.from({ length: source.count }, (_, i) => i),
    seed,
    3,
  );
  return { source, order, batch: 7, augment: true, seed, epoch: 3, workers: 0, normalisation, ...more };
}

/** Copies of all batches, whose memory is given back. */
async function collected(plan: BatchPlan): Promise<Batch[]> {
  const all: Batch[] = [];
  for await (const batch of batches(plan)) {
    all.push({
      ...batch,
      images: batch.images.slice(),
      labels: batch.labels.slice(),
      indices: batch.indices.slice(),
      ...(batch.targets === undefined ? {} : { targets: batch.targets.slice() }),
    });
    release(batch);
  }
  return all;
}

/** What torchvision's RandomCrop(padding), RandomHorizontalFlip, ToTensor and Normalize make of an image, in float64. */
function expectedImage(from: Dataset, index: number, padding: number): number[] {
  const { channels, height, width } = from.shape;
  const [row] = [from.selectFloat64([{ start: index, end: index + 1 }]).images];
  const { top, left, mirrored } = drawCut(seed, 3, index, { rows: 2 * padding, columns: 2 * padding, flip: true });
  const out: number[] = [];
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const column = left - padding + (mirrored ? width - 1 - x : x);
        const line = top - padding + y;
        const inside = line >= 0 && line < height && column >= 0 && column < width;
        const value = inside ? (row[(c * height + line) * width + column] ?? NaN) : 0;
        out.push(Math.fround((value - (normalisation?.mean[c] ?? NaN)) / (normalisation?.std[c] ?? NaN)));
      }
    }
  }
  return out;
}

describe("batches", () => {
  it("are the images of the order, cut out of black padding, mirrored, normalised", async () => {
    const data = dataset("cifar10", 23);
    const plan = planOf(datasetSource(data));
    const all = await collected(plan);
    expect(all.map(({ count }) => count)).toEqual([7, 7, 7, 2]);
    expect(all.flatMap(({ indices }) => [...indices])).toEqual([...plan.order]);
    expect(all.flatMap(({ labels }) => [...labels])).toEqual(Array.from(plan.order, (index) => data.labels[index]));
    const images = all.flatMap((batch) => [...batch.images]);
    expect(images).toEqual([...plan.order].flatMap((index) => expectedImage(data, index, 4)));
  });

  it("without augmentation, and under names that have none, are the images themselves", async () => {
    const plain = { normalisation: undefined, batch: 4 };
    for (const [name, augment] of [
      ["cifar10", false],
      ["svhn", true],
    ] as const) {
      const data = dataset(name, 9);
      const plan = planOf(datasetSource(data), { ...plain, augment });
      const images = (await collected(plan)).flatMap((batch) => [...batch.images]);
      expect(images).toEqual([...plan.order].flatMap((index) => [...data.select(`${index}:${index + 1}`).images]));
    }
  });

  it("are the same bits for any number of workers, and for any batch size the same images", async () => {
    const source = datasetSource(dataset("cifar100", 41));
    const here = await collected(planOf(source));
    for (const workers of [1, 3]) {
      const log = (line: string) => expect.unreachable(line);
      expect(await collected(planOf(source, { workers, log }))).toEqual(here);
    }
    const flat = (all: Batch[]) => all.flatMap(({ images }) => [...images]);
    expect(flat(await collected(planOf(source, { batch: 13, workers: 2 })))).toEqual(flat(here));
  });

  it("of images that are made when they are asked for are the same on workers", async () => {
    const source = () => datasetSource(digits({ trainCount: 30, testCount: 5 }));
    const one = { normalisation: normalisationOf("mnist") };
    const here = await collected(planOf(source(), one));
    expect(await collected(planOf(source(), { ...one, workers: 2 }))).toEqual(here);
    expect(here).toHaveLength(5);
  });

  it("differ from epoch to epoch and from seed to seed", async () => {
    const source = datasetSource(dataset("cifar10", 12));
    const order = Uint32Array.from({ length: 12 }, (_, i) => i);
    const of = async (more: Partial<BatchPlan>) =>
      (await collected(planOf(source, { order, ...more }))).flatMap(({ images }) => [...images]);
    const first = await of({});
    expect(await of({})).toEqual(first);
    expect(await of({ epoch: 4 })).not.toEqual(first);
    expect(await of({ seed: seed + 1 })).not.toEqual(first);
  });

  it("use the memory of those that were released again", async () => {
    const source = datasetSource(dataset("mnist", 400, 1));
    const loader = await BatchLoader.open({ source, workers: 0 });
    const buffers = new Set<ArrayBuffer>();
    const { order } = planOf(source);
    for (const epoch of [0, 1]) {
      for await (const batch of loader.batches({ order, batch: 16, augment: true, seed, epoch })) {
        buffers.add(batch.images.buffer);
        release(batch);
      }
    }
    expect(buffers.size).toBe(1);
    await loader.close();
    await expect(loader.batches({ order, batch: 16, augment: true, seed, epoch: 0 }).next()).rejects.toMatchObject({
      code: "E_CLOSED",
    });
  });

  it("that are not released keep their values", async () => {
    const source = datasetSource(dataset("cifar10", 50));
    const plan = planOf(source, { workers: 2 });
    const kept: Batch[] = [];
    for await (const batch of batches(plan)) kept.push(batch);
    expect(kept).toEqual(await collected(plan));
  });

  it("that are not released are collected while their epoch goes on", async () => {
    const source = datasetSource(dataset("mnist", 400, 1));
    for (const workers of [0, 1]) {
      const seen: WeakRef<ArrayBuffer>[] = [];
      for await (const batch of batches(planOf(source, { workers, normalisation: undefined }))) {
        seen.push(new WeakRef(batch.images.buffer));
        if (seen.length < 40) continue;
        await collectGarbage();
        expect(seen.filter((buffer) => buffer.deref() !== undefined).length).toBeLessThan(10);
        break;
      }
      expect(seen).toHaveLength(40);
    }
  });

  it("stop when nobody asks any more, and when they are told to", async () => {
    const source = datasetSource(dataset("cifar10", 200));
    const loader = await BatchLoader.open({ source, workers: 2 });
    const plan = planOf(source);
    for await (const batch of loader.batches(plan)) {
      release(batch);
      break;
    }
    expect((await loader.batches(plan).next()).done).toBe(false);
    await loader.close();
    const controller = new AbortController();
    const stopped = (async () => {
      for await (const batch of batches({ ...plan, workers: 2, signal: controller.signal })) {
        release(batch);
        controller.abort();
      }
    })();
    await expect(stopped).rejects.toMatchObject({ code: "E_ABORTED" });
  });

  it("fail with the worker's name when it dies, and do not hang", async () => {
    const handles: WorkerHandle[] = [];
    const platform = {
      startWorker: async () => {
        const handle = await nodePlatform.startWorker("data");
        handles.push(handle);
        return handle;
      },
    };
    const source = datasetSource(dataset("cifar10", 300));
    const run = (async () => {
      for await (const batch of batches(planOf(source, { workers: 2, platform }))) {
        release(batch);
        // No message that a data worker takes: it throws where nobody catches.
        handles[1]?.post(null);
      }
    })();
    await expect(run).rejects.toMatchObject({
      code: "E_DEVICE",
      message: expect.stringContaining("data worker 2 of 2 stopped") as string,
    });
  });

  it("come from the caller's thread where no worker starts, which is said", async () => {
    const lines: string[] = [];
    const source = datasetSource(dataset("cifar10", 20));
    const platform = { startWorker: () => Promise.reject(new Error("no threads here")) };
    const plan = planOf(source, { workers: 2, platform, log: (line) => lines.push(line) });
    expect(await collected(plan)).toEqual(await collected(planOf(source)));
    expect(lines.join()).toContain("2 of 2 data workers did not start (no threads here)");
  });

  it("of a plan that cannot be meant are refused", async () => {
    const source = datasetSource(dataset("cifar10", 5));
    const refusal = (more: Partial<BatchPlan>) => expect(collected(planOf(source, more))).rejects;
    await refusal({ batch: 0 }).toMatchObject({ code: "E_CONFIG" });
    await refusal({ epoch: -1 }).toMatchObject({ code: "E_CONFIG" });
    await refusal({ workers: 1.5 }).toMatchObject({ code: "E_CONFIG" });
    await refusal({ order: Uint32Array.of(0, 5) }).toMatchObject({ code: "E_RANGE" });
    await refusal({ normalisation: normalisationOf("mnist") }).toMatchObject({ code: "E_SHAPE" });
    expect(await collected(planOf(source, { order: new Uint32Array() }))).toEqual([]);
  });
});

describe("targets", () => {
  it("go out with their images", async () => {
    const [count, features, outputs] = [11, 3, 2];
    const images = Float32Array.from({ length: count * features }, () => random.normal());
    const targets = Float32Array.from({ length: count * outputs }, () => random.normal());
    const source = fromTargets({ shape: features, images, targets, outputs });
    const plan = planOf(source, { normalisation: undefined, batch: 4, workers: 1 });
    const all = await collected(plan);
    const rows = (array: Float32Array, width: number) =>
      [...plan.order].flatMap((index) => [...array.subarray(index * width, (index + 1) * width)]);
    expect(all.flatMap((batch) => [...batch.images])).toEqual(rows(images, features));
    expect(all.flatMap((batch) => [...(batch.targets ?? [])])).toEqual(rows(targets, outputs));
    expect(all.every(({ labels }) => labels.length === 0)).toBe(true);
  });

  it("of a problem are its targets, with labels where it decides classes", async () => {
    const data = dataset("mnist", 16, 1);
    const problem = classification("problem", data);
    const source = problemSource(problem, "8:16,0:3");
    const [batch] = await collected(
      planOf(source, { order: Uint32Array.from({ length: 11 }, (_, i) => i), batch: 11, normalisation: undefined }),
    );
    expect(batch?.targets).toEqual(Float32Array.from(problem.targets("8:16,0:3")));
    expect([...(batch?.labels ?? [])]).toEqual([...data.select("8:16,0:3").labels]);
  });

  it("and labels that do not fit are refused, with their index", () => {
    const images = new Float32Array(6);
    expect(() => fromTargets({ shape: 4, images, labels: [0], classes: 1 })).toThrow("no whole number of images");
    expect(() => fromTargets({ shape: 3, images, labels: [0, 2], classes: 2 })).toThrow("label 1 is 2");
    expect(() => fromTargets({ shape: 3, images, labels: [0], classes: 2 })).toThrow("2 images and 1 labels");
    expect(() => fromTargets({ shape: 3, images })).toThrow("nothing to learn");
    expect(() => fromTargets({ shape: 3, images, targets: new Float32Array(3), outputs: 2 })).toThrow("need 4 targets");
    const targets = Float32Array.of(0, 1, 2, NaN);
    expect(() => fromTargets({ shape: 3, images, targets, outputs: 2 })).toThrow("output 1 of image 1");
    const infinite = Float32Array.of(0, 0, 0, 0, Infinity, 0);
    expect(() => fromTargets({ shape: 3, images: infinite, labels: [0, 0], classes: 1 })).toThrow("image 1, pixel 1");
  });

  it("and images that a network does not take are refused", () => {
    const data = dataset("cifar10", 40);
    const source = datasetSource(data);
    const input = data.shape;
    expect(() => requireFit(source, { input, outputs: 4 })).not.toThrow();
    expect(() => requireFit(source, { input: { ...input, width: 4 }, outputs: 4 })).toThrow("the network takes");
    const first = data.labels.findIndex((label) => label >= 2);
    expect(() => requireFit(source, { input, outputs: 2 })).toThrow(`image ${first} has label`);
    const regression = fromTargets({ shape: 3, images: new Float32Array(6), targets: new Float32Array(4), outputs: 2 });
    const vector = { channels: 1, height: 1, width: 3 };
    expect(() => requireFit(regression, { input: vector, outputs: 3 })).toThrow("its targets have 2 outputs");
  });
});

describe("the order of an epoch", () => {
  it("is a permutation that the seed and the epoch decide", () => {
    fc.assert(
      fc.property(fc.uint32Array({ maxLength: 50 }), fc.nat(), fc.nat(1000), (indices, anySeed, epoch) => {
        const order = epochOrder(indices, anySeed, epoch);
        expect([...order].sort((a, b) => a - b)).toEqual([...indices].sort((a, b) => a - b));
        expect(epochOrder(indices, anySeed, epoch)).toEqual(order);
      }),
      { seed },
    );
    const indices = Uint32Array.from({ length: 100 }, (_, i) => i);
    expect(epochOrder(indices, seed, 0)).not.toEqual(epochOrder(indices, seed, 1));
  });
});
