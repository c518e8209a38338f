/** Pickles of CIFAR batches: read whole from every protocol, and refused whatever else they hold. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bytesOf, type Batch, PICKLE_STYLES, pickledBatch, type PickleStyle, word } from "../../test/pickle-files.ts";
import { mulberry32 } from "../../test/reference/programs.ts";
import { freshSeed } from "../../test/seed.ts";
import { WidefieldError } from "../errors.ts";
import { parsePythonBatch } from "./cifar-python.ts";
import { readPickle } from "./pickle.ts";

const seed = freshSeed();
const random = mulberry32(seed);

function randomBatch(count: number): Batch {
  const byte = () => Math.floor(256 * random());
  const labels = Array.from({ length: count }, () => byte() % 10);
  return { labels, pixels: Uint8Array.from({ length: count * 3072 }, byte) };
}

/** E_DATA, with the file's name and what the message must say. */
function refusal(message: RegExp): Error {
  const pattern = new RegExp(`^batch: .*${message.source}`);
  return expect.objectContaining({
    name: "WidefieldError",
    code: "E_DATA",
    message: expect.stringMatching(pattern) as string,
  }) as Error;
}

const refuses = (bytes: Uint8Array, message: RegExp) =>
  expect(() => readPickle(bytes, "batch")).toThrow(refusal(message));

describe.each(PICKLE_STYLES)("a batch pickled as by %s", (style) => {
  it("gives its labels and pixels, with keys of bytes and of text, from before and after NumPy 2", () => {
    for (const text of [false, true]) {
      for (const core of ["numpy.core", "numpy._core"] as const) {
        const batch = randomBatch(1 + Math.floor(3 * random()));
        const { labels, pixels } = parsePythonBatch(pickledBatch(style, { ...batch, text, core }), "batch");
        expect([...labels]).toEqual(batch.labels);
        expect(Buffer.compare(pixels, batch.pixels)).toBe(0);
      }
    }
  });

  it("that is cut short anywhere is refused", () => {
    const whole = pickledBatch(style, randomBatch(1));
    for (let length = 0; length < whole.length; length++) refuses(whole.subarray(0, length), /refused at byte \d+/);
    refuses(bytesOf(whole, 0x2e), /1 bytes follow the end/);
  });

  it("with bytes changed, moved or lost is a batch still or refused, and never anything else", () => {
    const whole = pickledBatch(style, { labels: [3, 7], pixels: new Uint8Array(6144) });
    // Where the pixels are hardly anything can go wrong: changes go to what is around them.
    const content = whole.findIndex(
      (_, at) => at + 4000 < whole.length && whole.subarray(at, at + 4000).every((b) => b === 0),
    );
    const place = fc.integer({ min: 0, max: whole.length - 6144 - 1 }).map((at) => (at < content ? at : at + 6144));
    const change = fc.record({ at: place, kind: fc.constantFrom("set", "insert", "remove"), byte: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        const bytes = [...whole];
        for (const { at, kind, byte } of changes)
          bytes.splice(at, kind === "insert" ? 0 : 1, ...(kind === "remove" ? [] : [byte]));
        expectBatchOrRefusal(Uint8Array.from(bytes));
      }),
      { numRuns: 400, seed },
    );
  });
});

function expectBatchOrRefusal(bytes: Uint8Array): void {
  try {
    const { labels, pixels } = parsePythonBatch(bytes, "batch");
    expect(labels.every((label) => label < 10)).toBe(true);
    expect(pixels.length).toBe(labels.length * 3072);
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(WidefieldError);
    expect(thrown).toHaveProperty("code", "E_DATA");
  }
}

