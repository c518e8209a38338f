/** The process that the SIGKILL test kills: works on a shard of a store, slowly. Arguments: a JSON object. */
import { runKernelJob } from "../sdk/covariance/job.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { KernelStore } from "../sdk/covariance/store/store.ts";
import { hashSource, specOf } from "./kernel-job-source.ts";

export interface ChildTask {
  readonly path: string;
  readonly rows: number;
  readonly tile: number;
  readonly delayMs: number;
  readonly shard: { readonly index: number; readonly count: number };
}

const task = JSON.parse(process.argv[2] ?? "") as ChildTask;
const spec = specOf(task.rows, task.rows, task.tile, { symmetric: true });
try {
  const store = await KernelStore.create(await nodeFiles(), task.path, spec);
  const { tilesReused, tilesTotal } = await runKernelJob({
    store,
    source: hashSource(true, task.delayMs),
    shard: task.shard,
    memoryBytes: 1 << 24,
  });
  console.log(JSON.stringify({ tilesReused, tilesTotal }));
} catch (error) {
  console.log(JSON.stringify({ code: (error as { code?: string }).code, message: String(error) }));
  process.exitCode = 1;
}
