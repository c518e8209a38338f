/** randomNormal on wasm is the generator in JavaScript, bit for bit. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { openWasm, wasmConfigurations } from "../../../test/wasm.ts";
import { RandomStream, streamAddress } from "../rng.ts";
import { randomNormal } from "./random-normal.ts";

it.each(wasmConfigurations)(
  "gives fillNormal's numbers, bit for bit: $variant, $threads threads",
  async (configuration) => {
    const backend = await openWasm(configuration);
    const safe = fc.oneof(fc.maxSafeNat(), fc.nat(), fc.constantFrom(0, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1));
    const stream = fc.oneof(fc.nat(2 ** 31 - 1), fc.string());
    await fc.assert(
      fc.asyncProperty(
        safe,
        stream,
        safe,
        fc.nat(5000),
        fc.float({ noNaN: true, min: 0, max: 100 }),
        async (...drawn) => {
          const [seed, name, index, count, scale] = drawn;
          const out = backend.allocate(4 * count, "normals");
          backend.dispatch(randomNormal, { count, ...streamAddress(seed, name, index), scale }, [out]);
          const expected = new RandomStream(seed, name, index)
            .fillNormal(new Float32Array(count))
            .map((x) => x * scale);
          expect(new Float32Array(await backend.read(out, 0, 4 * count))).toEqual(expected);
          backend.free(out);
        },
      ),
      { numRuns: 100 },
    );
    const count = 1_000_003;
    const out = backend.allocate(4 * count, "normals");
    backend.dispatch(randomNormal, { count, ...streamAddress(5, "many", 6), scale: 1 }, [out]);
    const actual = new Float32Array(await backend.read(out, 0, 4 * count));
    const expected = new RandomStream(5, "many", 6).fillNormal(new Float32Array(count));
    expect(actual.findIndex((x, i) => x !== expected[i])).toBe(-1);
    await backend.close();
  },
);