describe("a pickle", () => {
  const proto = (version: number) => bytesOf(0x80, version);
  const short = (text: string) => bytesOf(0x8c, text.length, text);

  it("of any opcodes at all is a value or refused", () => {
    const codes = bytesOf("()BCJKMNRTUX]abcehjqrstu}.", "\x80\x85\x86\x87\x88\x89\x8a\x8c\x8d\x8e\x93\x94\x95\x96");
    const opcode = fc.constantFrom(...codes).map((code) => Uint8Array.of(code));
    const operand = fc.oneof(fc.uint8Array({ maxLength: 3 }), fc.constantFrom(bytesOf("numpy\ndtype\n"), short("u1")));
    fc.assert(
      fc.property(fc.array(fc.oneof({ weight: 3, arbitrary: opcode }, operand), { maxLength: 40 }), (pieces) =>
        expectBatchOrRefusal(bytesOf(0x80, 4, pieces)),
      ),
      { numRuns: 3000, seed },
    );
  });

  it("that asks for a global is refused with its name and place, however it asks, and whether or not it calls", () => {
    refuses(
      bytesOf(proto(2), "cposix\nsystem\n(U\x06rm -rft", "R."),
      /at byte 2: it asks for the global "posix\.system"/,
    );
    refuses(bytesOf(proto(4), short("os"), short("system"), 0x93, "."), /at byte 14: .*"os\.system".*ever run/);
    refuses(bytesOf(proto(2), "c__builtin__\neval\n."), /"__builtin__\.eval"/);
    refuses(bytesOf(proto(2), "cnumpy.core.multiarray\nscalar\n."), /"numpy\.core\.multiarray\.scalar"/);
    refuses(bytesOf(proto(2), "cnumpy\nndarray\n)R."), /calls numpy\.ndarray with 0 arguments/);
    refuses(bytesOf(proto(2), "U\x01x)R."), /calls "x" with a tuple of 0/);
    refuses(bytesOf(proto(2), "c", "x".repeat(1000), "\n."), /the name of a global is damaged/);
  });

  it("that makes objects by other means is refused by the opcode", () => {
    // INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1, PERSID, BINPERSID, NEXT_BUFFER, EMPTY_SET.
    for (const code of [0x69, 0x6f, 0x81, 0x92, 0x82, 0x50, 0x51, 0x97, 0x8f])
      refuses(bytesOf(proto(4), code), new RegExp(`operation 0x${code.toString(16)}.* is none that`));
    refuses(bytesOf("(dp0\n."), /protocol 2 or later/);
    refuses(proto(6), /protocol 6/);
    refuses(new Uint8Array(0), /at byte 0/);
  });

  it("with lengths beyond its end is refused before anything is allocated", () => {
    refuses(bytesOf(proto(4), 0x8e, word(2n ** 63n, 8), "x"), /cut short: \d+ bytes are wanted, and 1 are left/);
    refuses(bytesOf(proto(4), "B", word(2 ** 32 - 1, 4)), /cut short: 4294967295 bytes/);
    refuses(bytesOf(proto(4), 0x95, word(1000, 8), "N."), /frame of 1000 bytes/);
    const huge = { labels: [0], pixels: new Uint8Array(3072), shape: [2 ** 31 - 1, 2 ** 31 - 1] };
    for (const style of PICKLE_STYLES)
      refuses(pickledBatch(style, huge), /takes 4611686014132420609 bytes, not 3072|takes 46\d+ bytes/);
    refuses(bytesOf(proto(2), 0x8a, 9, new Uint8Array(9).fill(0x7f), "."), /integer of 9 bytes/);
  });

  it("that holds itself, or one thing twice, is refused", () => {
    refuses(bytesOf(proto(2), "]q\x00h\x00a."), /a list of 0 in two places/);
    refuses(bytesOf(proto(2), "}q\x00U\x01xh\x00s."), /a dict of 0 in two places/);
    refuses(bytesOf(proto(2), "]", 0x85, "q\x00h\x00", 0x86, "."), /a tuple of 1 in two places/);
    refuses(bytesOf(proto(2), "h\x05."), /value 5, which it has not kept/);
  });

  it("nested deeply, or of very many values, is refused", () => {
    refuses(bytesOf(proto(2), "N", new Uint8Array(17).fill(0x85), "."), /more than 16 deep/);
    refuses(bytesOf(proto(2), new Uint8Array(2 ** 20).fill(0x5d), "."), /more than 1048576 operations/);
    refuses(bytesOf(proto(2), new Uint8Array(2 ** 20).fill(0x28), "."), /more than 1048576 operations/);
  });

  it("that fetches one large tuple again and again is read in one pass", () => {
    // A walk through the tuple at every fetch would be 2^36 steps.
    const tuple = bytesOf("(", new Uint8Array(2 ** 18).fill(0x4e), "tq\x00");
    refuses(bytesOf(proto(2), tuple, "h\x00".repeat(2 ** 18), "."), /values left over/);
    const shape = bytesOf("(", "K\x01".repeat(65), "t");
    const args = bytesOf("cnumpy.core.numeric\n_frombuffer\n(C\x01xcnumpy\ndtype\nU\x02u1\x85R");
    refuses(bytesOf(proto(3), args, shape, "U\x01CtR."), /at most 64 dimensions, not 65/);
  });

  it("that makes the same text into bytes again and again is refused", () => {
    const encode = "c_codecs\nencode\nh\x00h\x01\x86R";
    const text = bytesOf("X", word(1000, 4), "a".repeat(1000), "q\x00X", word(6, 4), "latin1q\x01");
    refuses(bytesOf(proto(2), text, encode.repeat(3), "."), /more bytes of its text than it holds/);
  });

  it("of something else than a batch is refused with what it is", () => {
    const parses = (bytes: Uint8Array, message: RegExp) =>
      expect(() => parsePythonBatch(bytes, "batch")).toThrow(refusal(message));
    parses(bytesOf(proto(2), "]."), /holds a list of 0, not the dict/);
    parses(bytesOf(proto(2), "}U\x0bfine_labels]s."), /"fine_labels".*CIFAR-100/);
    parses(bytesOf(proto(2), "}U\x06labels]s."), /"data" is nothing, not an array/);
    const [one] = [randomBatch(1)];
    const styled = (style: PickleStyle, batch: Partial<Batch>) => pickledBatch(style, { ...one, ...batch });
    for (const style of PICKLE_STYLES) {
      parses(styled(style, { labels: [1, 2], shape: [1, 3072] }), /1 images and 2 labels/);
      parses(styled(style, { labels: [10] }), /record 0 has label 10/);
      parses(styled(style, { shape: [3072, 1] }), /\(3072, 1\) numbers of type u1, not \(n, 3072\)/);
      parses(styled(style, { shape: [3, 32, 32] }), /\(3, 32, 32\) numbers/);
    }
  });
});
