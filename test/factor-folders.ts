/**
 * What tests of factors in folders share: a random matrix of a few tiles, a fresh folder for each test, factorisations that
 * are stopped, and the check that no test leaves memory behind. Importing it registers its hooks.
 */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";
import type { Backend } from "../sdk/engine/backend.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { cholesky, type CholeskyOptions } from "../sdk/linalg/cholesky.ts";
import type { CholeskyPlan } from "../sdk/linalg/plan.ts";
import { denseSymmetric, type SymmetricSource } from "../sdk/linalg/source.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import type { Files } from "../sdk/platform/files.ts";
import { planOf } from "./forced-plan.ts";
import { randoms, withSpectrum, type Matrix } from "./spectra.ts";
import { openWasm } from "./wasm.ts";

/** The matrix has this many rows, in tiles of this size. */
export const N = 150;
export const TILE = 16;
export const BLOCKS = Math.ceil(N / TILE);

export let backend: Backend;
export let files: Files;
/** All that a test may leave behind is in here. */
export let parent: string;
/** Of the factor; made by the factorisation. */
export let folder: string;
export let a: Matrix;
export let b: Float64Array;
let slots: number;

beforeAll(async () => {
  backend = await openWasm({ variant: "threads", threads: 2 });
  files = await nodeFiles();
});
afterAll(() => backend.close());
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "widefield-folder-"));
  folder = join(parent, "factor");
  a = withSpectrum(Array.from({ length: N }, () => 0.1 + Math.random()));
  b = randoms(N * 3);
  slots = backend.stats().slots;
});
afterEach(async () => {
  await backend.finish();
  expect(backend.stats().slots).toBe(slots);
  await rm(parent, { recursive: true });
});

export async function refusal(promise: Promise<unknown>): Promise<WidefieldError> {
  const outcome = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(outcome).toBeInstanceOf(WidefieldError);
  return outcome as WidefieldError;
}

export const leading = (n: number): Matrix =>
  new Float64Array(n * n).map((_, at) => a[Math.floor(at / n) * N + (at % n)] ?? Number.NaN);

/** The matrix as a source that counts the columns of tiles that it was asked for, without its diagonal blocks. */
export function counted(): SymmetricSource & { readonly columns: Set<number> } {
  const columns = new Set<number>();
  const dense = denseSymmetric(a, N);
  return {
    n: N,
    blockSize: TILE,
    columns,
    identity: "a",
    block: (...range) => {
      if (range[0] !== range[2]) columns.add(range[2] / TILE);
      return dense.block(...range);
    },
  };
}

export function inFolder(where: CholeskyPlan["where"], keep: boolean, more: CholeskyOptions = {}): CholeskyOptions {
  return { tile: TILE, plan: planOf(N, TILE, where, 2), scratch: { files, folder, keep }, ...more };
}

export async function solution(source: SymmetricSource, options: CholeskyOptions): Promise<Float64Array> {
  using factor = await cholesky(backend, source, options);
  return await factor.solve(b);
}

/** Stops a factorisation at some moment of its arithmetic, and tells how many columns it left. */
export async function stopped(source: SymmetricSource, options: CholeskyOptions, fraction = 0.5): Promise<number> {
  const stop = new AbortController();
  const onProgress: CholeskyOptions["onProgress"] = (progress) => {
    if (progress.phase === "factor" && progress.fraction >= fraction) stop.abort();
  };
  const error = await refusal(cholesky(backend, source, { ...options, onProgress, signal: stop.signal }));
  expect(error.code).toBe("E_ABORTED");
  const state = await files.read(`${folder}/factor.json`);
  if (state === undefined) return 0;
  const { finishedColumns, complete } = JSON.parse(new TextDecoder().decode(state)) as Record<string, unknown>;
  expect(complete).toBe(false);
  return finishedColumns as number;
}

/** All files and folders that there are. */
export const contents = async (): Promise<string[]> => (await readdir(parent, { recursive: true })).sort();
/** The same, where a factor is kept. */
export const KEPT = [
  "factor",
  "factor/factor.json",
  "factor/pivots.f64",
  "factor/tiles.f64",
  "factor/tiles.f64.crc32c",
];
