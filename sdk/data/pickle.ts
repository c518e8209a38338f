/**
 * Python pickles that hold NumPy arrays, read as data. A pickle is a program for a small stack machine that may call
 * anything Python can import; this is the part of the machine that makes numbers, text, lists, tuples, dicts and arrays,
 * and takes the few functions by which NumPy's arrays are put together as names (`pickle-numpy.ts`). It calls nothing:
 * whatever else a pickle asks for is refused with the name and the place.
 *
 * Protocols 2 to 5 (PEP 307, 3154 and 574; the opcodes are told in CPython's Lib/pickletools.py), as Python 2 and 3
 * write them. Lists and dicts may not be fetched from the memo, so nothing can hold itself or be held twice; there are no
 * more values than MAX_OPERATIONS, none deeper than MAX_DEPTH, and bytes stay where they are in the file.
 */
import { WidefieldError } from "../errors.ts";
import { callGlobal, fillArray, fillType, findGlobal, PickleRefusal } from "./pickle-numpy.ts";
import {
  depthOf,
  describeValue,
  Global,
  PickleArray,
  PickleDict,
  PickleSequence,
  PickleText,
  PickleType,
  type PickleValue,
  textOf,
} from "./pickle-values.ts";

/** A batch of 10,000 images takes about 50,000: for each a label, a file name and its place in the memo. */
const MAX_OPERATIONS = 2 ** 20;
const MAX_DEPTH = 16;
const PROTO = 0x80;
const STOP = 0x2e;

/**
 * The value of a pickle.
 *
 * @param path for messages
 * @throws WidefieldError E_DATA, with the place of the byte, for whatever is not a whole pickle of plain values and arrays
 */
export function readPickle(bytes: Uint8Array, path: string): PickleValue {
  const machine = new Machine(bytes);
  try {
    return machine.run();
  } catch (thrown) {
    if (!(thrown instanceof PickleRefusal)) throw thrown;
    const offset = machine.operationAt;
    throw new WidefieldError("E_DATA", `${path}: the pickle is refused at byte ${offset}: ${thrown.message}`, {
      details: { path, offset },
    });
  }
}

class Machine {
  /** Where the operation under way begins. */
  operationAt = 0;
  private at = 0;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly stack: PickleValue[] = [];
  /** Heights of the stack at which marks were set. */
  private readonly marks: number[] = [];
  /** Of texts that were made bytes, which is all that is copied: one that is fetched again and again could fill memory. */
  private encodedBytes = 0;
  private readonly memo = new Map<number, PickleValue>();

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  run(): PickleValue {
    if (this.bytes[0] !== PROTO) {
      throw new PickleRefusal(
        "it does not begin as a pickle of protocol 2 or later does; save it with pickle.dump(batch, file, protocol=4)",
      );
    }
    for (let count = 0; ; count++) {
      this.operationAt = this.at;
      if (count === MAX_OPERATIONS) throw new PickleRefusal(`it has more than ${MAX_OPERATIONS} operations`);
      const code = this.uint(1);
      if (code === STOP) return this.result();
      const operation = OPERATIONS.get(code);
      if (operation === undefined) {
        const shown = code > 0x20 && code < 0x7f ? ` (${String.fromCharCode(code)})` : "";
        throw new PickleRefusal(`operation 0x${code.toString(16)}${shown} is none that a pickle of arrays needs`);
      }
      operation(this);
    }
  }

  private result(): PickleValue {
    const value = this.pop();
    if (this.stack.length > 0 || this.marks.length > 0) throw new PickleRefusal("it ends with values left over");
    if (this.at < this.bytes.length)
      throw new PickleRefusal(`${this.bytes.length - this.at} bytes follow the end; it holds one pickle and no more`);
    return value;
  }

  take(length: number): Uint8Array {
    const left = this.bytes.length - this.at;
    if (length > left) throw new PickleRefusal(`it is cut short: ${length} bytes are wanted, and ${left} are left`);
    return this.bytes.subarray(this.at, (this.at += length));
  }

  /** Little-endian. Beyond 2^53 it is inexact, and longer than any file. */
  uint(bytes: 1 | 2 | 4 | 8): number {
    const at = this.at;
    this.take(bytes);
    if (bytes === 1) return this.view.getUint8(at);
    if (bytes === 2) return this.view.getUint16(at, true);
    if (bytes === 4) return this.view.getUint32(at, true);
    return Number(this.view.getBigUint64(at, true));
  }

