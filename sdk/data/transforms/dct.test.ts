import { describe, expect, it } from "vitest";
import { RandomStream } from "../../engine/rng.ts";
import { freshSeed } from "../../../test/seed.ts";
import { Dct2 } from "./dct.ts";

const random = new RandomStream(freshSeed(), "dct.test");
const plane = (size: number) => random.fillNormal(new Float64Array(size));
const norm = (values: Float64Array) => Math.hypot(...values);
const worst = (a: Float64Array, b: Float64Array) =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] ?? NaN))), 0);

/** The definition, term by term. */
function naive(x: Float64Array, height: number, width: number): Float64Array {
  const scale = (k: number, n: number) => Math.sqrt((k === 0 ? 1 : 2) / n);
  return Float64Array.from({ length: height * width }, (_, at) => {
    const [k, l] = [Math.floor(at / width), at % width];
    let sum = 0;
    for (let r = 0; r < height; r++)
      for (let s = 0; s < width; s++)
        sum +=
          (x[r * width + s] ?? NaN) *
          Math.cos((Math.PI * (2 * r + 1) * k) / (2 * height)) *
          Math.cos((Math.PI * (2 * s + 1) * l) / (2 * width));
    return scale(k, height) * scale(l, width) * sum;
  });
}

describe.each([
  [1, 1],
  [1, 7],
  [5, 1],
  [3, 8],
  [13, 11],
  [28, 28],
  [32, 32],
])("the DCT of %i x %i planes", (height, width) => {
  const dct = new Dct2(height, width);

  it("is the double sum of its definition, wherever the plane lies", () => {
    const x = plane(height * width);
    const shifted = new Float64Array(x.length + 5);
    shifted.set(x, 3);
    dct.forward(shifted, 3);
    expect(worst(shifted.subarray(3, 3 + x.length), naive(x, height, width))).toBeLessThan(1e-12);
    expect([...shifted.subarray(0, 3), ...shifted.subarray(3 + x.length)]).toEqual([0, 0, 0, 0, 0]);
  });

  it("keeps norms, puts the mean into the first entry, and is undone by the inverse", () => {
    const x = plane(height * width);
    const spectrum = x.slice();
    dct.forward(spectrum);
    expect(Math.abs(norm(spectrum) / norm(x) - 1)).toBeLessThan(1e-13);
    const sum = x.reduce((all, value) => all + value, 0);
    expect(spectrum[0]).toBeCloseTo(sum / Math.sqrt(x.length), 12);
    dct.inverse(spectrum);
    expect(worst(spectrum, x)).toBeLessThan(1e-13);
  });
});

it("is SciPy's dctn with norm ortho", () => {
  const x = Float64Array.from({ length: 12 }, (_, i) => ((i * i) % 7) + i / 4);
  new Dct2(3, 4).forward(x);
  const scipy = Float64Array.of(
    ...[11.402667816495, -1.030522457848, -2.598076211353, -0.979212335097, -3.535533905933, -1.418648347168],
    ...[0, 2.118357115096, 0.408248290464, -2.640205678196, 0, 1.093608999363],
  );
  expect(worst(x, scipy)).toBeLessThan(1e-12);
});
