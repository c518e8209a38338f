/**
 * MATLAB level 5 files (MathWorks, "MAT-File Format", 2019), read front to back without ever holding one whole: after
 * 128 bytes of header come elements, each a variable, most of them compressed by zlib. A variable says its class, its
 * sizes and its name before its numbers, which are then handed out in pieces as they are inflated. Numbers stand with
 * the first dimension fastest.
 *
 * Numeric arrays only: the names of others (cells, structures, text, sparse and complex arrays) are told, and they are
 * passed over. Files of version 7.3 are HDF5, and refused with that name.
 */
import { messageOf, WidefieldError } from "../errors.ts";

/** Bytes that can be read at any place: `ReadableFile` has it. */
export interface ByteSource {
  readonly bytes: number;
  /** Fills `into` from `position` on. */
  read(into: Uint8Array, position: number): Promise<void>;
}

/** How numbers are stored, which may be smaller than the class that MATLAB gives them. */
export type MatlabType = "int8" | "uint8" | "int16" | "uint16" | "int32" | "uint32" | "float32" | "float64";

export interface MatlabVariable {
  readonly name: string;
  readonly shape: readonly number[];
  /** Undefined: not a real, dense, numeric array; it has no numbers here. */
  readonly type: MatlabType | undefined;
  /** The numbers as they are stored, in pieces of any size, once, before the next variable is asked for. Throws E_DATA. */
  pieces(): AsyncGenerator<Uint8Array, void, undefined>;
  /** All numbers, of a variable that is small. Throws E_DATA. */
  numbers(): Promise<Float64Array>;
}

const HEADER_BYTES = 128;
const COMPRESSED = 15;
const MATRIX = 14;
const TYPES: Readonly<Partial<Record<number, MatlabType>>> = {
  1: "int8",
  2: "uint8",
  3: "int16",
  4: "uint16",
  5: "int32",
  6: "uint32",
  7: "float32",
  9: "float64",
};
const ITEM_BYTES: Readonly<Record<MatlabType, number>> = {
  int8: 1,
  uint8: 1,
  int16: 2,
  uint16: 2,
  int32: 4,
  uint32: 4,
  float32: 4,
  float64: 8,
};
/** Classes 6 (double) to 15 (uint64) are numeric; 0x0800 in the flags: complex. */
const [FIRST_NUMERIC, LAST_NUMERIC, COMPLEX] = [6, 15, 0x0800];
/** Read from the file at a time. */
const PIECE_BYTES = 2 ** 20;
/** Of a name or the list of sizes: more is no such file. */
const MAX_SMALL_BYTES = 2 ** 16;

export function memorySource(content: Uint8Array): ByteSource {
  return {
    bytes: content.length,
    read: async (into, position) => into.set(content.subarray(position, position + into.length)),
  };
}

/**
 * The variables of a file, in its order. What of a variable is not read is passed over, and not even inflated.
 *
 * @param path for messages
 * @throws WidefieldError E_DATA for files that are none, damaged or cut short; E_IO from the source
 */
export async function* readMatlab(source: ByteSource, path: string): AsyncGenerator<MatlabVariable, void, undefined> {
  const little = await readHeader(source, path);
  for (let at = HEADER_BYTES; at < source.bytes;) {
    const [type, bytes] = await tagAt(source, at, little, path);
    const begin = at + 8;
    at = begin + bytes;
    if (at > source.bytes)
      throw refused(
        path,
        `it ends at byte ${source.bytes}, and its element at byte ${begin - 8} at byte ${at}: it is cut short`,
      );
    if (type !== COMPRESSED && type !== MATRIX)
      throw refused(path, `the element at byte ${begin - 8} has type ${type}, which is no variable`);
    const pieces = piecesOf(source, begin, at);
    const stream = new PieceReader(type === COMPRESSED ? inflated(pieces) : pieces, path);
    try {
      if (type === COMPRESSED) {
        const [inner] = await readTag(stream, little);
        if (inner !== MATRIX)
          throw refused(path, `the element at byte ${begin - 8} holds type ${inner}, which is no variable`);
      }
      yield await readVariable(stream, little, path);
    } finally {
      await stream.close();
    }
  }
}

