/** The pool of buffers behind tensors, on a backend that only counts. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { freshSeed } from "../../test/seed.ts";
import type { Backend, Slot } from "../engine/backend.ts";
import { WidefieldError } from "../errors.ts";
import { BufferPool } from "./pool.ts";

const seed = freshSeed();

/** What the pool uses of a backend: buffers of up to `limit` bytes in all. */
function countingBackend(limit = Infinity) {
  const live = new Map<Slot, number>();
  const counts = { allocations: 0, frees: 0 };
  const bytes = (): number => [...live.values()].reduce((sum, size) => sum + size, 0);
  const backend = {
    allocate: (size: number): Slot => {
      if (bytes() + size > limit) throw new WidefieldError("E_MEMORY", "full");
      const slot = ++counts.allocations as Slot;
      live.set(slot, size);
      return slot;
    },
    free: (slot: Slot): void => {
      if (!live.delete(slot)) throw new Error("freed twice");
      counts.frees++;
    },
  };
  return { backend: backend as unknown as Backend, live, counts, bytes };
}

/** A computation: sizes of buffers, each held while the next `held` are taken. */
const computation = fc.array(fc.record({ bytes: fc.integer({ min: 0, max: 400 }), held: fc.nat(6) }), {
  minLength: 1,
  maxLength: 40,
});

function run(pool: BufferPool, steps: readonly { readonly bytes: number; readonly held: number }[]): Slot[] {
  const taken: Slot[] = [];
  const due: { readonly slot: Slot; readonly at: number }[] = [];
  steps.forEach(({ bytes, held }, now) => {
    for (const one of due.filter(({ at }) => at === now)) pool.give(one.slot);
    const slot = pool.take(bytes, "test");
    taken.push(slot);
    due.push({ slot, at: now + 1 + held });
  });
  for (const one of due.filter(({ at }) => at >= steps.length)) pool.give(one.slot);
  return taken;
}

describe("the pool", () => {
  it("hands out no buffer twice at a time, and none that is too small", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -8, max: 300 }), { maxLength: 80 }), (events) => {
        const { backend, live } = countingBackend();
        const pool = new BufferPool(backend);
        const held: Slot[] = [];
        for (const event of events) {
          if (event < 0) {
            const [slot] = held.splice(-event % Math.max(1, held.length), 1);
            if (slot !== undefined) pool.give(slot);
            continue;
          }
          const slot = pool.take(event, "test");
          expect(held).not.toContain(slot);
          expect(live.get(slot)).toBeGreaterThanOrEqual(Math.max(4, event));
          held.push(slot);
        }
        expect(pool.bytes).toBe([...live.values()].reduce((sum, size) => sum + size, 0));
        pool.trim();
        expect([...live.keys()].sort()).toEqual([...held].sort());
      }),
      { seed },
    );
  });

  it("allocates nothing any more once a computation that is repeated has allocated nothing, which is soon", () => {
    fc.assert(
      fc.property(computation, (steps) => {
        const { backend, counts } = countingBackend();
        const pool = new BufferPool(backend);
        const allocationsOfRun = (): number => {
          const before = counts.allocations;
          run(pool, steps);
          return counts.allocations - before;
        };
        let warmUp = 0;
        while (allocationsOfRun() > 0) warmUp++;
        expect(warmUp).toBeLessThan(8);
        expect([1, 2, 3].map(allocationsOfRun)).toEqual([0, 0, 0]);
      }),
      { seed, numRuns: 1000 },
    );
  });

  it("serves a last, smaller batch from the buffers of the whole ones, down to half of them", () => {
    const { backend, counts } = countingBackend();
    const pool = new BufferPool(backend);
    const steps = [6400, 1280, 320].map((bytes) => ({ bytes, held: 3 }));
    run(pool, steps);
    expect(counts.allocations).toBe(3);
    const part = (share: number) => steps.map(({ bytes, held }) => ({ bytes: bytes * share, held }));
    run(pool, part(0.5));
    expect(counts.allocations).toBe(3);
    run(pool, part(0.4));
    expect(counts.allocations).toBe(6);
  });

  it("frees what nobody uses before it says that there is no memory", () => {
    const { backend, counts } = countingBackend(1000);
    const pool = new BufferPool(backend);
    const kept = pool.take(300, "kept");
    pool.give(pool.take(600, "free"));
    const large = pool.take(700, "large");
    expect(counts.frees).toBe(1);
    expect(() => pool.take(100, "more")).toThrow(expect.objectContaining({ code: "E_MEMORY" }));
    pool.give(kept);
    pool.give(large);
    expect(pool.bytes).toBe(1000);
  });

  it("takes back its own buffers only", () => {
    const pool = new BufferPool(countingBackend().backend);
    expect(() => pool.give(7 as Slot)).toThrow(/not of this pool/);
  });
});
