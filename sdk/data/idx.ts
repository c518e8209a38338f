/**
 * IDX, the file format of MNIST and its descendants (Y. LeCun, http://yann.lecun.com/exdb/mnist): two zero bytes, the
 * element type (0x08: unsigned byte), the number of dimensions, each dimension as a big-endian 32-bit word, and the
 * elements, last dimension fastest. Images have three dimensions (magic 0x00000803), labels one (0x00000801).
 *
 * Parsing takes bytes and touches no file system.
 */
import { WidefieldError } from "../errors.ts";
import { GzipError, gunzip, isGzip } from "./gzip.ts";

/** Reads a whole file (a path, a URL, whatever the caller's means); undefined when there is none. */
export type ReadFile = (path: string) => Promise<Uint8Array | undefined>;

const MAGIC_LABELS = 0x00000801;
const MAGIC_IMAGES = 0x00000803;

export interface IdxImages {
  readonly count: number;
  readonly height: number;
  readonly width: number;
  /** count x height x width. */
  readonly pixels: Uint8Array;
}

/** Unpacks a file if its content is gzip, and says what it is if its name is wrong about that. */
export async function unpackIdx(bytes: Uint8Array, path: string): Promise<Uint8Array> {
  if (isGzip(bytes)) {
    try {
      return await gunzip(bytes, path);
    } catch (error) {
      throw error instanceof GzipError ? withExpectedSize(error, path) : error;
    }
  }
  // A plain IDX file whose name still says .gz is fine: web servers unpack on the way.
  if (path.endsWith(".gz") && !(bytes[0] === 0 && bytes[1] === 0)) {
    throw refusal(
      path,
      `it is named .gz but is not gzip: it starts with ${hexBytes(bytes)}, not 1f 8b`,
      "fetch it again (a web page saved in its place often looks like this)",
    );
  }
  return bytes;
}

/** The header often survives a cut, and then the message can name both sizes. */
function withExpectedSize(error: GzipError, path: string): WidefieldError {
  const header = readHeader(error.unpacked);
  const { length } = error.unpacked;
  if (header === undefined || length >= header.bytes) return error;
  return new WidefieldError(
    "E_DATA",
    `${path}: the gzip data is damaged or cut short (${error.problem}): ` +
      `${length} of ${header.bytes} bytes could be unpacked; fetch the file again`,
    { cause: error, details: { path, bytes: length, expectedBytes: header.bytes } },
  );
}

/**
 * Images of an unpacked IDX file; `pixels` is a view of `bytes`.
 *
 * @param path for messages
 * @throws WidefieldError E_DATA: wrong magic, truncated, bytes after the end, images without pixels
 */
export function parseIdxImages(bytes: Uint8Array, path: string): IdxImages {
  const [count = 0, height = 0, width = 0] = parse(bytes, path, MAGIC_IMAGES, "images");
  if (height === 0 || width === 0) {
    throw refusal(path, `its images are ${height} x ${width} pixels`, "check that it is the right file");
  }
  return { count, height, width, pixels: bytes.subarray(bytes.length - count * height * width) };
}

/**
 * Labels of an unpacked IDX file, as a view of `bytes`.
 *
 * @param path for messages
 * @param classes labels must be below it
 * @throws WidefieldError E_DATA: wrong magic, truncated, bytes after the end, a label out of range
 */
export function parseIdxLabels(bytes: Uint8Array, path: string, classes: number): Uint8Array {
  const [count = 0] = parse(bytes, path, MAGIC_LABELS, "labels");
  const labels = bytes.subarray(bytes.length - count);
  const wrong = labels.findIndex((label) => label >= classes);
  if (wrong >= 0) {
    throw new WidefieldError("E_DATA", `${path}: label ${wrong} is ${labels[wrong] ?? NaN}, not in 0..${classes - 1}`, {
      details: { path, index: wrong, label: labels[wrong], classes },
    });
  }
  return labels;
}

interface Header {
  readonly magic: number;
  readonly dimensions: readonly number[];
  /** Size of the whole file in bytes. */
  readonly bytes: number;
}

/** Undefined when the bytes end within the header or do not start one of unsigned bytes. */
function readHeader(bytes: Uint8Array): Header | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 4) return undefined;
  const magic = view.getUint32(0);
  if (magic !== MAGIC_IMAGES && magic !== MAGIC_LABELS) return undefined;
  const rank = magic & 0xff;
  if (bytes.length < 4 + 4 * rank) return undefined;
  const dimensions = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i));
  return { magic, dimensions, bytes: 4 + 4 * rank + dimensions.reduce((product, size) => product * size, 1) };
}

/** The dimensions, once the file is known to be as long as they say. */
function parse(bytes: Uint8Array, path: string, magic: number, content: string): readonly number[] {
  const headerBytes = 4 + 4 * (magic & 0xff);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found = bytes.length >= 4 ? view.getUint32(0) : undefined;
  if (found !== undefined && found !== magic) {
    const other = found === MAGIC_IMAGES ? " (images)" : found === MAGIC_LABELS ? " (labels)" : "";
    throw refusal(
      path,
      `its magic number is ${hexWord(found)}${other}, and IDX ${content} start with ${hexWord(magic)}`,
      other === "" ? "check that it is an IDX file of unsigned bytes" : "are two files swapped?",
    );
  }
  const header = readHeader(bytes);
  if (header === undefined) {
    throw truncated(path, bytes.length, headerBytes, `its header alone takes ${headerBytes}`);
  }
  const shape = header.dimensions.join(" x ");
  if (bytes.length < header.bytes) {
    throw truncated(path, bytes.length, header.bytes, `${shape} ${content} take ${header.bytes}`);
  }
  if (bytes.length > header.bytes) {
    throw new WidefieldError(
      "E_DATA",
      `${path}: it has ${bytes.length} bytes, and ${shape} ${content} take ${header.bytes}: ` +
        `${bytes.length - header.bytes} bytes too many; fetch the file again`,
      { details: { path, bytes: bytes.length, expectedBytes: header.bytes } },
    );
  }
  return header.dimensions;
}

function truncated(path: string, bytes: number, expectedBytes: number, need: string): WidefieldError {
  return new WidefieldError("E_DATA", `${path}: truncated: it has ${bytes} bytes, and ${need}; fetch the file again`, {
    details: { path, bytes, expectedBytes },
  });
}

function refusal(path: string, problem: string, hint: string): WidefieldError {
  return new WidefieldError("E_DATA", `${path}: ${problem}; ${hint}`, { details: { path } });
}

function hexWord(word: number): string {
  return `0x${word.toString(16).padStart(8, "0")}`;
}

function hexBytes(bytes: Uint8Array): string {
  if (bytes.length === 0) return "nothing";
  return Array.from(bytes.subarray(0, 4), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}
