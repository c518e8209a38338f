/** Kernel matrices of datasets as jobs: from a dataset, index ranges and an architecture to a store on disk. */
import { kernelToJson, type KernelSpec } from "../arch/kernel-spec.ts";
import { specTiles } from "../arch/spec-tiles.ts";
import type { FeatureProgress } from "../covariance/finite-features.ts";
import { planMemory, runKernelJob, type KernelJob, type KernelJobResult } from "../covariance/job.ts";
import { requireTile } from "../covariance/matrix.ts";
import type { Files } from "../platform/files.ts";
import type { IndexRanges, Json, Manifest } from "../covariance/store/manifest.ts";
import { KernelStore } from "../covariance/store/store.ts";
import type { Precision } from "../covariance/tiles.ts";
import type { Dataset, Selection } from "../data/dataset.ts";
import { formatRanges, type Ranges } from "../data/ranges.ts";
import type { Engine } from "../engine/engine.ts";

export interface StoredKernelJob extends Pick<KernelJob, "shard" | "signal" | "onProgress" | "onCheck"> {
  readonly engine: Engine;
  readonly dataset: Dataset;
  readonly kernel: KernelSpec;
  readonly rows: Ranges;
  /** Undefined: the symmetric matrix of the rows. */
  readonly columns?: Ranges | undefined;
  readonly files: Files;
  /** The folder of the store, K.zarr. */
  readonly path: string;
  readonly precision?: Precision | undefined;
  /** Rows and columns of a tile; default 256, fewer where pairs are expensive. */
  readonly tile?: number | undefined;
  /** Of a finite random-feature model, whose blocks of features come before its tiles. */
  readonly onFeatures?: ((progress: FeatureProgress) => void) | undefined;
}

/** What a manifest says of a kernel. */
export function kernelIdentity(kernel: KernelSpec): Pick<Manifest, "kind" | "arch"> {
  return { kind: kernel.name === "arch" ? kernel.kind : "closed", arch: kernelToJson(kernel) as Json };
}

/** Ranges as a manifest writes them. */
export function indexRanges(ranges: Ranges): IndexRanges {
  return ranges.map(({ start, end }) => [start, end]);
}

/** The images of some ranges, in the precision that the kernel is computed in. */
export function selectImages(
  dataset: Dataset,
  ranges: Ranges,
  precision: Precision,
): Selection | Selection<Float64Array<ArrayBuffer>> {
  return precision === "f64" ? dataset.selectFloat64(ranges) : dataset.select(ranges);
}

/**
 * Creates the store, or opens it where it was begun, and computes what is missing of it. Throws what `KernelStore.create`
 * and `runKernelJob` throw.
 */
export async function storeKernel(
  job: StoredKernelJob,
): Promise<{ readonly store: KernelStore; readonly result: KernelJobResult }> {
  const { engine, dataset, kernel, rows, columns, files, path } = job;
  const precision = job.precision ?? "f32";
  const rowImages = selectImages(dataset, rows, precision);
  const columnImages = columns === undefined ? rowImages : selectImages(dataset, columns, precision);
  // Parts of a store that several processes make keep their sums apart.
  const checkpoint = { files, path: `${path}.sums${job.shard === undefined ? "" : `-${job.shard.index}`}` };
  const options = { checkpoint, signal: job.signal, onFeatures: job.onFeatures };
  const { tiles, exponent, ...size } = await specTiles(engine, kernel, rowImages, columnImages, precision, options);
  const tile = job.tile ?? size.tile;
  try {
    requireTile(tile);
    // Before the store is there: a refusal advises another tile, for which a store of this one would be in the way.
    planMemory({ ...size, tile, symmetric: columns === undefined }, tiles, engine.memoryBytes);
    const store = await KernelStore.create(files, path, {
      ...kernelIdentity(kernel),
      symmetric: columns === undefined,
      exponent,
      tile,
      precision,
      backend: precision === "f64" ? "wasm" : engine.info.backend,
      dataset: { name: dataset.name, sha256: await dataset.sha256() },
      rows: indexRanges(rows),
      columns: indexRanges(columns ?? rows),
      adapter: engine.info.adapter,
      threads: engine.info.threads,
      seeds: { engine: engine.seed },
    });
    const { shard, signal, onProgress, onCheck } = job;
    const memoryBytes = engine.memoryBytes;
    const result = await runKernelJob({ store, source: tiles, shard, memoryBytes, signal, onProgress, onCheck });
    return { store, result };
  } finally {
    tiles.dispose();
  }
}

/** "60000:61000 of mnist". */
export function describeRanges(dataset: Dataset, ranges: Ranges): string {
  return `${formatRanges(ranges)} of ${dataset.name}`;
}
