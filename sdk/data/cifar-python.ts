/**
 * CIFAR's Python version: files without an ending, each the pickle of a dict with "data" (uint8, n x 3072: the planes of
 * an image one after the other, as in the binary version), "labels" (a list of n integers; CIFAR-100: "fine_labels" and
 * "coarse_labels"), "batch_label" and "filenames". Keys are bytes in the published files, which Python 2 wrote, and text in those written again by Python 3.
 */
import { WidefieldError } from "../errors.ts";
import { CIFAR_10, type CifarFormat, IMAGE_BYTES, type Records, requireLabel } from "./cifar-records.ts";
import { readPickle } from "./pickle.ts";
import { describeValue, PickleArray, PickleDict, PickleSequence, type PickleValue } from "./pickle-values.ts";

/**
 * The records of a batch.
 *
 * @param content of the file, unpacked
 * @param path for messages
 * @throws WidefieldError E_DATA for a pickle that is refused (`readPickle`), or that is no such dict
 */
export function parsePythonBatch(content: Uint8Array, path: string, format: CifarFormat = CIFAR_10): Records {
  const { labelsKey, keys: known } = format;
  const batch = readPickle(content, path);
  if (!(batch instanceof PickleDict))
    throw refused(path, `its pickle holds ${describeValue(batch)}, not the dict that is a batch`);
  const keys = [...batch.entries.keys()];
  const strange = keys.find((key) => !known.includes(key));
  if (strange !== undefined) {
    const of = { fine_labels: "CIFAR-100", labels: "CIFAR-10" }[strange];
    const other = of === undefined ? "" : `: is it of ${of}?`;
    throw refused(path, `its dict has "${strange}", and a batch has only ${known.join(", ")}${other}`);
  }
  const pixels = pixelsOf(batch.entries.get("data"), path);
  const labels = batch.entries.get(labelsKey);
  const count = pixels.length / IMAGE_BYTES;
  if (!(labels instanceof PickleSequence) || labels.kind !== "list")
    throw refused(path, `its "${labelsKey}" are ${describeValue(labels)}, not a list of integers`);
  if (labels.items.length !== count)
    throw refused(path, `it has ${count} images and ${labels.items.length} labels: they do not belong together`);
  return {
    labels: Uint8Array.from(labels.items, (label, record) => requireLabel(label, record, path, format.classes)),
    pixels,
  };
}

function pixelsOf(data: PickleValue | undefined, path: string): Uint8Array {
  const content = data instanceof PickleArray ? data.content : undefined;
  if (content === undefined) throw refused(path, `its "data" is ${describeValue(data)}, not an array`);
  const { type, shape, fortran, bytes } = content;
  const [count = 0, columns] = shape;
  if (type.kind !== "u" || type.itemBytes !== 1 || shape.length !== 2 || columns !== IMAGE_BYTES || count === 0) {
    throw refused(
      path,
      `its "data" is an array of (${shape.slice(0, 4).join(", ")}) numbers of type ${type.kind}${type.itemBytes}, not ` +
        `(n, ${IMAGE_BYTES}) of u1`,
    );
  }
  if (!fortran) return bytes;
  const rows = new Uint8Array(bytes.length);
  for (let column = 0; column < IMAGE_BYTES; column++) {
    for (let row = 0; row < count; row++) rows[row * IMAGE_BYTES + column] = bytes[column * count + row] ?? 0;
  }
  return rows;
}

function refused(path: string, problem: string): WidefieldError {
  return new WidefieldError("E_DATA", `${path}: ${problem}`, { details: { path } });
}
