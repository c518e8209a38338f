/**
 * What a pickle can hold here. Bytes and texts are views of the file; containers know how deep they are, and nothing is
 * in two of them, so whoever walks through one comes to an end.
 */

/** Bytes are Python 3's bytes and Python 2's strings, which were used for both. */
export type PickleValue =
  null | boolean | number | Uint8Array | PickleText | Global | PickleSequence | PickleDict | PickleType | PickleArray;

/** Python 3's strings and Python 2's unicode: still UTF-8, since one of them may be all of an array's bytes. */
export class PickleText {
  readonly utf8: Uint8Array;

  constructor(utf8: Uint8Array) {
    this.utf8 = utf8;
  }
}

/** The functions and classes that arrays are put together by, by what they do. */
export type GlobalName = "reconstruct" | "frombuffer" | "ndarray" | "dtype" | "encode" | "bytes";

export class Global {
  readonly name: GlobalName;
  /** As the pickle has it: "numpy.core.multiarray._reconstruct". */
  readonly full: string;

  constructor(name: GlobalName, full: string) {
    this.name = name;
    this.full = full;
  }
}

export class PickleSequence {
  readonly kind: "list" | "tuple";
  readonly items: PickleValue[] = [];
  /** 1 for a sequence of plain values. */
  depth = 1;

  constructor(kind: "list" | "tuple", items: readonly PickleValue[] = []) {
    this.kind = kind;
    for (const item of items) this.add(item);
  }

  add(item: PickleValue): void {
    this.items.push(item);
    this.depth = Math.max(this.depth, 1 + depthOf(item));
  }
}

export class PickleDict {
  /** The key that comes twice counts once, with its last value, as in Python. */
  readonly entries = new Map<string, PickleValue>();
  depth = 1;

  set(key: string, value: PickleValue): void {
    this.entries.set(key, value);
    this.depth = Math.max(this.depth, 1 + depthOf(value));
  }
}

/** A NumPy dtype of plain numbers. */
export class PickleType {
  readonly kind: "b" | "i" | "u" | "f";
  readonly itemBytes: number;
  bigEndian = false;

  constructor(kind: "b" | "i" | "u" | "f", itemBytes: number) {
    this.kind = kind;
    this.itemBytes = itemBytes;
  }
}

export interface ArrayContent {
  readonly type: PickleType;
  readonly shape: readonly number[];
  /** Fortran order: the first index runs fastest. */
  readonly fortran: boolean;
  /** The product of the shape, times `type.itemBytes`. */
  readonly bytes: Uint8Array;
}

/** An array, empty between the pickle's `_reconstruct` and the state that follows. */
export class PickleArray {
  content: ArrayContent | undefined;
}

export function depthOf(value: PickleValue): number {
  return value instanceof PickleSequence || value instanceof PickleDict ? value.depth : 0;
}

/** Short ASCII text, of either kind of string. */
export function textOf(value: PickleValue | undefined): string | undefined {
  const bytes = value instanceof PickleText ? value.utf8 : value;
  if (!(bytes instanceof Uint8Array) || bytes.length > 256 || bytes.some((byte) => byte > 0x7e || byte < 0x20))
    return undefined;
  return String.fromCharCode(...bytes);
}

/** For messages: "a list", "the text "x"", "1". */
export function describeValue(value: PickleValue | undefined): string {
  if (value === undefined) return "nothing";
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return String(value);
  const text = textOf(value);
  if (text !== undefined) return `"${text}"`;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (value instanceof PickleText) return "a text";
  if (value instanceof Global) return value.full;
  if (value instanceof PickleSequence) return `a ${value.kind} of ${value.items.length}`;
  if (value instanceof PickleDict) return `a dict of ${value.entries.size}`;
  if (value instanceof PickleType) return `the type ${value.kind}${value.itemBytes}`;
  return value.content === undefined
    ? "an array without content"
    : `an array of (${value.content.shape.slice(0, 4).join(", ")})`;
}
