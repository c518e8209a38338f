/** Folders of images in `widefield data`: what they look like, and whether every image of one decodes. */
import { type ImageFolder, openImageFolder } from "../sdk/data/image-folder.ts";
import { type FolderPart, type FolderReport, verifyImageFolder } from "../sdk/data/verify-folder.ts";
import { WidefieldError } from "../sdk/errors.ts";
import { nodeFiles } from "../sdk/platform/files.node.ts";
import { platform } from "../sdk/platform/platform.ts";
import { formatRate } from "./format.ts";
import type { Session } from "./session.ts";

/** What `data list` says of them. */
export const IMAGE_FOLDER = {
  name: "imagenet",
  title: "folders of JPEG and PNG images, scaled to 256 on the shorter side",
  files: ["train/CLASS/*.jpeg", "val/CLASS/*.jpeg"],
};

/** Decodes all images; the caller prints what is returned, and then lets `refuseBad` throw. Throws E_ABORTED. */
export async function verifyFolder(
  dataDir: string | undefined,
  { signal, progress }: Pick<Session, "signal" | "progress">,
): Promise<FolderReport> {
  if (dataDir === undefined || dataDir === "") {
    throw new WidefieldError(
      "E_CONFIG",
      "imagenet is read from files: give the folder that holds train/CLASS/ and val/CLASS/ (--data-dir)",
    );
  }
  const folder: ImageFolder = await openImageFolder(dataDir, { files: await nodeFiles() });
  const started = performance.now();
  return verifyImageFolder(folder, {
    workers: platform().hardwareThreads,
    signal,
    onProgress: (done, total) => {
      const rate = (1000 * done) / (performance.now() - started);
      progress.update(folder.name, done, total, formatRate(rate, "images/s"));
    },
  });
}

export function folderText({ name, classes, train, test, sha256, bad }: FolderReport): string {
  const part = (title: string, counts: FolderPart) =>
    `${title.padEnd(6)}  ${counts.good} images${counts.bad === 0 ? "" : `, and ${counts.bad} that cannot be used`}`;
  const lines = [
    `${name}: ${classes} classes`,
    part("train", train),
    part("test", test),
    ...bad.map(({ path, reason }) => `bad     ${path}: ${reason}`),
    `sha256  ${sha256} (of the list of files)`,
  ];
  return `${lines.join("\n")}\n`;
}

/** Throws E_DATA where images cannot be used; the report has named them. */
export function refuseBad({ name, bad }: FolderReport): void {
  if (bad.length === 0) return;
  const images = bad.length === 1 ? "1 image" : `${bad.length} images`;
  throw new WidefieldError(
    "E_DATA",
    `${name}: ${images} cannot be used; repair or remove them, or train with --skip-bad`,
    {
      details: { bad },
    },
  );
}
