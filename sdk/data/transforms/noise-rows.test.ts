import { expect, it } from "vitest";
import { RandomState } from "../../numpy/random-state.ts";
import { mulberry32 } from "../../../test/reference/programs.ts";
import { freshSeed } from "../../../test/seed.ts";
import { noiseRows } from "./noise-rows.ts";

const random = mulberry32(freshSeed());
const seed = Math.floor(2 ** 32 * random());
/** Numbers skipped between two pauses. */
const STEP = 2 ** 22;

it("NumPy's rows are those of its stream however far they lie apart, and skipping to them tells how far it is", async () => {
  const width = 1001;
  const index = Math.ceil((2 * STEP) / width) + 3 + Math.floor(3 * random());
  const progress: number[] = [];
  const onProgress = ({ done, total }: { done: number; total: number }) => void progress.push(done / total);
  const rows = noiseRows("numpy", seed, "", width, { name: "test", onProgress });
  const out = new Float64Array(width);
  const plain = new RandomState(seed);
  for (const wanted of [1, index]) {
    await rows.row(wanted, out);
    plain.skipNormals((wanted === 1 ? 1 : index - 2) * width);
    expect(out).toEqual(plain.normal(0, 1, width));
  }
  expect(progress).toHaveLength(3);
  expect(progress).toEqual(progress.toSorted((a, b) => a - b));
  expect(progress.at(-1)).toBe(1);
  await rows.row(0, out);
  expect(out).toEqual(new RandomState(seed).normal(0, 1, width));
});

it("skipping stops on a signal, and the next row is right all the same", async () => {
  const stop = new AbortController();
  const onProgress = () => {
    stop.abort();
  };
  const pass = { name: "test", signal: stop.signal, onProgress };
  const [width, out] = [STEP, new Float64Array(STEP)];
  const rows = noiseRows("numpy", seed, "", width, pass);
  await expect(rows.row(1000, out)).rejects.toMatchObject({ code: "E_ABORTED" });
  await rows.row(0, out);
  const plain = new RandomState(seed);
  for (let i = 0; i < 5; i++) expect(out[i]).toBe(plain.normal());
});
