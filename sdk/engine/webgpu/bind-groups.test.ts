import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { freshSeed } from "../../../test/seed.ts";
import type { Slot } from "../backend.ts";
import { BindGroups } from "./bind-groups.ts";

const seed = freshSeed();

describe("kept bind groups", () => {
  it("are found by kernel and slots in their order, until one of the slots is freed", () => {
    const slot = fc.integer({ min: 1, max: 6 });
    const keep = fc.record({ kernel: fc.constantFrom("relu", "add"), slots: fc.array(slot, { maxLength: 3 }) });
    fc.assert(
      fc.property(fc.array(fc.oneof(keep, slot), { maxLength: 60 }), (events) => {
        const groups = new BindGroups();
        const expected = new Map<string, { readonly slots: readonly number[]; readonly group: GPUBindGroup }>();
        for (const event of events) {
          if (typeof event === "number") {
            groups.forget(event as Slot);
            for (const [key, { slots }] of [...expected]) if (slots.includes(event)) expected.delete(key);
          } else {
            const group = { label: "group" } as GPUBindGroup;
            groups.keep(event.kernel, event.slots as Slot[], group);
            expected.set(JSON.stringify(event), { slots: event.slots, group });
          }
          expect(groups.size).toBe(expected.size);
          for (const [key, { group }] of expected) {
            const { kernel, slots } = JSON.parse(key) as { kernel: string; slots: Slot[] };
            expect(groups.get(kernel, slots)).toBe(group);
          }
        }
        for (let freed = 1; freed <= 6; freed++) groups.forget(freed as Slot);
        expect([...expected.values()].filter(({ slots }) => slots.length > 0).every(() => groups.size <= 2)).toBe(true);
      }),
      { seed },
    );
  });

  it("are never too many", () => {
    const groups = new BindGroups();
    for (let i = 1; i <= 20_000; i++) groups.keep("relu", [i as Slot, (i + 1) as Slot], {} as GPUBindGroup);
    expect(groups.size).toBeGreaterThan(0);
    expect(groups.size).toBeLessThanOrEqual(8192);
  });
});
