/**
 * CRC-32C (Castagnoli), the checksum that Zarr's `crc32c` codec puts behind a chunk: polynomial 0x1EDC6F41, bits
 * reflected, start and end inverted (RFC 3720, appendix B.4). It finds every burst of up to 32 wrong bits, and any
 * other damage but for one case in 2^32.
 *
 * Sixteen bytes a turn by sixteen tables ("slicing", Kounavis and Berry 2005): table[k][b] is what byte b does to the
 * remainder when k more bytes follow it, so that the sixteen look-ups do not wait for each other.
 */

const REFLECTED_POLYNOMIAL = 0x82f63b78;
const SLICES = 16;

const tables = buildTables();

function buildTables(): Uint32Array {
  const table = new Uint32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let remainder = byte;
    for (let bit = 0; bit < 8; bit++) {
      remainder = (remainder & 1) !== 0 ? (remainder >>> 1) ^ REFLECTED_POLYNOMIAL : remainder >>> 1;
    }
    table[byte] = remainder >>> 0;
  }
  for (let at = 256; at < SLICES * 256; at++) {
    const before = table[at - 256] ?? 0;
    table[at] = (before >>> 8) ^ (table[before & 255] ?? 0);
  }
  return table;
}

/**
 * The checksum of `bytes`, in [0, 2^32). A checksum of several pieces is computed by passing the pieces' so far as
 * `seed`: `crc32c(b, crc32c(a))` is the checksum of a followed by b.
 */
export function crc32c(bytes: Uint8Array, seed = 0): number {
  let crc = ~seed;
  let at = 0;
  const end = bytes.length;
  const head = Math.min(end, -bytes.byteOffset & 3);
  for (; at < head; at++) crc = byteStep(crc, bytes[at] ?? 0);
  // At the buffer's start when nothing is left: an empty view must be aligned, too.
  const words = new Uint32Array(bytes.buffer, at === end ? 0 : bytes.byteOffset + at, (end - at) >>> 2);
  const sliced = words.length & ~3;
  // `as number`: the indices are in range by construction, and a `??` each would halve the speed.
  for (let w = 0; w < sliced; w += 4) {
    const a = crc ^ (words[w] as number);
    const b = words[w + 1] as number;
    const c = words[w + 2] as number;
    const d = words[w + 3] as number;
    crc =
      (tables[3840 + (a & 255)] as number) ^
      (tables[3584 + ((a >>> 8) & 255)] as number) ^
      (tables[3328 + ((a >>> 16) & 255)] as number) ^
      (tables[3072 + (a >>> 24)] as number) ^
      (tables[2816 + (b & 255)] as number) ^
      (tables[2560 + ((b >>> 8) & 255)] as number) ^
      (tables[2304 + ((b >>> 16) & 255)] as number) ^
      (tables[2048 + (b >>> 24)] as number) ^
      (tables[1792 + (c & 255)] as number) ^
      (tables[1536 + ((c >>> 8) & 255)] as number) ^
      (tables[1280 + ((c >>> 16) & 255)] as number) ^
      (tables[1024 + (c >>> 24)] as number) ^
      (tables[768 + (d & 255)] as number) ^
      (tables[512 + ((d >>> 8) & 255)] as number) ^
      (tables[256 + ((d >>> 16) & 255)] as number) ^
      (tables[d >>> 24] as number);
  }
  for (at += sliced * 4; at < end; at++) crc = byteStep(crc, bytes[at] ?? 0);
  return ~crc >>> 0;
}

function byteStep(crc: number, byte: number): number {
  return (tables[(crc ^ byte) & 255] ?? 0) ^ (crc >>> 8);
}
