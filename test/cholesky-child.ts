/** The process that tests of out-of-core factorisations kill and measure. Arguments: a JSON object. */
import { setTimeout } from "node:timers/promises";
import { WasmBackend } from "../sdk/engine/wasm/backend.ts";
import { crc32c } from "../sdk/platform/crc32c.ts";
import { cholesky } from "../sdk/linalg/cholesky.ts";
import type { CholeskyPlan } from "../sdk/linalg/plan.ts";
import type { SymmetricSource } from "../sdk/linalg/source.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { nodePlatform } from "../sdk/platform/node.ts";

export interface ChildTask {
  readonly n: number;
  readonly folder: string;
  readonly threads: number;
  readonly plan?: CholeskyPlan;
  readonly tile?: number;
  readonly blockSize?: number;
  /** For each block of the matrix. */
  readonly delayMs?: number;
  readonly rightHandSides: number;
}

export interface ChildOutcome {
  readonly where: CholeskyPlan["where"];
  /** CRC-32C of a solution. */
  readonly solution: number;
  /** The first column that was read, but for the diagonal blocks; undefined if none was. */
  readonly firstColumn?: number;
  /** The most that the process held at once. */
  readonly peakBytes: number;
}

const {
  n,
  folder,
  threads,
  plan,
  tile,
  blockSize = 512,
  delayMs = 0,
  ...task
} = JSON.parse(process.argv[2] ?? "") as ChildTask;
let firstColumn: number | undefined;
const source: SymmetricSource = {
  n,
  blockSize,
  identity: `decaying ${n}`,
  block: async (rowBegin, rowEnd, columnBegin, columnEnd) => {
    if (rowBegin !== columnBegin) firstColumn = Math.min(firstColumn ?? n, columnBegin);
    if (delayMs > 0) await setTimeout(delayMs);
    const columns = columnEnd - columnBegin;
    const block = new Float32Array((rowEnd - rowBegin) * columns);
    for (let at = 0; at < block.length; at++) {
      const apart = rowBegin - columnBegin + Math.floor(at / columns) - (at % columns);
      block[at] = apart === 0 ? 4 : 1 / (1 + apart * apart);
    }
    return block;
  },
};
const backend = await WasmBackend.open(nodePlatform, { threads, memoryBytes: 2 ** 32 });
using factor = await cholesky(backend, source, { plan, tile, scratch: { files: await nodeFiles(), folder } });
const b = new Float64Array(n * task.rightHandSides).map((_, at) => Math.sin(at));
const x = await factor.solve(b);
const outcome: ChildOutcome = {
  where: factor.plan.where,
  solution: crc32c(new Uint8Array(x.buffer)),
  ...(firstColumn === undefined ? {} : { firstColumn }),
  peakBytes: process.resourceUsage().maxRSS * 1024,
};
console.log(JSON.stringify(outcome));
await backend.close();
