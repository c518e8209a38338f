/** Any kernel as a matrix in memory: the same as its tiles, and what regressions take. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { wasmEngine } from "../../test/engines.ts";
import { freshSeed } from "../../test/seed.ts";
import { closedKernel } from "../covariance/closed-kernel.ts";
import type { Engine } from "../engine/engine.ts";
import { RandomStream } from "../engine/rng.ts";
import { gradientFlow } from "../learn/gradient-flow.ts";
import { krr } from "../learn/krr.ts";
import { dense, relu, serial } from "./arch.ts";
import { kernelMatrix } from "./kernel-matrix.ts";
import { kernel } from "./kernel.ts";
import type { KernelSpec } from "./kernel-spec.ts";

const random = new RandomStream(freshSeed(), "kernel matrix");
let wasm: Engine;
beforeAll(async () => {
  wasm = await wasmEngine();
});
afterAll(() => wasm.close());

const shape = [6] as const;
const draw = (count: number) => ({ images: random.fillNormal(new Float32Array(6 * count)), shape });
const arch = serial(dense(), relu(), dense());

describe("kernelMatrix", () => {
  it("is the kernel that its spec names, symmetric without Y", async () => {
    const [X, Y] = [draw(11), draw(5)];
    const rbf = await kernelMatrix(wasm, closedKernel("rbf", { bandwidth: 2 }), X, Y, { tile: 3 });
    expect(rbf).toMatchObject({ rows: 11, columns: 5, symmetric: false, exponent: 0 });
    rbf.values.forEach((value, at) => {
      const [i, j] = [Math.floor(at / 5), at % 5];
      let square = 0;
      for (let c = 0; c < 6; c++) square += ((X.images[i * 6 + c] ?? NaN) - (Y.images[j * 6 + c] ?? NaN)) ** 2;
      expect(value).toBeCloseTo(Math.exp(-square / 8), 5);
    });
    for (const kind of ["nngp", "ntk"] as const) {
      const matrix = await kernelMatrix(wasm, { name: "arch", arch, kind }, X);
      expect(matrix.symmetric).toBe(true);
      expect(matrix.values).toEqual((await kernel(wasm, arch, X, undefined, { kind })).values);
    }
    const double = await kernelMatrix(wasm, { name: "ntk2" }, X, undefined, { precision: "f64" });
    expect(double.values).toBeInstanceOf(Float64Array);
    expect(wasm.backend.stats()).toMatchObject({ slots: 0 });
  });

  it.each<KernelSpec>([
    { name: "laplace", bandwidth: 3 },
    { name: "rf", width: 5000, seed: 1 },
    { name: "arch", arch, kind: "ntk" },
  ])("is what regressions take: $name", async (spec) => {
    const [X, test] = [draw(9), draw(4)];
    const [kxx, ktx] = [await kernelMatrix(wasm, spec, X), await kernelMatrix(wasm, spec, test, X)];
    const targets = Float64Array.from(random.fillNormal(new Float32Array(9)));
    const model = await krr.fit(wasm, kxx, targets, { lambdas: [0.1] });
    const [fit] = await model.predict(ktx);
    const flow = await gradientFlow(wasm, { nngp: kxx }, targets);
    const [late] = await flow.predict([1e9], { nngp: ktx });
    for (const values of [fit?.predictions, late?.mean])
      expect(values?.every(Number.isFinite) === true && values.length === 4).toBe(true);
  });

  it("stops where it is asked to, and refuses a closed engine", async () => {
    const [X, signal] = [draw(3), AbortSignal.abort()];
    for (const spec of [{ name: "ntk2" }, { name: "rf", width: 3, seed: 0 }] as const)
      await expect(kernelMatrix(wasm, spec, X, undefined, { signal })).rejects.toMatchObject({ code: "E_ABORTED" });
    const closed = await wasmEngine();
    await closed.close();
    await expect(kernelMatrix(closed, { name: "ntk2" }, X)).rejects.toThrow();
  });
});