  int32(): number {
    return this.uint(4) | 0;
  }

  /** Bytes behind their count. */
  counted(countBytes: 1 | 4 | 8): Uint8Array {
    return this.take(this.uint(countBytes));
  }

  /** Of the names of globals. */
  line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    const text = end < 0 || end > this.at + 256 ? undefined : textOf(this.take(end - this.at));
    if (text === undefined) throw new PickleRefusal("the name of a global is damaged");
    this.at++;
    return text;
  }

  push(value: PickleValue): void {
    if (depthOf(value) > MAX_DEPTH) throw new PickleRefusal(`it is nested more than ${MAX_DEPTH} deep`);
    this.stack.push(value);
  }

  pop(): PickleValue {
    const value = this.stack.length > (this.marks.at(-1) ?? 0) ? this.stack.pop() : undefined;
    if (value === undefined) throw new PickleRefusal("it takes more values than it has made");
    return value;
  }

  mark(): void {
    this.marks.push(this.stack.length);
  }

  popToMark(): PickleValue[] {
    const mark = this.marks.pop();
    if (mark === undefined) throw new PickleRefusal("it goes back to a mark that was not set");
    return this.stack.splice(mark);
  }

  tuple(size: number): void {
    const items = Array.from({ length: size }, () => this.pop()).reverse();
    this.push(new PickleSequence("tuple", items));
  }

  append(items: readonly PickleValue[]): void {
    const list = this.pop();
    if (!(list instanceof PickleSequence) || list.kind !== "list")
      throw new PickleRefusal(`it appends to ${describeValue(list)}`);
    for (const item of items) list.add(item);
    this.push(list);
  }

  setItems(items: readonly PickleValue[]): void {
    const dict = this.pop();
    if (!(dict instanceof PickleDict) || items.length % 2 !== 0)
      throw new PickleRefusal(`it sets ${items.length / 2} items of ${describeValue(dict)}`);
    for (let i = 0; i < items.length; i += 2) {
      const [key, value] = items.slice(i, i + 2);
      const text = textOf(key);
      if (text === undefined || value === undefined)
        throw new PickleRefusal(`it has ${describeValue(key)} for a key of a dict, not a text`);
      dict.set(text, value);
    }
    this.push(dict);
  }

  put(index: number): void {
    const value = this.pop();
    this.memo.set(index, value);
    this.push(value);
  }

  /** Without an index, as protocol 4 does it: the next one. */
  memoize(): void {
    this.put(this.memo.size);
  }

  get(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined) throw new PickleRefusal(`it fetches value ${index}, which it has not kept`);
    // What can still grow could come to hold itself; tuples were whole when they were kept, but may hold lists.
    // Its depth tells which: a walk through the items would be one for each of up to MAX_OPERATIONS fetches.
    const plainTuple = value instanceof PickleSequence && value.kind === "tuple" && value.depth === 1;
    if (value instanceof PickleDict || (value instanceof PickleSequence && !plainTuple))
      throw new PickleRefusal(`it uses ${describeValue(value)} in two places, which arrays do not need`);
    this.push(value);
  }

  global(): void {
    this.push(findGlobal(this.line(), this.line()));
  }

  stackGlobal(): void {
    const [name, module] = [textOf(this.pop()), textOf(this.pop())];
    if (name === undefined || module === undefined) throw new PickleRefusal("the name of a global is no text");
    this.push(findGlobal(module, name));
  }

  reduce(): void {
    const args = this.pop();
    const callee = this.pop();
    if (!(callee instanceof Global) || !(args instanceof PickleSequence) || args.kind !== "tuple")
      throw new PickleRefusal(`it calls ${describeValue(callee)} with ${describeValue(args)}`);
    const [text] = args.items;
    if (callee.name === "encode" && text instanceof PickleText) this.encodedBytes += text.utf8.length;
    if (this.encodedBytes > this.bytes.length) throw new PickleRefusal("it makes more bytes of its text than it holds");
    this.push(callGlobal(callee, args.items));
  }

  build(): void {
    const state = this.pop();
    const target = this.pop();
    if (target instanceof PickleArray) fillArray(target, state);
    else if (target instanceof PickleType) fillType(target, state);
    else throw new PickleRefusal(`it gives a state to ${describeValue(target)}`);
    this.push(target);
  }

  /** Of Python's integers of any length: up to 2^53. */
  long(): number {
    const digits = this.counted(1);
    let value = 0n;
    for (const digit of digits.toReversed()) value = (value << 8n) | BigInt(digit);
    const signed = Number(BigInt.asIntN(8 * digits.length, value));
    if (!Number.isSafeInteger(signed)) throw new PickleRefusal(`it holds an integer of ${digits.length} bytes`);
    return signed;
  }

  protocol(): void {
    const version = this.uint(1);
    if (version < 2 || version > 5) throw new PickleRefusal(`it has protocol ${version}; 2 to 5 are known`);
  }

  /** A frame tells how much to read ahead, which is all here already. */
  frame(): void {
    const length = this.uint(8);
    const left = this.bytes.length - this.at;
    if (length > left) throw new PickleRefusal(`it is cut short: a frame of ${length} bytes, and ${left} are left`);
  }
}

