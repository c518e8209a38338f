/** The choice of a method: its boundaries, that it is monotone, and what it says. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { WidefieldError } from "../errors.ts";
import { chooseMethod, methodPlan, requireMethod, type SolveChoice, type SolveFacts } from "./solve-plan.ts";

const base: SolveFacts = {
  n: 2000,
  rhs: 10,
  lambdas: 1,
  entries: true,
  memoryBytes: 2 ** 34,
  scratchBytes: undefined,
  threads: 2,
};

const choose = (changes: Partial<SolveFacts> = {}) => chooseMethod({ ...base, ...changes });

/** The choice, or E_MEMORY. */
function outcome(changes: Partial<SolveFacts>): SolveChoice | "E_MEMORY" {
  try {
    return choose(changes);
  } catch (thrown) {
    if (thrown instanceof WidefieldError && thrown.code === "E_MEMORY") return "E_MEMORY";
    throw thrown;
  }
}

/** The least whole number above `from` at which `holds` does, for something that goes from false to true once. */
function least(from: number, to: number, holds: (value: number) => boolean): number {
  let [below, above] = [from, to];
  expect([holds(below), holds(above)]).toEqual([false, true]);
  while (above - below > 1) {
    const middle = Math.floor((below + above) / 2);
    if (holds(middle)) above = middle;
    else below = middle;
  }
  return above;
}

const facts = fc.record({
  n: fc.integer({ min: 1, max: 60_000 }),
  rhs: fc.integer({ min: 1, max: 2000 }),
  lambdas: fc.integer({ min: 1, max: 1000 }),
  entries: fc.boolean(),
  memoryBytes: fc.integer({ min: 2 ** 22, max: 2 ** 36 }),
  scratchBytes: fc.option(fc.integer({ min: 0, max: 2 ** 40 }), { nil: undefined }),
  threads: fc.integer({ min: 1, max: 64 }),
});

describe("the choice of a method", () => {
  it("is Cholesky for one lambda, and the decomposition for a grid above one number of lambdas", () => {
    expect(choose().method).toBe("cholesky");
    const turn = least(1, 10_000, (lambdas) => choose({ lambdas }).method === "eigh");
    const [cholesky, eigh] = (["cholesky", "eigh"] as const).map(
      (method) => (lambdas: number) => methodPlan(method, { ...base, lambdas }).seconds ?? NaN,
    );
    expect(cholesky?.(turn)).toBeGreaterThan(eigh?.(turn) ?? NaN);
    expect(cholesky?.(turn - 1)).toBeLessThanOrEqual(eigh?.(turn - 1) ?? NaN);
    expect(choose({ lambdas: turn }).reason).toMatch(
      new RegExp(`^eigh for n = 2000, ${turn} lambdas, 10 right-hand sides: about .* \\(cholesky: about `),
    );
  });

  it("is conjugate gradients where a matrix only multiplies, and where nothing else fits", () => {
    expect(choose({ entries: false })).toMatchObject({
      method: "cg",
      reason: expect.stringMatching(/only has products/) as string,
    });
    const n = 8000;
    const fits = least(2 ** 20, 2 ** 34, (memoryBytes) => outcome({ n, memoryBytes }) !== "E_MEMORY");
    expect(choose({ n, memoryBytes: fits })).toMatchObject({
      method: "cg",
      reason: expect.stringMatching(/cholesky (does not fit|needs).*eigh does not fit/) as string,
    });
    const direct = least(fits, 2 ** 34, (memoryBytes) => choose({ n, memoryBytes }).method !== "cg");
    expect(choose({ n, memoryBytes: direct - 1 }).method).toBe("cg");
    expect(() => choose({ n, memoryBytes: fits - 1 })).toThrow(/no method solves.*cholesky.*eigh.*cg/);
  });

  it("is the same for the same sizes, and what it takes is what it says", () => {
    fc.assert(
      fc.property(facts, (each) => {
        const choice = outcome(each);
        expect(outcome(each)).toEqual(choice);
        if (choice === "E_MEMORY") return;
        expect(choice.memoryBytes).toBeLessThanOrEqual(each.memoryBytes);
        expect(choice.scratchBytes).toBeLessThanOrEqual(each.scratchBytes ?? 0);
        expect(choice.reason.startsWith(`${choice.method} for n = ${each.n}`)).toBe(true);
        expect({ ...requireMethod(choice.method, each), reason: "" }).toEqual({ ...choice, reason: "" });
      }),
    );
  });

  it("is monotone: one more lambda never turns the decomposition into Cholesky, one more row or column switches once", () => {
    fc.assert(
      fc.property(facts, fc.integer({ min: 1, max: 200 }), (each, more) => {
        const roomy = { ...each, entries: true, memoryBytes: 2 ** 45, n: Math.min(each.n, 8000) };
        if (outcome(roomy) === "E_MEMORY") return;
        if (choose(roomy).method === "eigh")
          expect(choose({ ...roomy, lambdas: roomy.lambdas + more }).method).toBe("eigh");
        const along = [1, 10, 100, 1000, 4000, 8000].map((n) => choose({ ...roomy, n }).method);
        expect(along.filter((method, i) => i > 0 && method !== along[i - 1]).length).toBeLessThanOrEqual(1);
        const wide = [1, 10, 100, 1000, 10_000].map((rhs) => choose({ ...roomy, rhs }).method);
        expect(wide.filter((method, i) => i > 0 && method !== wide[i - 1]).length).toBeLessThanOrEqual(1);
      }),
    );
  });

  it("is monotone: more memory or disk never takes longer, and never makes impossible what was possible", () => {
    const rank = (choice: SolveChoice | "E_MEMORY") =>
      choice === "E_MEMORY" ? Infinity : choice.method === "cg" ? Number.MAX_VALUE : (choice.seconds ?? NaN);
    fc.assert(
      fc.property(facts, fc.integer({ min: 1, max: 2 ** 34 }), (each, more) => {
        const before = rank(outcome(each));
        expect(rank(outcome({ ...each, memoryBytes: each.memoryBytes + more }))).toBeLessThanOrEqual(before);
        expect(rank(outcome({ ...each, scratchBytes: (each.scratchBytes ?? 0) + more }))).toBeLessThanOrEqual(before);
        expect(rank(outcome({ ...each, threads: each.threads }))).toBe(before);
      }),
    );
  });
});
