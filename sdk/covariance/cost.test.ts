import { describe, expect, it } from "vitest";
import { compile, conv, dense, flatten, relu, serial } from "../arch/arch.ts";
import { programCost } from "./cost.ts";

const read = () => [relu(), flatten(), dense()];

describe("the cost of a program", () => {
  it("counts the pixels that go through a nonlinearity, and adds its steps up", () => {
    const cost = programCost(compile(serial(conv({ filter: 3, biasVariance: 1 }), ...read()), [3, 5, 6]));
    expect(cost.nonlinearities).toBe(30);
    expect(cost.operationsOfSteps.reduce((sum, each) => sum + each, 0)).toBe(cost.operations);
    // On 30 pixels the input's three products, two passes of a window, the bias, the nonlinearity, the mean; 2 beside it.
    expect(cost.operations).toBe(30 * (6 + 2 * 1.5 + 1 + 17 + 1) + 2);
    expect(cost.imageBytes).toBe((90 + 30) * 4);
  });

  it("counts what the fast kernels share between windows", () => {
    const window = (filter: number) => {
      const { operationsOfSteps } = programCost(compile(serial(conv({ filter }), ...read()), [1, 28, 28]));
      return (operationsOfSteps[1] ?? 0) / (2 * 784);
    };
    expect([2, 3, 4, 7].map(window)).toEqual([1, 1.5, 2, 17 / 7]);
  });

  it("hardly grows with the filter: windows slide", () => {
    const operations = (filter: number) =>
      programCost(compile(serial(conv({ filter }), ...read()), [1, 28, 28])).operations;
    expect(operations(25)).toBeLessThan(1.4 * operations(4));
    expect(operations(3)).toBeGreaterThan(operations(1));
  });

  it("grows with the layers, each of which costs the same and needs no further map", () => {
    const of = (layers: number) => {
      const each = Array.from({ length: layers }, () => [conv({ filter: 7, biasVariance: 1 }), relu()]).flat();
      return programCost(compile(serial(...each, flatten(), dense()), [1, 28, 28]));
    };
    const [two, three, four] = [of(2), of(3), of(4)];
    expect(four.nonlinearities - three.nonlinearities).toBe(784);
    expect(Math.abs(four.operations - 2 * three.operations + two.operations)).toBeLessThanOrEqual(2);
    expect(four.mapBytes).toBe(two.mapBytes);
  });
});