/** By their bytes, with the names of pickletools.py. */
const OPERATIONS: ReadonlyMap<number, (machine: Machine) => void> = new Map([
  [PROTO, (m) => m.protocol()],
  [0x95, (m) => m.frame()], // FRAME
  [0x28, (m) => m.mark()], // MARK
  [0x4e, (m) => m.push(null)], // NONE
  [0x88, (m) => m.push(true)], // NEWTRUE
  [0x89, (m) => m.push(false)], // NEWFALSE
  [0x4b, (m) => m.push(m.uint(1))], // BININT1
  [0x4d, (m) => m.push(m.uint(2))], // BININT2
  [0x4a, (m) => m.push(m.int32())], // BININT
  [0x8a, (m) => m.push(m.long())], // LONG1
  [0x55, (m) => m.push(m.counted(1))], // SHORT_BINSTRING
  [0x54, (m) => m.push(m.counted(4))], // BINSTRING
  [0x43, (m) => m.push(m.counted(1))], // SHORT_BINBYTES
  [0x42, (m) => m.push(m.counted(4))], // BINBYTES
  [0x8e, (m) => m.push(m.counted(8))], // BINBYTES8
  [0x96, (m) => m.push(m.counted(8))], // BYTEARRAY8
  [0x8c, (m) => m.push(new PickleText(m.counted(1)))], // SHORT_BINUNICODE
  [0x58, (m) => m.push(new PickleText(m.counted(4)))], // BINUNICODE
  [0x8d, (m) => m.push(new PickleText(m.counted(8)))], // BINUNICODE8
  [0x5d, (m) => m.push(new PickleSequence("list"))], // EMPTY_LIST
  [0x61, (m) => m.append([m.pop()])], // APPEND
  [0x65, (m) => m.append(m.popToMark())], // APPENDS
  [0x29, (m) => m.tuple(0)], // EMPTY_TUPLE
  [0x85, (m) => m.tuple(1)], // TUPLE1
  [0x86, (m) => m.tuple(2)], // TUPLE2
  [0x87, (m) => m.tuple(3)], // TUPLE3
  [0x74, (m) => m.push(new PickleSequence("tuple", m.popToMark()))], // TUPLE
  [0x7d, (m) => m.push(new PickleDict())], // EMPTY_DICT
  [0x73, (m) => m.setItems([m.pop(), m.pop()].reverse())], // SETITEM
  [0x75, (m) => m.setItems(m.popToMark())], // SETITEMS
  [0x71, (m) => m.put(m.uint(1))], // BINPUT
  [0x72, (m) => m.put(m.uint(4))], // LONG_BINPUT
  [0x94, (m) => m.memoize()], // MEMOIZE
  [0x68, (m) => m.get(m.uint(1))], // BINGET
  [0x6a, (m) => m.get(m.uint(4))], // LONG_BINGET
  [0x63, (m) => m.global()], // GLOBAL
  [0x93, (m) => m.stackGlobal()], // STACK_GLOBAL
  [0x52, (m) => m.reduce()], // REDUCE
  [0x62, (m) => m.build()], // BUILD
]);
