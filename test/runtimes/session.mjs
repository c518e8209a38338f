/**
 * What every runtime does in a test, written once for Node, Deno and pages: it opens an engine from the built files,
 * runs the conformance suite on it, and closes it. Plain JavaScript without imports, so that all of them can load it.
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
  const leaked = await engine.stats();
  const whileClosing = refusal(engine.backend.finish());
  await Promise.all([engine.close(), engine.close()]);
  const afterClose = await refusal(engine.backend.finish());
  const threads = [];
  for (const count of threadCounts) {
    const other = await widefield.open({ ...options, threads: count });
    const digests = (await conformance.runConformance(other.backend, { ...suite, rateSeconds: 0 })).map(digestOf);
    threads.push({ count, info: other.info, digests });
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