/** True: little-endian. */
async function readHeader(source: ByteSource, path: string): Promise<boolean> {
  if (source.bytes < HEADER_BYTES) throw refused(path, `it has ${source.bytes} bytes, fewer than the header's 128`);
  const header = new Uint8Array(HEADER_BYTES);
  await source.read(header, 0);
  const text = String.fromCharCode(...header.subarray(0, 116));
  const order = String.fromCharCode(...header.subarray(126));
  if (text.startsWith("MATLAB 7.3") || (order === "IM" && header[125] === 2))
    throw refused(path, "it is of version 7.3, which is HDF5; save it with -v7");
  if (order !== "IM" && order !== "MI") throw refused(path, "its header is not that of a MATLAB file of level 5");
  return order === "IM";
}

async function tagAt(source: ByteSource, at: number, little: boolean, path: string): Promise<[number, number]> {
  if (at + 8 > source.bytes) throw refused(path, `it ends within the element at byte ${at}: it is cut short`);
  const tag = new Uint8Array(8);
  await source.read(tag, at);
  const view = new DataView(tag.buffer);
  return [view.getUint32(0, little), view.getUint32(4, little)];
}

async function* piecesOf(
  source: ByteSource,
  begin: number,
  end: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  for (let at = begin; at < end; at += PIECE_BYTES) {
    const piece = new Uint8Array(Math.min(PIECE_BYTES, end - at));
    await source.read(piece, at);
    yield piece;
  }
}

async function* inflated(packed: AsyncGenerator<Uint8Array<ArrayBuffer>, void>): AsyncGenerator<Uint8Array, void> {
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: async (controller) => {
      const next = await packed.next();
      if (next.done === true) controller.close();
      else controller.enqueue(next.value);
    },
  });
  const reader = stream.pipeThrough(new DecompressionStream("deflate")).getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    await reader.cancel().catch(() => undefined);
    await packed.return();
  }
}

/** Bytes of a stream by number. */
class PieceReader {
  readonly #pieces: AsyncGenerator<Uint8Array, void>;
  readonly #path: string;
  #held: Uint8Array = new Uint8Array();

  constructor(pieces: AsyncGenerator<Uint8Array, void>, path: string) {
    this.#pieces = pieces;
    this.#path = path;
  }

