/**
 * How NumPy puts its arrays into pickles: which functions a pickle may name, and what the arguments of each stand for.
 * None is called: `_reconstruct` stands for an empty array that a state fills, `_frombuffer` (protocol 5) for a whole
 * one, `dtype` for a type of numbers, `encode` for the bytes that Python 3 writes as text under protocol 2.
 */
import {
  describeValue,
  Global,
  type GlobalName,
  PickleArray,
  PickleSequence,
  PickleText,
  PickleType,
  type PickleValue,
  textOf,
} from "./pickle-values.ts";

/** Why a pickle is refused; the reader adds the file and the place. */
export class PickleRefusal extends Error {}

/** NumPy 2 moved `numpy.core` to `numpy._core`; Python 3 writes its own names or, under protocol 2, Python 2's. */
const GLOBALS: ReadonlyMap<string, GlobalName> = new Map([
  ["numpy.core.multiarray._reconstruct", "reconstruct"],
  ["numpy._core.multiarray._reconstruct", "reconstruct"],
  ["numpy.core.numeric._frombuffer", "frombuffer"],
  ["numpy._core.numeric._frombuffer", "frombuffer"],
  ["numpy.ndarray", "ndarray"],
  ["numpy.dtype", "dtype"],
  ["_codecs.encode", "encode"],
  ["__builtin__.bytes", "bytes"],
  ["builtins.bytes", "bytes"],
]);

export function findGlobal(module: string, name: string): Global {
  const full = `${module}.${name}`;
  const known = GLOBALS.get(full);
  if (known !== undefined) return new Global(known, full);
  throw new PickleRefusal(
    `it asks for the global "${full}"; only NumPy arrays, numbers and text are read from pickles, and nothing that a ` +
      "pickle names is ever run",
  );
}

/** What a call stands for. */
export function callGlobal({ name, full }: Global, args: readonly PickleValue[]): PickleValue {
  switch (name) {
    case "reconstruct": {
      const [type] = args;
      if (args.length === 3 && type instanceof Global && type.name === "ndarray") return new PickleArray();
      break;
    }
    case "frombuffer": {
      const [bytes, type, shape, order] = args;
      const text = textOf(order);
      if (args.length !== 4 || (text !== "C" && text !== "F")) break;
      const array = new PickleArray();
      array.content = arrayContent(type, shape, text === "F", bytes);
      return array;
    }
    case "dtype": {
      // dtype(text, align, copy): the byte order follows as a state.
      const found = /^([biuf])([1248])$/.exec(textOf(args[0]) ?? "");
      if (found !== null && args.length <= 3) return new PickleType(found[1] as PickleType["kind"], Number(found[2]));
      throw new PickleRefusal(`it holds an array of ${describeValue(args[0])}, which are no plain numbers`);
    }
    case "encode": {
      const [text, encoding] = args;
      if (args.length !== 2 || !(text instanceof PickleText) || textOf(encoding) !== "latin1") break;
      return latin1(text.utf8);
    }
    case "bytes":
      if (args.length === 0) return new Uint8Array(0);
      break;
    case "ndarray":
  }
  const shown = args.slice(0, 4).map(describeValue).join(", ");
  throw new PickleRefusal(`it calls ${full} with ${args.length} arguments (${shown}), as NumPy's arrays do not`);
}

/** The state of an array: (version, shape, type, Fortran order, bytes); the oldest NumPys leave the version out. */
export function fillArray(array: PickleArray, state: PickleValue): void {
  if (array.content !== undefined) throw new PickleRefusal("it fills an array twice");
  const items = state instanceof PickleSequence && state.kind === "tuple" ? state.items : [];
  const [shape, type, fortran, bytes] = items.length === 5 ? items.slice(1) : items;
  if (items.length < 4 || items.length > 5 || !isFlag(fortran)) throw notAState("an array", state);
  array.content = arrayContent(type, shape, Boolean(fortran), bytes);
}

/** The state of a type: (version, byte order, and nothing that plain numbers have). */
export function fillType(type: PickleType, state: PickleValue): void {
  const items = state instanceof PickleSequence && state.kind === "tuple" ? state.items : [];
  const order = textOf(items[1]);
  const plain = items.slice(2, 5).every((item) => item === null);
  if (items.length < 5 || !plain || order === undefined || !/^[|<>=]$/.test(order)) throw notAState("a type", state);
  type.bigEndian = order === ">";
}

function notAState(what: string, state: PickleValue): PickleRefusal {
  return new PickleRefusal(`${describeValue(state)} is not the state of ${what} of plain numbers`);
}

/** Python 2 writes booleans as numbers. */
function isFlag(value: PickleValue | undefined): boolean {
  return typeof value === "boolean" || value === 0 || value === 1;
}

/** As many as NumPy has. A shape is walked for every array that shares it. */
const MAX_DIMENSIONS = 64;

function arrayContent(
  type: PickleValue | undefined,
  shape: PickleValue | undefined,
  fortran: boolean,
  bytes: PickleValue | undefined,
): PickleArray["content"] {
  const sizes = shape instanceof PickleSequence && shape.kind === "tuple" ? shape.items : undefined;
  if (!(type instanceof PickleType) || sizes === undefined || !(bytes instanceof Uint8Array)) {
    throw new PickleRefusal(
      `an array of type ${describeValue(type)}, shape ${describeValue(shape)} and content ${describeValue(bytes)} is no ` +
        "array of plain numbers",
    );
  }
  if (sizes.length > MAX_DIMENSIONS)
    throw new PickleRefusal(`an array has at most ${MAX_DIMENSIONS} dimensions, not ${sizes.length}`);
  const numbers = sizes.map((size) => (typeof size === "number" && size >= 0 ? size : Number.NaN));
  const expected = numbers.reduce((product, size) => product * size, type.itemBytes);
  if (bytes.length !== expected) {
    throw new PickleRefusal(
      `an array of (${numbers.slice(0, 4).join(", ")}) numbers of ${type.itemBytes} bytes takes ${expected} bytes, not ${bytes.length}`,
    );
  }
  return { type, shape: numbers, fortran, bytes };
}

/** UTF-8 of characters below 256, each of which stands for a byte. */
function latin1(utf8: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(utf8.length);
  let length = 0;
  for (let at = 0; at < utf8.length; at++) {
    const first = utf8[at] ?? 0;
    if (first < 0x80) {
      bytes[length++] = first;
      continue;
    }
    const second = utf8[++at] ?? 0;
    if ((first !== 0xc2 && first !== 0xc3) || second >> 6 !== 2)
      throw new PickleRefusal("its text of bytes holds a character that is no byte");
    bytes[length++] = ((first & 3) << 6) | (second & 0x3f);
  }
  return bytes.subarray(0, length);
}
