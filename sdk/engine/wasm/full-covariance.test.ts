/** Full covariance programs in float32 on wasm: against plain float64, and what holds to the bit. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freshSeed } from "../../../test/seed.ts";
import { openWasm, upload, wasmConfigurations } from "../../../test/wasm.ts";
import {
  abs,
  avgPool,
  compile,
  conv,
  dense,
  erf,
  flatten,
  globalAvgPool,
  identity,
  leakyRelu,
  mixture,
  relu,
  serial,
  step,
  sum,
  type Arch,
} from "../../arch/arch.ts";
import { encodeFull } from "../../covariance/encode-full.ts";
import { fullWasmWorkspace } from "../../covariance/full-memory.ts";
import { fullShape } from "../../covariance/full-shape.ts";
import type { Program } from "../../covariance/program.ts";
import type { Backend } from "../backend.ts";
import { referenceFull } from "../conformance/full-reference.ts";
import { NO_DIAGONAL, wasmTableFloats } from "../kernels/covariance.ts";
import { fullCovariance, fullVariance, NNGP, NTK } from "../kernels/full-covariance.ts";
import { RandomStream } from "../rng.ts";

const seed = freshSeed();
const THREADS = 2;
let backend: Backend;
beforeAll(async () => {
  backend = await openWasm({ variant: "threads", threads: THREADS });
});
afterAll(() => backend.close());

const GUARD = 0x5a;
const BOTH = NNGP + NTK;

interface Options {
  readonly kinds?: number;
  /** Maps in the workspace even where a thread's scratch would do. */
  readonly forced?: boolean;
  readonly diagonal?: number;
  readonly lower?: boolean;
  readonly on?: Backend;
}

interface Result {
  /** [outputs, images] and [outputs, images, images], NNGP first. */
  readonly variances: Float32Array;
  readonly covariances: Float32Array;
}

/** All pairs of some images. The workspace ends with a guard that nobody may touch. */
async function run(
  program: Program,
  images: Float32Array,
  { kinds = BOTH, forced = true, diagonal = NO_DIAGONAL, lower = false, on = backend }: Options = {},
): Promise<Result> {
  const encoded = encodeFull(program);
  const count = images.length / program.imageFloats;
  const outputs = kinds === BOTH ? 2 : 1;
  const maps = fullWasmWorkspace(fullShape(program, encoded), on.info.threads, forced);
  const tableBytes = 4 * wasmTableFloats(count, program.imageFloats, program.tablePixels);
  const slots = {
    program: upload(on, encoded.words),
    images: upload(on, images),
    // What stood there before must not matter.
    table: upload(on, new Float32Array(tableBytes / 4).fill(NaN)),
    variances: on.allocate(4 * outputs * count, "variances"),
    output: on.allocate(4 * outputs * count * count, "output"),
    workspace: upload(on, new Uint8Array(maps.bytes + 64).fill(GUARD)),
  };
  const shape = { ...fullShape(program, encoded), kinds, slices: maps.slices, sliceFloats: maps.sliceFloats };
  const tile = { ...shape, rows: count, columns: count, diagonal, lower: lower ? 1 : 0 };
  const { program: words, table, variances, output, workspace } = slots;
  on.dispatch(fullVariance, { ...shape, images: count }, [words, slots.images, table, variances, workspace]);
  on.dispatch(fullCovariance, tile, [words, table, table, variances, output, workspace]);
  const result = {
    variances: new Float32Array(await on.read(variances, 0, 4 * outputs * count)),
    covariances: new Float32Array(await on.read(output, 0, 4 * outputs * count * count)),
  };
  const guard = new Uint8Array(await on.read(workspace, maps.bytes, 64));
  for (const slot of Object.values(slots)) on.free(slot);
  expect(new Set(guard)).toEqual(new Set([GUARD]));
  return result;
}

function compiled(shape: readonly [number, number, number], arch: Arch, ntk = true): Program {
  return compile(arch, [...shape], { ntk, parametrisation: "ntk" });
}

/** Pixels of either sign, or none negative and half of them blank. */
function testImages(random: RandomStream, count: number, floats: number, signed = false): Float32Array<ArrayBuffer> {
  return new Float32Array(count * floats).map(() =>
    signed ? random.uniform32() - 0.4 : Math.max(0, 2 * random.uniform32() - 1),
  );
}

const biased = { weightVariance: 1.3, biasVariance: 0.2 };
const block = [conv({ filter: 3 }), relu()];

