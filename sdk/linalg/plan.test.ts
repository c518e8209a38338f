/** Plans of factorisations: what the budget holds, where tiles go, how panels cover the columns. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openWasm } from "../../test/wasm.ts";
import { difference, norm, randoms } from "../../test/spectra.ts";
import { fixedBytes } from "../engine/wasm/layout.ts";
import { WidefieldError } from "../errors.ts";
import { cholesky } from "./cholesky.ts";
import { choleskyPlan, panelRanges, WASM_BYTES, type CholeskyPlan, type PlanOptions } from "./plan.ts";
import { Tiling } from "./tiling.ts";

const MIB = 2 ** 20;

/** Small ones and large ones alike. */
const sizes = fc.oneof(
  fc.integer({ min: 1, max: 300 }),
  fc.integer({ min: 300, max: 20_000 }),
  fc.integer({ min: 20_000, max: 200_000 }),
);
const budgets = fc.double({ min: 20, max: 40, noNaN: true }).map((exponent) => Math.floor(2 ** exponent));
const settings = fc.record({
  threads: fc.integer({ min: 1, max: 64 }),
  blockSize: fc.constantFrom(undefined, 1, 100, 512, 2000),
  wasmBytes: fc.constantFrom(undefined, 2 ** 31, 2 ** 32 - 2 ** 28),
});
type Settings = Omit<PlanOptions, "memoryBytes">;

function planOrRefusal(n: number, options: PlanOptions): CholeskyPlan | WidefieldError {
  try {
    return choleskyPlan(n, options);
  } catch (thrown) {
    if (thrown instanceof WidefieldError) return thrown;
    throw thrown;
  }
}

function refusal(n: number, options: PlanOptions): WidefieldError {
  const refused = planOrRefusal(n, options);
  if (refused instanceof WidefieldError) return refused;
  throw new Error(`planned ${refused.where}`);
}

const rank = { scratch: 1, buffers: 2, memory: 3 } as const;
const rankOf = (n: number, options: PlanOptions): number => {
  const plan = planOrRefusal(n, options);
  return plan instanceof WidefieldError ? 0 : rank[plan.where];
};

