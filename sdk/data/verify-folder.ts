/** Decoding every image of a folder, and naming those that training could not use. */
import { type BadImage, BatchLoader, release } from "./batches.ts";
import { folderSource, type ImageFolder } from "./image-folder.ts";

export interface FolderReport {
  readonly name: string;
  readonly classes: number;
  readonly train: FolderPart;
  readonly test: FolderPart;
  /** Of the list of images. */
  readonly sha256: string;
  /** All of them, in the order of the folder. */
  readonly bad: readonly BadImage[];
}

export interface FolderPart {
  /** Images that can be used, and those that cannot. */
  readonly good: number;
  readonly bad: number;
}

export interface VerifyFolderOptions {
  readonly workers: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

const BATCH = 16;

/** Throws E_IO, E_ABORTED; an image that does not decode is in the report. */
export async function verifyImageFolder(folder: ImageFolder, options: VerifyFolderOptions): Promise<FolderReport> {
  const { workers, signal, onProgress } = options;
  const { name, classNames, trainCount, testCount, labels } = folder;
  const loader = await BatchLoader.open({ source: folderSource(folder), workers, skipBad: true, signal });
  const good = { train: 0, test: 0 };
  try {
    const order = Uint32Array.from(labels, (_, index) => index);
    for await (const batch of loader.batches({ order, batch: BATCH, augment: false, seed: 0, epoch: 0 })) {
      for (const index of batch.indices) good[index < trainCount ? "train" : "test"]++;
      release(batch);
      onProgress?.(good.train + good.test + loader.badImages.length, labels.length);
    }
  } finally {
    await loader.close();
  }
  return {
    name,
    classes: classNames.length,
    train: { good: good.train, bad: trainCount - good.train },
    test: { good: good.test, bad: testCount - good.test },
    sha256: await folder.sha256(),
    bad: loader.badImages,
  };
}