/** What the interpreter has to get right, small enough for the reference. */
function networks(): readonly (readonly [name: string, shape: readonly [number, number, number], arch: Arch])[] {
  return [
    ["conv relu flatten", [3, 5, 4], serial(conv({ filter: 3 }), relu(), flatten(), dense())],
    [
      "a small Myrtle",
      [3, 8, 8],
      serial(
        conv({ filter: 3 }),
        relu(),
        conv({ filter: 3 }),
        relu(),
        avgPool({ window: 2 }),
        conv({ filter: 3 }),
        relu(),
        avgPool({ window: 2 }),
        conv({ filter: 3 }),
        relu(),
        globalAvgPool(),
        dense(),
      ),
    ],
    [
      "leftovers and rectangles",
      [2, 7, 5],
      serial(
        conv({ filter: [3, 2], ...biased }),
        relu(),
        avgPool({ window: [2, 3] }),
        conv({ filter: 3, ...biased }),
        relu(),
        flatten(),
        dense(biased),
      ),
    ],
    [
      "windows that overlap",
      [1, 7, 6],
      serial(
        conv({ filter: 3, ...biased }),
        relu(),
        avgPool({ window: 3, stride: 2 }),
        conv({ filter: 2 }),
        relu(),
        globalAvgPool(),
        dense(biased),
        relu(),
        dense(),
      ),
    ],
    [
      "strides, dilation and even filters",
      [1, 9, 8],
      serial(
        conv({ filter: 2, stride: 2, ...biased }),
        relu(),
        conv({ filter: 3, dilation: 2, ...biased }),
        leakyRelu({ slope: 0.2 }),
        globalAvgPool(),
        dense(),
      ),
    ],
    [
      "residual sums across strides and pools",
      [2, 8, 8],
      serial(
        conv({ filter: 3, ...biased }),
        sum(identity(), serial(relu(), conv({ filter: 3, ...biased }))),
        sum(serial(relu(), conv({ filter: 3, stride: 2 })), conv({ filter: 1, stride: 2 })),
        avgPool({ window: 2 }),
        sum(identity(), serial(relu(), conv({ filter: 3 }))),
        globalAvgPool(),
        dense(),
      ),
    ],
    [
      "a mixture of nonlinearities",
      [1, 6, 6],
      serial(
        conv({ filter: 3, ...biased }),
        mixture([0.25, 0.25, 0.25, 0.25], identity(), abs(), leakyRelu({ slope: 0.3 }), erf()),
        avgPool({ window: 2 }),
        conv({ filter: 3, ...biased }),
        erf(),
        flatten(),
        dense(biased),
      ),
    ],
    ["no pool", [3, 6, 6], serial(conv({ filter: 3 }), relu(), conv({ filter: 3 }), relu(), flatten(), dense())],
  ];
}

/** A pool, a residual sum and chains of blocks: what bits can come apart in. */
const MIXED: Arch = serial(
  ...[...block, ...block, avgPool({ window: 2 }), ...block],
  sum(identity(), serial(conv({ filter: 3, ...biased }), relu())),
  globalAvgPool(),
  dense(),
);

describe("full programs on wasm", () => {
  for (const [name, shape, arch] of networks()) {
    for (const signed of [false, true]) {
      it(`${name}, ${signed ? "signed" : "positive"} images: NNGP and NTK of plain float64`, async () => {
        const random = new RandomStream(seed, `${name} ${signed}`);
        const program = compiled(shape, arch);
        const floats = program.imageFloats;
        const images = testImages(random, 5, floats, signed);
        const { variances, covariances } = await run(program, images);
        const image = (i: number): Float32Array => images.subarray(i * floats, (i + 1) * floats);
        for (const [i, j] of [
          [0, 1],
          [4, 2],
        ] as const) {
          const truth = referenceFull(program, image(i), image(j));
          const [own, other] = [referenceFull(program, image(i), image(i)), referenceFull(program, image(j), image(j))];
          (["nngp", "ntk"] as const).forEach((kind, which) => {
            const size = Math.sqrt(own[kind] * other[kind]);
            const error = ((covariances[25 * which + 5 * i + j] ?? NaN) - truth[kind]) / size;
            expect(Math.abs(error), `${kind} of ${i} and ${j}`).toBeLessThan(3e-6);
            expect(Math.abs((variances[5 * which + i] ?? NaN) / own[kind] - 1), `${kind} of ${i}`).toBeLessThan(3e-6);
          });
        }
      });
    }
  }

  it("steps have an NNGP", async () => {
    const arch = serial(
      conv({ filter: 3 }),
      step(),
      avgPool({ window: 2 }),
      conv({ filter: 2 }),
      relu(),
      globalAvgPool(),
    );
    const program = compiled([1, 6, 6], arch, false);
    const images = testImages(new RandomStream(seed, "steps"), 3, program.imageFloats);
    const { covariances } = await run(program, images, { kinds: NNGP });
    const { nngp } = referenceFull(program, images.subarray(0, 36), images.subarray(72));
    expect(Math.abs((covariances[2] ?? NaN) / nngp - 1)).toBeLessThan(1e-5);
  });
});