describe("a factorisation's plan", () => {
  it("stays within the budget, and within what WebAssembly addresses", () => {
    fc.assert(
      fc.property(sizes, budgets, settings, (n, memoryBytes, options: Settings) => {
        const plan = planOrRefusal(n, { ...options, memoryBytes });
        if (plan instanceof WidefieldError) return;
        const { threads, wasmBytes = WASM_BYTES } = options;
        expect(plan.memoryBytes).toBeLessThanOrEqual(memoryBytes);
        const vectors = 16 * n;
        const engine = fixedBytes(threads) + plan.panelBytes + 2 * plan.streamBytes + vectors;
        expect(engine).toBeLessThanOrEqual(wasmBytes);
        expect(plan.memoryBytes).toBeGreaterThan(engine);
        const triangle = new Tiling(n).totalBytes;
        if (plan.where === "buffers") expect(plan.memoryBytes).toBeGreaterThan(engine + triangle);
        expect(plan.scratchBytes >= triangle).toBe(plan.where === "scratch");
      }),
      { numRuns: 400 },
    );
  });

  it("has panels that cover all columns once, each no larger than its memory", () => {
    fc.assert(
      fc.property(sizes, budgets, settings, fc.nat(), (n, memoryBytes, options: Settings, seed) => {
        const plan = planOrRefusal(n, { ...options, memoryBytes });
        if (plan instanceof WidefieldError) return;
        const tiling = new Tiling(n);
        const first = seed % tiling.blocks;
        for (const begin of [0, first]) {
          const panels = panelRanges(tiling, plan.panelBytes, begin);
          expect(panels[0]?.begin).toBe(begin);
          expect(panels.at(-1)?.end).toBe(tiling.blocks);
          panels.forEach((panel, k) => {
            expect(panel.end).toBeGreaterThan(panel.begin);
            expect(panel.begin).toBe(k === 0 ? begin : panels[k - 1]?.end);
            expect(tiling.bytes(panel, { begin: panel.begin, end: tiling.blocks })).toBeLessThanOrEqual(
              plan.panelBytes,
            );
          });
          if (begin === 0) expect(panels).toHaveLength(plan.panels);
        }
        expect(plan.panelColumns).toBe(Math.min(n, (panelRanges(tiling, plan.panelBytes)[0]?.end ?? 0) * tiling.tile));
        if (plan.where === "memory") expect(plan.panels).toBe(1);
      }),
      { numRuns: 200 },
    );
  });

  it("never moves away from memory when the budget grows", () => {
    fc.assert(
      fc.property(sizes, budgets, budgets, settings, (n, some, others, options: Settings) => {
        const [less, more] = [Math.min(some, others), Math.max(some, others)];
        expect(rankOf(n, { ...options, memoryBytes: less })).toBeLessThanOrEqual(
          rankOf(n, { ...options, memoryBytes: more }),
        );
      }),
      { numRuns: 400 },
    );
  });

  it("below the least budget is refused with the bytes that are needed, of which not one is too many or too few", () => {
    fc.assert(
      fc.property(sizes, settings, (n, options: Settings) => {
        const error = refusal(n, { ...options, memoryBytes: 1 });
        expect(error.code).toBe("E_MEMORY");
        const needed = error.details["neededBytes"] as number;
        expect(error.details).toMatchObject({ n, memoryBytes: 1 });
        expect(error.message).toContain(`${n} x ${n}`);
        expect(error.message).toContain(`at least ${Math.ceil(needed / MIB)} MiB`);
        expect(error.message).toContain("the budget is 1 MiB");
        const plan = choleskyPlan(n, { ...options, memoryBytes: needed });
        expect(plan.memoryBytes).toBe(needed);
        const below = refusal(n, { ...options, memoryBytes: needed - 1 });
        expect(below.details["neededBytes"]).toBe(needed);
      }),
      { numRuns: 400 },
    );
  });

  it("says what is wrong with an engine whose own memory is too small for three columns of tiles", () => {
    const error = refusal(50_000, { memoryBytes: 2 ** 34, threads: 2, wasmBytes: 64 * MIB });
    expect(error.code).toBe("E_MEMORY");
    expect(error.message).toMatch(/three columns of tiles \(49 MiB each\) in the engine's memory, which has 64 MiB/);
  });

  it("has few panels for MNIST's 50,000 images in 4 GiB, and uses a larger machine's memory in place of its disk", () => {
    const small = choleskyPlan(50_000, { memoryBytes: 2 ** 32, threads: 2 });
    expect(small).toMatchObject({ where: "scratch", panels: 3 });
    expect(choleskyPlan(50_000, { memoryBytes: 2 ** 35, threads: 2 })).toMatchObject({ where: "buffers", panels: 3 });
    expect(choleskyPlan(5000, { memoryBytes: 2 ** 31, threads: 2 })).toMatchObject({ where: "memory", panels: 1 });
  });

  it("can be carried out in an engine with no byte more than it addresses", async () => {
    const n = 700;
    const source = {
      n,
      blockSize: 20,
      block: (rowBegin: number, rowEnd: number, columnBegin: number, columnEnd: number) => {
        const values: number[] = [];
        for (let row = rowBegin; row < rowEnd; row++)
          for (let column = columnBegin; column < columnEnd; column++)
            values.push(row === column ? n : 1 / (1 + row + column));
        return Float32Array.from(values);
      },
    };
    const b = randoms(n);
    let expected: Float64Array | undefined;
    for (const room of [32 * MIB, 1.5 * MIB, 1.3 * MIB]) {
      const backend = await openWasm({ variant: "threads", threads: 2, memoryBytes: fixedBytes(2) + room });
      using factor = await cholesky(backend, source, { memoryBytes: 2 ** 33 });
      expect(factor.plan.where).toBe(room > 2 * MIB ? "memory" : "buffers");
      const x = await factor.solve(b);
      expected ??= x;
      expect(norm(difference(x, expected))).toBe(0);
      factor.dispose();
      await backend.close();
    }
  });
});
