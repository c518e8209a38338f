import { expect, it } from "vitest";
import { mulberry32 } from "../../../test/reference/programs.ts";
import { freshSeed } from "../../../test/seed.ts";
import { centre, norm, scaleTo } from "./planes.ts";

const random = mulberry32(freshSeed());
const plane = (scale: number) => Float64Array.from({ length: 31 }, () => (random() - 0.3) * scale);

it("norms, means and scaling do not depend on how large or small pixels are", () => {
  for (let turn = 0; turn < 20; turn++) {
    const values = plane(1);
    // The plain formulas, to the last bit.
    const plain = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
    expect(norm(values)).toBe(plain);
    const scaled = values.slice();
    scaleTo(3, scaled);
    expect(scaled).toEqual(values.map((value) => value * (3 / plain)));
    for (const exponent of [-1000, -565, 531, 1000]) {
      const other = values.map((value) => value * 2 ** exponent);
      expect(norm(other)).toBe(plain * 2 ** exponent);
      const centred = [values.slice(), other.slice()] as const;
      centred.forEach(centre);
      expect(centred[1]).toEqual(centred[0].map((value) => value * 2 ** exponent));
      scaleTo(3, other);
      expect(other).toEqual(scaled);
    }
  }
});

it("a plane of zeros stays one, and so does the smallest number there is", () => {
  const zeros = new Float64Array(9);
  scaleTo(3, zeros);
  expect(zeros).toEqual(new Float64Array(9));
  const least = Float64Array.of(0, 5e-324, 0);
  scaleTo(3, least);
  expect(least).toEqual(Float64Array.of(0, 3, 0));
});
