import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";
import { diskOf } from "../../test/full-disk.ts";
import { freshSeed } from "../../test/seed.ts";
import { nodeFiles } from "./files.node.ts";
import {
  decodeSafetensors,
  readSafetensors,
  safetensorsPieces,
  writeSafetensors,
  type NamedArray,
} from "./safetensors.ts";

const seed = freshSeed();
const files = await nodeFiles();

async function freshPath(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "widefield-safetensors-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return join(folder, "weights.safetensors");
}

const joined = (pieces: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(pieces));

/** A file by the format's description, from its header's text. */
function fileOf(header: string, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  const text = new TextEncoder().encode(header);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  return joined([length, text, payload]);
}

const entry = (begin: number, end: number, shape: readonly number[], dtype = "F32") =>
  JSON.stringify({ dtype, shape, data_offsets: [begin, end] });

const arrayArbitrary: fc.Arbitrary<Omit<NamedArray, "name">> = fc
  .array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 })
  .chain((shape) => {
    const size = shape.reduce((product, side) => product * side, 1);
    return fc.float32Array({ minLength: size, maxLength: size }).map((data) => ({ shape, data }));
  });
const fileArbitrary = fc.record({
  arrays: fc.dictionary(
    fc.string().filter((name) => name !== "__metadata__"),
    arrayArbitrary,
    { maxKeys: 6 },
  ),
  metadata: fc.dictionary(
    fc.string().filter((name) => name !== "crc32c"),
    fc.string(),
    { maxKeys: 3 },
  ),
});

/** Arrays by their bits: NaN and -0 are what they were. */
const bits = (tensors: Iterable<NamedArray>) =>
  [...tensors]
    .map(({ name, shape, data }) => ({ name, shape: [...shape], bits: [...new Uint32Array(data.slice().buffer)] }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));

