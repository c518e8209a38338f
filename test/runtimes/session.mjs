/**
 * What every runtime does in a test, written once for Node, Deno and pages: it opens an engine from the built files,
 * runs the conformance suite on it, trains a small network on batches that workers prepare, and closes it. Plain JavaScript without imports, so that all of them can load it.
 */

/** The code of what `promise` rejects with, and its message; undefined if it resolves. */
async function refusal(promise) {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return { code: error.code ?? error.name, message: error.message };
  }
}

/** FNV-1a over the bits of floats. */
function checkSum(floats, start = 0x811c9dc5) {
  let hash = start;
  const words = new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
  for (const word of words) hash = Math.imul(hash ^ word, 0x01000193);
  return hash >>> 0;
}

/** Colour images of 9 x 7 bytes under a name whose images are cut and mirrored at random. */
function images(widefield) {
  const [count, floats] = [120, 3 * 9 * 7];
  return widefield.datasetSource(
    widefield.fromArrays({
      name: "cifar10",
      shape: { channels: 3, height: 9, width: 7 },
      images: Uint8Array.from({ length: count * floats }, (_, i) => Math.imul(i, 2654435761) >>> 24),
      labels: Array.from({ length: count }, (_, i) => i % 3),
      classes: 3,
    }),
  );
}

/** Check sums of one epoch's batches, from the caller's thread and from two workers, and how many of these started. */
async function batchesOf(widefield, source) {
  const normalisation = widefield.normalisationOf("cifar10");
  const sums = async (workers) => {
    const loader = await widefield.BatchLoader.open({ source, workers });
    try {
      const order = widefield.epochOrder(
        Uint32Array.from({ length: source.count }, (_, i) => i),
        7,
        2,
      );
      const plan = { order, batch: 32, augment: true, seed: 7, epoch: 2, normalisation };
      const found = [];
      for await (const batch of loader.batches(plan)) {
        found.push(checkSum(batch.images));
        widefield.release(batch);
      }
      return { workers: loader.workers, sums: found };
    } finally {
      await loader.close();
    }
  };
  return [await sums(0), await sums(2)];
}

/** Losses of three epochs of a small network, and the check sum of its weights after them. */
async function trainingOf(widefield, engine, source) {
  const { serial, conv, threshold, batchNorm, maxPool, flatten, dense } = widefield;
  const act = threshold({ low: -1, backward: "SoftHinge" });
  const arch = serial(conv({ filter: 3, channels: 4 }), batchNorm(), maxPool({ window: 2 }), act, flatten(), dense());
  const model = widefield.network(engine, arch, { input: source.shape, outputs: 3, channels: 4, seed: 7 });
  const loader = await widefield.BatchLoader.open({ source, workers: 1 });
  try {
    const plan = { batch: 40, augment: true, seed: 7, normalisation: widefield.normalisationOf("cifar10") };
    const all = Uint32Array.from({ length: source.count }, (_, i) => i);
    const { history } = await widefield.train({
      engine,
      model,
      data: {
        inputShape: [3, 9, 7],
        classes: 3,
        trainCount: source.count,
        batchCount: () => 3,
        batchesOf: (epoch) => loader.batches({ ...plan, order: widefield.epochOrder(all, 7, epoch), epoch }),
        evaluation: {},
        release: widefield.release,
      },
      optimiser: widefield.adam({ rate: 0.01 }),
      epochs: 3,
    });
    const { parameters } = await widefield.captureModel(model);
    const weights = parameters.reduce((sum, { data }) => checkSum(data, sum), 0x811c9dc5);
    return { losses: history.map(({ training }) => training.loss), weights };
  } finally {
    model.dispose();
    await loader.close();
  }
}

/**
 * @param widefield a built entry point of the package
 * @param conformance the built conformance suite
 * @param options `open` options; `threadCounts`: further thread counts to compare bits with; `kernels`: only these
 */
export async function session(widefield, conformance, { threadCounts = [], kernels, ...options }) {
  const suite = { rateSeconds: 0.02, ...(kernels === undefined ? {} : { kernels }) };
  const engine = await widefield.open(options);
  const info = engine.info;
  const rows = await conformance.runConformance(engine.backend, suite);
  const source = images(widefield);
  const batches = await batchesOf(widefield, source);
  const training = await trainingOf(widefield, engine, source);
  const leaked = await engine.stats();
  const whileClosing = refusal(engine.backend.finish());
  await Promise.all([engine.close(), engine.close()]);
  const afterClose = await refusal(engine.backend.finish());
  const threads = [];
  for (const count of threadCounts) {
    const other = await widefield.open({ ...options, threads: count });
    const digests = (await conformance.runConformance(other.backend, { ...suite, rateSeconds: 0 })).map(digestOf);
    threads.push({ count, info: other.info, digests, training: await trainingOf(widefield, other, source) });
    await other.close();
  }
  const noAdapter = await refusal(widefield.open({ backend: "webgpu", adapter: "no such adapter" }));
  const noHardware = await refusal(widefield.open({ backend: "webgpu" }));
  const automatic = await widefield.open(options.threads === undefined ? {} : { threads: options.threads });
  const automaticInfo = automatic.info;
  await automatic.close();
  const badThreads = await refusal(widefield.open({ threads: 0 }));
  return {
    info,
    rows,
    digests: rows.map(digestOf),
    batches,
    training,
    leaked,
    whileClosing: await whileClosing,
    afterClose,
    threads,
    noAdapter,
    noHardware,
    automatic: automaticInfo,
    badThreads,
    hasRelaxedSimd: conformance.hasRelaxedSimd(),
    offRows: conformance.offRows(rows),
  };
}

function digestOf({ kernel, digest }) {
  return `${kernel} ${digest.toString(16)}`;
}
