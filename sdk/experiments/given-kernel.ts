/** Kernels that an experiment is given: the leading parts of stores that are on disk, compared with what is asked for. */
import type { KernelSpec } from "../arch/kernel-spec.ts";
import { storedMatrix, transposed, type KernelMatrix } from "../covariance/matrix.ts";
import type { KernelStore } from "../covariance/store/store.ts";
import type { Dataset } from "../data/dataset.ts";
import { countOf, type Ranges } from "../data/ranges.ts";
import type { Engine } from "../engine/engine.ts";
import { WidefieldError } from "../errors.ts";
import { indexRanges, kernelIdentity } from "./stored-kernel.ts";

/** What a store has to be of. */
export interface AskedKernel {
  readonly engine: Engine;
  readonly dataset: Dataset;
  readonly kernel: KernelSpec;
  /** The training images. */
  readonly train: Ranges;
}

/**
 * The kernel among the training images. Throws E_MISMATCH with a diff for a store of something else, E_DATA for one that
 * is not symmetric.
 */
export async function givenTrainingKernel(asked: AskedKernel, store: KernelStore): Promise<KernelMatrix> {
  const { rows, columns } = await leading(asked, store, asked.train, asked.train);
  if (!store.manifest.symmetric)
    throw new WidefieldError("E_DATA", `${store.path} is not symmetric: it is no training kernel`);
  return storedMatrix(store, rows, columns);
}

/** The kernel with rows of other images and columns of the training images, whichever way round the store has it. */
export async function givenCrossKernel(asked: AskedKernel, store: KernelStore, others: Ranges): Promise<KernelMatrix> {
  const { engine, train } = asked;
  const size = await leading(asked, store, train, others).catch((error: unknown) => error);
  if (!(size instanceof Error)) {
    const { rows, columns } = size as { rows: number; columns: number };
    if (store.manifest.kind === "imported" && columns <= store.grid.rows && rows <= store.grid.columns)
      engine.log(`${store.path}: read with the training images in its rows; its size does not tell`);
    return transposed(storedMatrix(store, rows, columns));
  }
  // Perhaps it stands the other way round; if not, the first complaint is the one that helps.
  const turned = await leading(asked, store, others, train).catch(() => undefined);
  if (turned === undefined) throw size;
  return storedMatrix(store, turned.rows, turned.columns);
}

/** How much of a store is asked for; an imported matrix knows only its size: its first rows are taken. */
async function leading(
  { dataset, kernel }: AskedKernel,
  store: KernelStore,
  rows: Ranges,
  columns: Ranges,
): Promise<{ readonly rows: number; readonly columns: number }> {
  if (store.manifest.kind !== "imported") {
    return store.leadingPart({
      ...{ rows: indexRanges(rows), columns: indexRanges(columns) },
      ...kernelIdentity(kernel),
      dataset: { name: dataset.name, sha256: await dataset.sha256() },
    });
  }
  const size = { rows: countOf(rows), columns: countOf(columns) };
  if (size.rows <= store.grid.rows && size.columns <= store.grid.columns) return size;
  throw new WidefieldError(
    "E_MISMATCH",
    `${store.path} is ${store.grid.rows} x ${store.grid.columns}; ${size.rows} x ${size.columns} are needed`,
  );
}
