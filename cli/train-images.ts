/** From the name of a data set to the images that a network is trained on. */
import type { BatchSource } from "../sdk/data/batch-source.ts";
import { datasetSource } from "../sdk/data/batch-source.ts";
import { fetchDataset } from "../sdk/data/fetch.ts";
import { readFileFromDisk } from "../sdk/data/files.ts";
import { folderSource, openImageFolder } from "../sdk/data/image-folder.ts";
import { loadDataset } from "../sdk/data/registry.ts";
import type { TrainImages } from "../sdk/experiments/train-parts.ts";
import type { TrainSettings } from "../sdk/experiments/train-settings.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { formatRate } from "./format.ts";
import type { Session } from "./session.ts";
import type { RunOptions } from "./train-options.ts";

/** The published recipes train house numbers at this size. */
const SVHN_PIXELS = 40;

/** Throws what loading throws; E_CONFIG where images have to be fetched that are not for the taking. */
export async function openTrainImages(
  { ds, arch, aug }: Pick<TrainSettings, "ds" | "arch" | "aug">,
  { dataRoot, download }: Pick<RunOptions, "dataRoot" | "download">,
  session: Session,
): Promise<TrainImages> {
  const files = await nodeFiles();
  const log = (line: string): void => session.note(line);
  if (ds === "imagenet") {
    if (dataRoot === undefined)
      throw new WidefieldError(
        "E_CONFIG",
        "--ds imagenet needs --data-root: a folder with train/CLASS/ and val/CLASS/",
      );
    if (download === true)
      throw new WidefieldError("E_CONFIG", "ImageNet cannot be downloaded freely: prepare it, and give --data-root");
    const folder = await openImageFolder(dataRoot, { files, log });
    return imagesOf(folderSource(folder), folder.trainCount, await folder.sha256());
  }
  // Where `widefield data fetch` puts it.
  const dataDir = dataRoot ?? `data/${ds}`;
  if (download === true && ds !== "digits") {
    await fetchDataset(ds, {
      ...{ files, log, dataDir, signal: session.signal },
      onProgress: ({ file, done, total, rate }) => session.progress.update(file, done, total, formatRate(rate, "B/s")),
    });
  }
  const dataset = await loadDataset(ds, { readFile: readFileFromDisk, files, log, dataDir });
  const resize = ds === "svhn" && arch !== "resnet18" ? { resize: SVHN_PIXELS } : {};
  const source = datasetSource(dataset, { ...resize, ...(aug ? {} : { augmentation: null }) });
  return imagesOf(source, dataset.trainCount, await dataset.sha256());
}

function imagesOf(source: BatchSource, trainCount: number, digest: string): TrainImages {
  return { source, trainCount, digest };
}