describe("bits", () => {
  for (const signed of [false, true]) {
    const which = signed ? "signed" : "positive";
    it(`of a pair have no order, and do not depend on who shares its vectors, ${which} images`, async () => {
      const program = compiled([3, 8, 8], MIXED);
      const floats = program.imageFloats;
      const images = testImages(new RandomStream(seed, `order ${which}`), 6, floats, signed);
      // One image without negative pixels among others: its pairs take the signed loops, and keep their bits.
      images.subarray(0, 2 * floats).forEach((value, at) => (images[at] = Math.abs(value)));
      const { covariances } = await run(program, images);
      const at = (output: number, i: number, j: number) => covariances[36 * output + 6 * i + j];
      for (const output of [0, 1])
        for (let i = 0; i < 6; i++) for (let j = 0; j < i; j++) expect(at(output, i, j)).toBe(at(output, j, i));
      const few = await run(program, images.slice(0, 2 * floats));
      expect(few.covariances[1]).toBe(at(0, 0, 1));
      expect(few.covariances[5]).toBe(at(1, 0, 1));
    });
  }

  it("have no order either where windows overlap", async () => {
    const pools = [avgPool({ window: 4, stride: 2 }), avgPool({ window: 3, stride: 1 })].map((pool) =>
      serial(conv({ filter: 3, ...biased }), relu(), pool, conv({ filter: 3, ...biased }), relu(), globalAvgPool()),
    );
    for (const arch of pools) {
      const program = compiled([1, 9, 9], arch);
      const { covariances } = await run(program, testImages(new RandomStream(seed, "overlap"), 7, 81, true));
      for (const output of [0, 49])
        for (let i = 0; i < 7; i++)
          for (let j = 0; j < i; j++) expect(covariances[output + 7 * i + j]).toBe(covariances[output + 7 * j + i]);
    }
  });

  it("are the same with maps in the scratch and in the workspace, and for one kind or both", async () => {
    const program = compiled([3, 8, 8], MIXED);
    const images = testImages(new RandomStream(seed, "kinds"), 5, program.imageFloats);
    const both = await run(program, images);
    expect(await run(program, images, { forced: false })).toEqual(both);
    const nngp = await run(program, images, { kinds: NNGP });
    const ntk = await run(program, images, { kinds: NTK });
    expect([...nngp.covariances, ...ntk.covariances]).toEqual([...both.covariances]);
    expect([...nngp.variances, ...ntk.variances]).toEqual([...both.variances]);
    const alone = await run(compiled([3, 8, 8], MIXED, false), images, { kinds: NNGP });
    expect(alone).toEqual(nngp);
  });

  it("of the diagonal are the variances, and of the lower triangle those of the whole", async () => {
    const program = compiled([3, 8, 8], MIXED);
    const images = testImages(new RandomStream(seed, "diagonal"), 6, program.imageFloats);
    const whole = await run(program, images);
    const half = await run(program, images, { diagonal: 0, lower: true });
    for (const output of [0, 1])
      for (let i = 0; i < 6; i++)
        for (let j = 0; j <= i; j++)
          expect(half.covariances[36 * output + 6 * i + j]).toBe(
            i === j ? whole.variances[6 * output + i] : whole.covariances[36 * output + 6 * i + j],
          );
  });
});

describe("special images", () => {
  it("a blank image has covariance and NTK 0 with every other, not NaN", async () => {
    const program = compiled(
      [3, 8, 8],
      serial(...block, ...block, avgPool({ window: 2 }), ...block, flatten(), dense()),
    );
    const images = testImages(new RandomStream(seed, "blank"), 5, program.imageFloats, true);
    images.fill(0, program.imageFloats, 2 * program.imageFloats);
    const { variances, covariances } = await run(program, images);
    for (const output of [0, 1]) {
      expect(variances[5 * output + 1]).toBe(0);
      for (let i = 0; i < 5; i++) expect(covariances[25 * output + 5 * i + 1]).toBe(0);
    }
  });

  it("a copy of an image has the image's own variance and NTK, though nobody says that they are equal", async () => {
    const program = compiled([3, 8, 8], MIXED);
    const images = testImages(new RandomStream(seed, "copy"), 2, program.imageFloats, true);
    images.copyWithin(program.imageFloats, 0, program.imageFloats);
    const { variances, covariances } = await run(program, images);
    expect(covariances[4 + 1]).toBe(variances[2]);
    expect(Math.abs((covariances[1] ?? NaN) / (variances[0] ?? NaN) - 1)).toBeLessThan(2e-7);
  });
});

describe("every build", () => {
  for (const configuration of wasmConfigurations) {
    it(`${configuration.variant}, ${configuration.threads} threads: within 3e-6 of plain float64`, async () => {
      await using scope = { on: await openWasm(configuration), [Symbol.asyncDispose]: () => scope.on.close() };
      const program = compiled([3, 8, 8], MIXED);
      const floats = program.imageFloats;
      const images = testImages(new RandomStream(seed, "builds"), 5, floats);
      const { covariances } = await run(program, images, { on: scope.on });
      const { nngp, ntk } = referenceFull(program, images.subarray(0, floats), images.subarray(floats, 2 * floats));
      expect(Math.abs((covariances[1] ?? NaN) / nngp - 1)).toBeLessThan(3e-6);
      expect(Math.abs((covariances[26] ?? NaN) / ntk - 1)).toBeLessThan(3e-6);
    });
  }
});
