/**
 * Folders of images as ImageNet has them: train/CLASS/NAME.jpeg and val/CLASS/NAME.jpeg (or .jpg, .png, of any case), the
 * classes numbered by the order of their names, images in the order of class and name, those of train first. They are
 * expected to be scaled already (ImageNet: to 256 on the shorter side), and are decoded when a batch wants them: a square
 * is cut out at random, and mirrored at random, to train, and from the middle to test.
 */
import { messageOf, WidefieldError } from "../errors.ts";
import { sha256 } from "../platform/digest.ts";
import type { Files } from "../platform/files.ts";
import type { BatchSource } from "./batch-source.ts";

export interface ImageFolderOptions {
  /** `nodeFiles()` in Node and Deno. */
  readonly files: Pick<Files, "list" | "read">;
  /** Side in pixels of what is cut out; default 224. */
  readonly crop?: number | undefined;
  /** For constants, splits and messages; default "imagenet". */
  readonly name?: string | undefined;
  /** Takes a line about files that are no images. */
  readonly log?: ((line: string) => void) | undefined;
}

export interface ImageFolder {
  readonly name: string;
  readonly root: string;
  /** Side of what is cut out. */
  readonly crop: number;
  readonly classNames: readonly string[];
  readonly trainCount: number;
  readonly testCount: number;
  /** Of all images, those of train first. */
  readonly labels: Uint32Array<ArrayBuffer>;
  pathOf(index: number): string;
  /** SHA-256 of the list of all images, class and name each: it stands for which images there are, not for their pixels. */
  sha256(): Promise<string>;
  readonly files: Pick<Files, "list" | "read">;
}

const IMAGE = /\.(jpe?g|png)$/i;

/** Images of one class in one part. */
interface ClassFiles {
  readonly label: number;
  readonly folder: string;
  readonly names: readonly string[];
}

/**
 * Lists a folder; no image is opened.
 *
 * @throws WidefieldError E_DATA where there are no classes or no images, or val has a class that train has not; E_CONFIG
 *   for a crop that is no size; E_IO
 */
export async function openImageFolder(root: string, options: ImageFolderOptions): Promise<ImageFolder> {
  const { files, crop = 224, name = "imagenet", log = () => undefined } = options;
  if (!Number.isInteger(crop) || crop < 1)
    throw new WidefieldError("E_CONFIG", `${name}: images cannot be cut to ${crop} pixels`);
  const base = root.replace(/(?<=.)\/+$/, "");
  const trainClasses = await classesOf(files, `${base}/train`);
  const testClasses = await classesOf(files, `${base}/val`);
  const classNames = [...trainClasses.keys()].sort();
  if (classNames.length === 0) {
    throw new WidefieldError(
      "E_DATA",
      `${name}: there are no classes in ${base}/train: images belong into train/CLASS/ and val/CLASS/`,
      { details: { root } },
    );
  }
  const labelOf = new Map(classNames.map((className, label) => [className, label]));
  const strange = [...testClasses.keys()].find((className) => !labelOf.has(className));
  if (strange !== undefined) {
    throw new WidefieldError("E_DATA", `${name}: ${base}/val has the class ${strange}, and ${base}/train has not`, {
      details: { root, class: strange },
    });
  }
  let others = 0;
  const listed = (part: string, classes: ReadonlyMap<string, readonly string[]>): ClassFiles[] =>
    classNames.flatMap((className, label) => {
      const all = classes.get(className) ?? [];
      const names = all.filter((file) => IMAGE.test(file) && !file.startsWith(".")).sort();
      others += all.length - names.length;
      return names.length === 0 ? [] : [{ label, folder: `${part}/${className}`, names }];
    });
  const groups = [...listed("train", trainClasses), ...listed("val", testClasses)];
  const countIn = (part: string) =>
    groups.reduce((sum, { folder, names }) => (folder.startsWith(part) ? sum + names.length : sum), 0);
  const trainCount = countIn("train/");
  if (trainCount === 0)
    throw new WidefieldError(
      "E_DATA",
      `${name}: there are no .jpeg, .jpg or .png files in the classes of ${base}/train`,
    );
  if (others > 0) log(`${name}: ${others} files in ${base} are no images, by their names, and are passed over`);
  const ends: number[] = [];
  for (const { names } of groups) ends.push((ends.at(-1) ?? 0) + names.length);
  const labels = new Uint32Array(ends.at(-1) ?? 0);
  groups.forEach(({ label, names }, i) => labels.fill(label, (ends[i] ?? 0) - names.length, ends[i]));
  return {
    name,
    root: base,
    crop,
    classNames,
    trainCount,
    testCount: labels.length - trainCount,
    labels,
    files,
    pathOf: (index) => {
      const at = groupOf(ends, index);
      const group = groups[at];
      const file = group?.names[index - (ends[at - 1] ?? 0)];
      if (group === undefined || file === undefined) throw new RangeError(`${name} has no image ${index}`);
      return `${base}/${group.folder}/${file}`;
    },
    sha256: async () =>
      sha256(groups.flatMap(({ folder, names }) => names.map((file) => `${folder}/${file}\n`)).join("")),
  };
}

/** The first group that ends behind an index. */
function groupOf(ends: readonly number[], index: number): number {
  let [low, high] = [0, ends.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ends[middle] ?? 0) <= index) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The names in every folder of a part; files beside the folders are passed over. */
async function classesOf(files: Pick<Files, "list">, part: string): Promise<Map<string, readonly string[]>> {
  const entries = (await files.list(part)).filter((entry) => !entry.startsWith("."));
  const lists = await Promise.all(
    entries.map(async (entry) => {
      try {
        return [entry, await files.list(`${part}/${entry}`)] as const;
      } catch (thrown) {
        if (thrown instanceof WidefieldError && thrown.details["systemCode"] === "ENOTDIR") return undefined;
        throw new WidefieldError("E_IO", `cannot list ${part}/${entry}: ${messageOf(thrown)}`, { cause: thrown });
      }
    }),
  );
  return new Map(lists.filter((list) => list !== undefined));
}

/** The images of a folder as a source of batches. */
export function folderSource(folder: ImageFolder): BatchSource {
  const { name, crop, classNames, labels, files } = folder;
  return {
    name,
    count: labels.length,
    shape: { channels: 3, height: crop, width: crop },
    classes: classNames.length,
    labels,
    outputs: 0,
    targets: undefined,
    images: { kind: "files", crop },
    pathOf: (index) => folder.pathOf(index),
    read: async (path) => files.read(path),
  };
}
