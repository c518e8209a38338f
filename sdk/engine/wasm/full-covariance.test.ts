/** Full covariance programs in float32 on wasm, against plain float64. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freshSeed } from "../../../test/seed.ts";
import { openWasm, upload } from "../../../test/wasm.ts";
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
import { fullCovariance, fullVariance } from "../kernels/full-covariance.ts";
import { RandomStream } from "../rng.ts";

const seed = freshSeed();
const THREADS = 2;
let backend: Backend;
beforeAll(async () => {
  backend = await openWasm({ variant: "threads", threads: THREADS });
});
afterAll(() => backend.close());

const GUARD = 0x5a;

interface Result {
  /** [outputs, images] and [outputs, images, images], NNGP first. */
  readonly variances: Float32Array;
  readonly covariances: Float32Array;
  readonly guard: Uint8Array;
}

/** All pairs of some images; the workspace ends with a guard that nobody may touch. */
async function run(program: Program, images: Float32Array, kinds: number, forced = true): Promise<Result> {
  const encoded = encodeFull(program);
  const count = images.length / program.imageFloats;
  const outputs = kinds === 3 ? 2 : 1;
  const maps = fullWasmWorkspace(fullShape(program, encoded), THREADS, forced);
  const { imageFloats, tablePixels } = program;
  const slots = {
    program: upload(backend, encoded.words),
    images: upload(backend, images),
    table: backend.allocate(4 * wasmTableFloats(count, imageFloats, tablePixels), "table"),
    variances: backend.allocate(4 * outputs * count, "variances"),
    output: backend.allocate(4 * outputs * count * count, "output"),
    workspace: upload(backend, new Uint8Array(maps.bytes + 64).fill(GUARD)),
  };
  const shape = { ...fullShape(program, encoded), kinds, slices: maps.slices, sliceFloats: maps.sliceFloats };
  backend.dispatch(fullVariance, { ...shape, images: count }, [
    slots.program,
    slots.images,
    slots.table,
    slots.variances,
    slots.workspace,
  ]);
  backend.dispatch(fullCovariance, { ...shape, rows: count, columns: count, diagonal: NO_DIAGONAL, lower: 0 }, [
    slots.program,
    slots.table,
    slots.table,
    slots.variances,
    slots.output,
    slots.workspace,
  ]);
  const variances = new Float32Array(await backend.read(slots.variances, 0, 4 * outputs * count));
  const covariances = new Float32Array(await backend.read(slots.output, 0, 4 * outputs * count * count));
  const guard = new Uint8Array(await backend.read(slots.workspace, maps.bytes, 64));
  for (const slot of Object.values(slots)) backend.free(slot);
  return { variances, covariances, guard };
}

function networks(): readonly (readonly [name: string, shape: readonly [number, number, number], arch: Arch])[] {
  const biased = { weightVariance: 1.3, biasVariance: 0.2 };
  return [
    ["conv relu flatten", [3, 5, 4], serial(conv({ filter: 3 }), relu(), flatten(), dense())],
    [
      "a small Myrtle",
      [3, 8, 8],
      serial(conv({ filter: 3 }), relu(), conv({ filter: 3 }), relu(), avgPool({ window: 2 }), conv({ filter: 3 }), relu(), avgPool({ window: 2 }), conv({ filter: 3 }), relu(), globalAvgPool(), dense()),
    ],
    [
      "leftovers and rectangles",
      [2, 7, 5],
      serial(conv({ filter: [3, 2], ...biased }), relu(), avgPool({ window: [2, 3] }), conv({ filter: 3, ...biased }), relu(), flatten(), dense(biased)),
    ],
    [
      "windows that overlap",
      [1, 7, 6],
      serial(conv({ filter: 3, ...biased }), relu(), avgPool({ window: 3, stride: 2 }), conv({ filter: 2 }), relu(), globalAvgPool(), dense(biased), relu(), dense()),
    ],
    [
      "strides, dilation and even filters",
      [1, 9, 8],
      serial(conv({ filter: 2, stride: 2, ...biased }), relu(), conv({ filter: 3, dilation: 2, ...biased }), leakyRelu({ slope: 0.2 }), globalAvgPool(), dense()),
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
    ["erf", [1, 6, 6], serial(conv({ filter: 3, ...biased }), erf(), flatten(), dense(biased))],
    ["abs", [1, 6, 6], serial(conv({ filter: 3, ...biased }), abs(), flatten(), dense(biased))],
    ["sum", [1, 6, 6], serial(conv({ filter: 3, ...biased }), mixture([0.5,0.5],identity(), relu()), flatten(), dense(biased))],
    ["no pool", [3, 6, 6], serial(conv({ filter: 3 }), relu(), conv({ filter: 3 }), relu(), flatten(), dense())],
  ];
}

const STEPS: Arch = serial(conv({ filter: 3 }), step(), avgPool({ window: 2 }), conv({ filter: 2 }), relu(), globalAvgPool(), dense());

/** Pixels of either sign, or none negative and half of them blank. */
function testImages(random: RandomStream, count: number, floats: number, signed: boolean): Float32Array {
  return new Float32Array(count * floats).map(() =>
    signed ? random.uniform32() - 0.4 : Math.max(0, 2 * random.uniform32() - 1),
  );
}

describe("full programs on wasm", () => {
  for (const [name, shape, arch] of networks()) {
    for (const signed of [false, true]) {
      it(`${name}, ${signed ? "signed" : "positive"} images: NNGP and NTK within 2e-6`, async () => {
        const random = new RandomStream(seed, name + signed);
        const program = compile(arch, [...shape], { ntk: true, parametrisation: "ntk" });
        const images = testImages(random, 5, program.imageFloats, signed);
        const { variances, covariances, guard } = await run(program, images, 3);
        expect(new Set(guard)).toEqual(new Set([GUARD]));
        const image = (i: number): Float32Array => images.subarray(i * program.imageFloats, (i + 1) * program.imageFloats);
        let worst = 0;
        for (const [i, j] of [[0, 1], [2, 4], [4, 0], [3, 2]] as const) {
          const { nngp, ntk } = referenceFull(program, image(i), image(j));
          worst = Math.max(worst, Math.abs((covariances[5 * i + j] ?? NaN) / nngp - 1));
          worst = Math.max(worst, Math.abs((covariances[25 + 5 * i + j] ?? NaN) / ntk - 1));
        }
        const own = referenceFull(program, image(3), image(3));
        worst = Math.max(worst, Math.abs((variances[3] ?? NaN) / own.nngp - 1));
        worst = Math.max(worst, Math.abs((variances[8] ?? NaN) / own.ntk - 1));
        console.log(name, signed, worst);
        expect(worst).toBeLessThan(2e-6);
      });
    }
  }
});
void STEPS;