describe("a safetensors file", () => {
  it("gives back every name, shape and bit, wherever its bytes lie", () => {
    fc.assert(
      fc.property(fileArbitrary, fc.nat(7), ({ arrays, metadata }, offset) => {
        const tensors = Object.entries(arrays).map(([name, array]) => ({ name, ...array }));
        const written = joined(safetensorsPieces(tensors, metadata));
        const shifted = new Uint8Array(offset + written.length);
        shifted.set(written, offset);
        const found = decodeSafetensors(shifted.subarray(offset), "w");
        expect(bits(found.tensors.values())).toEqual(bits(tensors));
        expect({ ...found.metadata }).toEqual({ ...metadata });
        expect(found.verified).toBe(true);
        // As `readFile` gives it: a Buffer, whose slice() is a view.
        const { tensors: ofBuffer } = decodeSafetensors(Buffer.from(shifted.buffer, offset), "w");
        expect(bits(ofBuffer.values())).toEqual(bits(tensors));
      }),
      { seed },
    );
  });

  it("is what the format's description says, with the payload at a multiple of eight", () => {
    const bytes = joined(safetensorsPieces([{ name: "w", shape: [1, 2], data: Float32Array.of(1, -2) }]));
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    expect((8 + length) % 8).toBe(0);
    const header: unknown = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    expect(header).toMatchObject({ w: { dtype: "F32", shape: [1, 2], data_offsets: [0, 8] } });
    expect([...bytes.subarray(8 + length)]).toEqual([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
  });

  it("is written and read on disk with the seal of its bytes, and replaces an older one", async () => {
    const path = await freshPath();
    const data = Float32Array.from({ length: 1013 }, (_, index) => Math.sin(index + seed));
    await writeSafetensors(files, path, [{ name: "old", shape: [0], data: new Float32Array(0) }]);
    const seal = await writeSafetensors(files, path, [
      { name: "a", shape: [1013], data },
      // A view into a larger buffer.
      { name: "b", shape: [], data: data.subarray(7, 8) },
    ]);
    const found = await readSafetensors(files, path);
    expect(found.seal).toEqual(seal);
    expect(seal.bytes).toBe((await readFile(path)).length);
    expect(found.tensors.get("a")?.data).toEqual(data);
    expect(found.tensors.get("b")).toEqual({ name: "b", shape: [], data: data.slice(7, 8) });
    const { tensors } = decodeSafetensors(await readFile(path), path);
    expect(bits(tensors.values())).toEqual(bits(found.tensors.values()));
  });

  it("of someone else is read without a checksum, in any order of its header", () => {
    const payload = new Uint8Array(Float32Array.of(1, 2, 3).buffer);
    const bytes = fileOf(
      `{"b":${entry(4, 12, [2])},"none":${entry(4, 4, [0, 9])},"a":${entry(0, 4, [1, 1])}}  `,
      payload,
    );
    const { tensors, verified, metadata } = decodeSafetensors(bytes, "w");
    expect(verified).toBe(false);
    expect(metadata).toEqual({});
    expect([...(tensors.get("b")?.data ?? [])]).toEqual([2, 3]);
    expect(tensors.get("none")?.shape).toEqual([0, 9]);
  });

  it("that is cut anywhere, or has one wrong bit anywhere, is refused", async () => {
    const path = await freshPath();
    const good = joined(safetensorsPieces([{ name: "w", shape: [3], data: Float32Array.of(1, 2, 3) }], { by: "x" }));
    for (let length = 0; length < good.length; length++)
      expect(() => decodeSafetensors(good.subarray(0, length), "w"), `${length} bytes`).toThrow(/^w is damaged/);
    for (let at = 0; at < good.length; at++) {
      const bad = good.slice();
      bad[at] = (bad[at] ?? 0) ^ (1 << ((at + seed) & 7));
      // A name or a text of the header may become another one, which only the seal can tell.
      const seal = await writeAndRead(path, bad);
      if (seal !== undefined) expect(seal).not.toEqual(await writeAndRead(path, good));
    }
  });

  async function writeAndRead(path: string, bytes: Uint8Array): Promise<unknown> {
    await writeFile(path, bytes);
    return readSafetensors(files, path).then(
      ({ seal }) => seal,
      (error: unknown) => {
        expect(error).toMatchObject({ name: "WidefieldError" });
        return undefined;
      },
    );
  }

  it.each<[string, Uint8Array, RegExp]>([
    ["no header", new Uint8Array(5), /has 5 bytes, and 8 are the least/],
    ["a header longer than the file", Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0, 0x7b), /has 9 bytes, and 17.*truncated/],
    ["a header of 2^56 bytes", Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1), /more than the format's 100000000/],
    ["a header that is a list", fileOf("[]"), /does not begin with \{/],
    ["a header that is no JSON", fileOf("{nothing"), /is not JSON/],
    ["a name twice", fileOf(`{"a":${entry(0, 0, [0])},"a":${entry(0, 0, [0])}}`), /names a twice/],
    ["a name twice, once escaped", fileOf(`{"a":${entry(0, 0, [0])},"\\u0061":${entry(0, 0, [0])}}`), /names a twice/],
    ["a dtype that nobody knows", fileOf(`{"a":${entry(0, 4, [1], "F31")}}`, new Uint8Array(4)), /a dtype "F31"/],
    ["a shape that is not whole", fileOf(`{"a":${entry(0, 4, [0.5])}}`, new Uint8Array(4)), /tensor a in its header/],
    ["fewer bytes than the shape", fileOf(`{"a":${entry(0, 4, [2])}}`, new Uint8Array(4)), /bytes 0 to 4.*takes 8/],
    ["a gap", fileOf(`{"a":${entry(0, 4, [1])},"b":${entry(8, 12, [1])}}`, new Uint8Array(12)), /b begins at byte 8/],
    [
      "overlaps",
      fileOf(`{"a":${entry(0, 8, [2])},"b":${entry(4, 12, [2])}}`, new Uint8Array(12)),
      /b begins at byte 4/,
    ],
    ["too short a payload", fileOf(`{"a":${entry(0, 8, [2])}}`, new Uint8Array(7)), /take 8 bytes, and 7.*truncated/],
    ["something behind it", fileOf(`{"a":${entry(0, 4, [1])}}`, new Uint8Array(9)), /take 4 bytes, and 9.*appended/],
    ["metadata other than text", fileOf(`{"__metadata__":{"a":1}}`), /__metadata__ in its header/],
    ["a wrong checksum", fileOf(`{"__metadata__":{"crc32c":"00000001"}}`), /CRC-32C 00000000.*should have 00000001/],
  ])("with %s is refused as damaged", async (_, bytes, message) => {
    const expected = { code: "E_CORRUPT", message: expect.stringMatching(message) as string };
    expect(() => decodeSafetensors(bytes, "w")).toThrow(expect.objectContaining(expected) as Error);
    const path = await freshPath();
    await writeFile(path, bytes);
    await expect(readSafetensors(files, path)).rejects.toMatchObject(expected);
  });

  it("of another precision is refused by the tensor's name", () => {
    const bytes = fileOf(`{"layers.0.weights":${entry(0, 2, [1], "BF16")}}`, new Uint8Array(2));
    expect(() => decodeSafetensors(bytes, "w")).toThrow(/tensor layers\.0\.weights is BF16, and only F32 is read/);
  });

  it("takes no name or key for more than text", () => {
    const tensors = [{ name: "__proto__", shape: [1], data: Float32Array.of(4) }];
    const { tensors: found } = decodeSafetensors(joined(safetensorsPieces(tensors, { 'a"{': '"b":{' })), "w");
    expect(found.get("__proto__")?.data[0]).toBe(4);
  });

  it("is left alone, and nothing beside it, by a disk that fills up while a new one is written", async () => {
    const path = await freshPath();
    const one = [{ name: "w", shape: [2], data: Float32Array.of(1, 2) }];
    const seal = await writeSafetensors(files, path, one);
    const operations = 3; // the header, one array, the wait for the device
    for (let fullAt = 0; fullAt < operations; fullAt++) {
      const disk = diskOf(files);
      disk.fullAt = fullAt;
      await expect(writeSafetensors(disk.files, path, one)).rejects.toMatchObject({ code: "E_IO" });
      expect((await readSafetensors(files, path)).seal).toEqual(seal);
      expect(await readdir(join(path, ".."))).toEqual(["weights.safetensors"]);
    }
  });
});
