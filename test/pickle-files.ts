/**
 * Pickles of CIFAR batches for tests, as the picklers of Python 2 and 3 write them (seen with pickletools.dis): small
 * enough to be read here, with every opcode in its place.
 */

export type PickleStyle = "python2" | "protocol2" | "protocol3" | "protocol4" | "protocol5";
export const PICKLE_STYLES: readonly PickleStyle[] = ["python2", "protocol2", "protocol3", "protocol4", "protocol5"];

export interface Batch {
  readonly labels: readonly number[];
  /** count x 3072. */
  readonly pixels: Uint8Array;
  /** CIFAR-100's: `labels` are the fine ones. Default: a batch of CIFAR-10. */
  readonly coarse?: readonly number[];
  /** Keys and names are text, as Python 3 writes them from its own strings; default: bytes. */
  readonly text?: boolean;
  /** Default: numpy.core, before NumPy 2. */
  readonly core?: "numpy.core" | "numpy._core";
  /** Default: [count, 3072]. */
  readonly shape?: readonly number[];
}

type Piece = string | number | Uint8Array | readonly Piece[];

/** Strings are Latin-1, numbers are bytes. */
export function bytesOf(...pieces: readonly Piece[]): Uint8Array<ArrayBuffer> {
  const parts = pieces.map((piece) =>
    typeof piece === "string"
      ? Uint8Array.from(piece, (letter) => letter.charCodeAt(0))
      : typeof piece === "number"
        ? Uint8Array.of(piece)
        : piece instanceof Uint8Array
          ? piece
          : bytesOf(...piece),
  );
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Little-endian. */
export function word(value: number | bigint, bytes: 1 | 2 | 4 | 8): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 0xffn));
}

/** Writes what Python's picklers write, memo and all. */
class Writer {
  private readonly style: PickleStyle;
  private memo = 0;

  constructor(style: PickleStyle) {
    this.style = style;
  }

  put(): Piece {
    const index = this.memo++;
    if (this.style === "protocol4" || this.style === "protocol5") return 0x94;
    return index < 256 ? ["q", index] : ["r", word(index, 4)];
  }

  text(text: string): Piece {
    const utf8 = new TextEncoder().encode(text);
    if (this.style === "python2") return ["U", utf8.length, utf8, this.put()];
    const isNew = this.style === "protocol4" || this.style === "protocol5";
    return [isNew ? [0x8c, utf8.length] : ["X", word(utf8.length, 4)], utf8, this.put()];
  }

  bytes(bytes: Uint8Array): Piece {
    const short = bytes.length < 256;
    switch (this.style) {
      case "python2":
        return [short ? ["U", bytes.length] : ["T", word(bytes.length, 4)], bytes, short ? this.put() : []];
      case "protocol2": {
        if (bytes.length === 0) return [this.global("__builtin__", "bytes"), ")R", this.put()];
        const latin1 = new TextEncoder().encode(String.fromCharCode(...bytes));
        const head = [this.global("_codecs", "encode"), "X", word(latin1.length, 4), latin1, this.put()];
        return [head, this.text("latin1"), 0x86, this.put(), "R", this.put()];
      }
      default:
        return [short ? ["C", bytes.length] : ["B", word(bytes.length, 4)], bytes, this.put()];
    }
  }

  int(value: number): Piece {
    if (value < 0) return ["J", word(value, 4)];
    if (value < 256) return ["K", value];
    return value < 65536 ? ["M", word(value, 2)] : ["J", word(value, 4)];
  }

  global(module: string, name: string): Piece {
    if (this.style === "protocol4" || this.style === "protocol5")
      return [this.text(module), this.text(name), 0x93, this.put()];
    return ["c", module, "\n", name, "\n", this.put()];
  }

  dtype(): Piece {
    const flags = this.style === "python2" ? "K\x00K\x01" : "\x89\x88";
    const made = [this.global("numpy", "dtype"), this.text("u1"), flags, 0x87, this.put(), "R", this.put()];
    return [made, "(K\x03", this.text("|"), "NNN", this.int(-1), this.int(-1), "K\x00t", this.put(), "b"];
  }

  array(core: string, shape: readonly number[], bytes: Uint8Array): Piece {
    const sizes = [shape.map((size) => this.int(size)), shape.length === 2 ? 0x86 : 0x87];
    if (this.style === "protocol5") {
      const content = [0x96, word(bytes.length, 8), bytes, this.put()];
      const args = ["(", content, this.dtype(), sizes, this.put(), this.text("C"), "t", this.put()];
      return [this.global(`${core}.numeric`, "_frombuffer"), args, "R", this.put()];
    }
    const made = [this.global(`${core}.multiarray`, "_reconstruct"), this.global("numpy", "ndarray"), "K\x00\x85"];
    const state = ["(K\x01", sizes, this.put(), this.dtype(), this.style === "python2" ? "K\x00" : "\x89"];
    return [
      made,
      this.put(),
      this.bytes(bytesOf("b")),
      0x87,
      this.put(),
      "R",
      this.put(),
      state,
      this.bytes(bytes),
      "tb",
    ];
  }

  labels(name: Piece, labels: readonly number[]): Piece {
    return [name, "]", this.put(), "(", labels.map((label) => this.int(label)), "e"];
  }

  batch({ labels, coarse, pixels, text = false, core = "numpy.core", shape = [labels.length, 3072] }: Batch): Piece {
    const name = (words: string) => (text ? this.text(words) : this.bytes(bytesOf(words)));
    return [
      ["}", this.put(), "("],
      [name("batch_label"), name("training batch 1 of 5")],
      this.labels(name(coarse === undefined ? "labels" : "fine_labels"), labels),
      coarse === undefined ? [] : this.labels(name("coarse_labels"), coarse),
      [name("data"), this.array(core, shape, pixels)],
      [name("filenames"), "]", this.put(), "(", labels.map((_, i) => name(`image_${i}.png`)), "e"],
      "u.",
    ];
  }
}

export function pickledBatch(style: PickleStyle, batch: Batch): Uint8Array<ArrayBuffer> {
  const version = style === "python2" ? 2 : Number(style.at(-1));
  const body = bytesOf(new Writer(style).batch(batch));
  return bytesOf(0x80, version, version < 4 ? [] : [0x95, word(body.length, 8)], body);
}