  /** So many bytes, in pieces as they come. */
  async *take(bytes: number): AsyncGenerator<Uint8Array, void, undefined> {
    for (let left = bytes; left > 0;) {
      if (this.#held.length === 0) this.#held = await this.#more(left);
      const piece = this.#held.subarray(0, left);
      this.#held = this.#held.subarray(piece.length);
      left -= piece.length;
      if (piece.length > 0) yield piece;
    }
  }

  /** So many bytes in one, a fresh array. */
  async exactly(bytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const whole = new Uint8Array(bytes);
    let at = 0;
    for await (const piece of this.take(bytes)) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }

  /** Reads to the end, so that a checksum there is compared. */
  async drain(): Promise<void> {
    this.#held = new Uint8Array();
    try {
      while ((await this.#pieces.next()).done !== true);
    } catch (thrown) {
      throw this.#damaged(thrown);
    }
  }

  async close(): Promise<void> {
    await this.#pieces.return().catch(() => undefined);
  }

  async #more(wanted: number): Promise<Uint8Array> {
    try {
      const next = await this.#pieces.next();
      if (next.done !== true) return next.value;
    } catch (thrown) {
      throw this.#damaged(thrown);
    }
    throw refused(this.#path, `a variable lacks ${wanted} bytes of what it announces: it is cut short`);
  }

  #damaged(thrown: unknown): WidefieldError {
    if (thrown instanceof WidefieldError) return thrown;
    return refused(
      this.#path,
      `its compressed data is damaged or cut short (${messageOf(thrown)}); fetch it again`,
      thrown,
    );
  }
}

/** Type, bytes, and for elements of up to four bytes, whose tag holds them, those. */
async function readTag(
  stream: PieceReader,
  little: boolean,
): Promise<[type: number, bytes: number, data: Uint8Array | undefined]> {
  const tag = await stream.exactly(8);
  const view = new DataView(tag.buffer);
  const word = view.getUint32(0, little);
  const small = word >>> 16;
  return small === 0
    ? [word, view.getUint32(4, little), undefined]
    : [word & 0xffff, small, tag.subarray(4, 4 + small)];
}

/** An element of a few bytes, without the padding to a multiple of eight. */
async function readSmall(stream: PieceReader, little: boolean, path: string): Promise<DataView> {
  const [, bytes, data] = await readTag(stream, little);
  if (bytes > MAX_SMALL_BYTES) throw refused(path, `a variable's head announces ${bytes} bytes`);
  const whole = data ?? (await stream.exactly(paddedBytes(bytes)));
  return new DataView(whole.buffer, whole.byteOffset, bytes);
}

function paddedBytes(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

async function readVariable(stream: PieceReader, little: boolean, path: string): Promise<MatlabVariable> {
  const flags = (await readSmall(stream, little, path)).getUint32(0, little);
  const sizes = await readSmall(stream, little, path);
  const shape = Array.from({ length: sizes.byteLength / 4 }, (_, i) => sizes.getInt32(4 * i, little));
  const letters = await readSmall(stream, little, path);
  const name = String.fromCharCode(...new Uint8Array(letters.buffer, letters.byteOffset, letters.byteLength));
  const kind = flags & 0xff;
  if (kind < FIRST_NUMERIC || kind > LAST_NUMERIC || (flags & COMPLEX) !== 0) return notNumeric(name, shape, path);
  const [code, bytes, data] = await readTag(stream, little);
  const type = TYPES[code];
  if (type === undefined) return notNumeric(name, shape, path);
  const count = shape.reduce((product, size) => product * size, 1);
  if (bytes !== count * ITEM_BYTES[type]) {
    const sizesText = shape.join(" x ");
    throw refused(
      path,
      `${name} is ${sizesText} of ${type}, ${count * ITEM_BYTES[type]} bytes, and announces ${bytes}`,
    );
  }
  const pieces = async function* () {
    if (data !== undefined) yield data;
    else yield* stream.take(bytes);
    await stream.drain();
  };
  return { name, shape, type, pieces, numbers: async () => numbersOf(type, bytes, little, pieces()) };
}

function notNumeric(name: string, shape: readonly number[], path: string): MatlabVariable {
  const pieces = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    throw refused(path, `${name} is not a real, dense, numeric array`);
  };
  return {
    name,
    shape,
    type: undefined,
    pieces,
    numbers: async () => {
      await pieces().next();
      return new Float64Array();
    },
  };
}

async function numbersOf(
  type: MatlabType,
  bytes: number,
  little: boolean,
  pieces: AsyncGenerator<Uint8Array, void>,
): Promise<Float64Array> {
  const whole = new Uint8Array(bytes);
  let at = 0;
  for await (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  const view = new DataView(whole.buffer);
  const read: Readonly<Record<MatlabType, (offset: number) => number>> = {
    int8: (offset) => view.getInt8(offset),
    uint8: (offset) => view.getUint8(offset),
    int16: (offset) => view.getInt16(offset, little),
    uint16: (offset) => view.getUint16(offset, little),
    int32: (offset) => view.getInt32(offset, little),
    uint32: (offset) => view.getUint32(offset, little),
    float32: (offset) => view.getFloat32(offset, little),
    float64: (offset) => view.getFloat64(offset, little),
  };
  return Float64Array.from({ length: bytes / ITEM_BYTES[type] }, (_, i) => read[type](i * ITEM_BYTES[type]));
}

function refused(path: string, problem: string, cause?: unknown): WidefieldError {
  return new WidefieldError("E_DATA", `${path}: ${problem}`, { cause, details: { path } });
}
