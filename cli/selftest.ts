/** `widefield selftest`: every kernel on the chosen adapter against float64. */
import { Command } from "commander";
import { kernelsOn, offRows, runConformance, type RowResult } from "../sdk/engine/conformance/conformance.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { version } from "../sdk/index.node.ts";
import { platform } from "../sdk/platform/platform.ts";
import { formatRate, table } from "./format.ts";
import { addEngineOptions, withEngine, type CommonOptions, type Session } from "./session.ts";

interface Tested extends RowResult {
  /** What it ran on: the GPU's name, or the wasm build. */
  readonly adapter: string;
}

export function selftestCommand(): Command {
  const command = new Command("selftest").description(
    "every kernel on the chosen adapter against float64: errors and rates; exit code 1 if any is off",
  );
  return addEngineOptions(command).action((options: CommonOptions) =>
    withEngine(options, async (engine, session) => {
      const kernels = await testKernels(engine, session);
      const { backend, adapter, software, threads } = engine.info;
      const ok = kernels.every((row) => row.ok);
      const facts = {
        version,
        runtime: `${platform().name} ${platform().version}`,
        backend,
        adapter,
        software,
        threads,
      };
      if (session.json) session.print(JSON.stringify({ ...facts, seed: engine.seed, ok, kernels }));
      else session.print([`${backend}: ${adapter}`, "", tableOf(kernels), "", ...verdict(kernels)].join("\n"));
      if (!ok) process.exitCode = 1;
    }),
  );
}

/** On the engine's own backend, and the kernels that exist on wasm only (float64) on the wasm backend beside it. */
async function testKernels(engine: Engine, session: Session): Promise<Tested[]> {
  const tested: Tested[] = [];
  const cpu = await engine.cpu();
  const own = kernelsOn(engine.backend);
  const others = kernelsOn(cpu).filter((kernel) => !own.includes(kernel));
  const total = own.length + others.length;
  session.progress.update("self-test", 0, total);
  for (const [backend, kernels] of [
    [engine.backend, own],
    [cpu, others],
  ] as const) {
    const onRow = (row: RowResult): void => {
      tested.push({ ...row, adapter: backend.info.adapter });
      session.progress.update("self-test", tested.length, total);
    };
    await runConformance(backend, { seed: engine.seed, kernels, signal: session.signal, onRow });
  }
  return tested;
}

function tableOf(kernels: readonly Tested[]): string {
  return table([
    ["kernel", "on", "cases", "largest error", "tolerance", "rate", ""],
    ...kernels.map(({ kernel, adapter, cases, maxError, tolerance, rate, unit, ok }) => [
      ...[kernel, adapter, cases, maxError.toExponential(1), tolerance.toExponential(0)],
      ...[rate === undefined ? "" : formatRate(rate, unit), ok ? "ok" : "OFF"],
    ]),
  ]);
}

function verdict(kernels: readonly Tested[]): string[] {
  const off = offRows(kernels);
  return off.length === 0 ? [`all ${kernels.length} kernels agree with float64`] : ["kernels are off:", ...off];
}
