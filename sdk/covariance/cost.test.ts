import { describe, expect, it } from "vitest";
import { compile, conv, dense, flatten, relu, serial } from "../arch/arch.ts";
import { programCost } from "./cost.ts";

const read = () => [relu(), flatten(), dense()];

describe("the cost of a program", () => {
  it("is what its steps do, by hand", () => {
    // 5 x 6 pixels of 3 channels; a 3 x 3 window takes two additions a pass, on 5 x 6 pixels each.
    const cost = programCost(compile(serial(conv({ filter: 3, biasVariance: 1 }), ...read()), [3, 5, 6]));
    expect(cost.nonlinearities).toBe(30);
    const [input, passes, bias, mean] = [2 * 30, 2 * 2 * 30, 30, 29];
    expect(cost.additions).toBeCloseTo(input + passes + bias + mean, 9);
    expect(cost.operations).toBeGreaterThan(cost.additions + 22 * 30);
    expect(cost.bytes).toBe(30 * 4);
    expect(cost.tableBytes).toBe((90 + 30) * 4);
  });

  it("hardly grows with the filter: windows slide", () => {
    const additions = (filter: number) =>
      programCost(compile(serial(conv({ filter }), ...read()), [1, 28, 28])).additions;
    expect(additions(25)).toBeLessThan(1.4 * additions(4));
    expect(additions(3)).toBeGreaterThan(additions(1));
  });

  it("grows with the layers, each of which costs the same", () => {
    const of = (layers: number) => {
      const each = Array.from({ length: layers }, () => [conv({ filter: 7, biasVariance: 1 }), relu()]).flat();
      return programCost(compile(serial(...each, flatten(), dense()), [1, 28, 28]));
    };
    const [two, three, four] = [of(2), of(3), of(4)];
    expect(four.nonlinearities - three.nonlinearities).toBe(784);
    expect(four.additions - three.additions).toBeCloseTo(three.additions - two.additions, 6);
    expect(four.bytes).toBe(two.bytes);
  });
});
