/** `widefield info`: what this machine offers, and whether it computes rightly. */
import { Command } from "commander";
import { conv, dense, flatten, relu, serial } from "../sdk/arch/arch.ts";
import { kernel } from "../sdk/arch/kernel.ts";
import { digits } from "../sdk/data/digits.ts";
import type { Engine } from "../sdk/engine/engine.ts";
import { hasRelaxedSimd } from "../sdk/engine/wasm/variants.ts";
import { open, version } from "../sdk/index.node.ts";
import { platform } from "../sdk/platform/platform.ts";
import { formatBytes, table } from "./format.ts";
import { addOutputOptions, withSession } from "./session.ts";

interface Candidate {
  readonly backend: string;
  readonly name: string;
  readonly software: boolean;
  readonly maxBufferBytes: number;
  readonly features: readonly string[];
  /** Largest relative difference from float64 on a small kernel. */
  readonly selfTest: number;
}

export function infoCommand(): Command {
  const command = new Command("info").description("adapters, limits, features, and a self-test of every backend");
  return addOutputOptions(command).action((options: { json?: true; quiet?: true }) =>
    withSession(options, async (session) => {
      const host = platform();
      const wasm = await open({ backend: "wasm" });
      const candidates: Candidate[] = [await examine(wasm)];
      const found = await host.findAdapter({ software: true });
      const missing = found === undefined ? await host.explainNoAdapter() : [];
      if (found !== undefined) {
        const engine = await open({ backend: "webgpu", adapter: found.name });
        candidates.push({ ...(await examine(engine)), name: found.name });
        await engine.close();
        found.release();
      }
      await wasm.close();
      const facts = {
        version,
        runtime: `${host.name} ${host.version}`,
        threads: host.hardwareThreads,
        memoryBytes: host.memoryBytes ?? null,
        relaxedSimd: hasRelaxedSimd(),
        backends: candidates,
        ...(missing.length > 0 ? { noAdapter: missing } : {}),
      };
      if (session.json) {
        session.print(JSON.stringify(facts));
        return;
      }
      session.print(
        table([
          ["widefield", version],
          ["runtime", facts.runtime],
          ["threads", String(facts.threads)],
          ["memory", host.memoryBytes === undefined ? "unknown" : formatBytes(host.memoryBytes)],
          ["relaxed SIMD", facts.relaxedSimd ? "yes" : "no"],
        ]),
      );
      for (const { backend, name, software, maxBufferBytes, features, selfTest } of candidates) {
        session.print(`\n${backend}: ${name}${software ? " (software: used only when named)" : ""}`);
        session.print(
          table([
            ["  largest buffer", formatBytes(maxBufferBytes)],
            ["  features", features.join(", ") || "none"],
            ["  self-test", `${selfTest < 1e-6 ? "passed" : "FAILED"}, error ${selfTest.toExponential(1)}`],
          ]),
        );
      }
      if (missing.length > 0) session.print(["\nwebgpu: no adapter", ...missing.map((line) => `  ${line}`)].join("\n"));
      if (candidates.some(({ selfTest }) => !(selfTest < 1e-6))) process.exitCode = 1;
    }),
  );
}

/** A small network on two digits, in float32 against float64. */
async function examine(engine: Engine): Promise<Candidate> {
  const arch = serial(
    conv({ filter: 5, weightVariance: 2, biasVariance: 0.1 }),
    relu(),
    conv({ filter: 3, weightVariance: 2, biasVariance: 0.1 }),
    relu(),
    flatten(),
    dense(),
  );
  const set = digits({ size: 12 }).select("0:6");
  const single = await kernel(engine, arch, set);
  const double = await kernel(engine, arch, set, undefined, { precision: "f64" });
  let selfTest = 0;
  double.values.forEach((value: number, i: number) => {
    selfTest = Math.max(selfTest, Math.abs((single.values[i] ?? Number.NaN) / value - 1));
  });
  const { backend, adapter, software, maxBufferBytes, features } = engine.info;
  return { backend, name: adapter, software, maxBufferBytes, features, selfTest };
}
