/**
 * Random numbers: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011).
 *
 * Counter-based: a block of four 32-bit words is a pure function of a key and a counter, so any backend, thread or
 * shader lane can make word i of any stream without making those before it. What follows is the layout that every
 * implementation has to share.
 *
 *     key     = (seed mod 2^32, floor(seed / 2^32))
 *     counter = (block, index mod 2^32, floor(index / 2^32), stream)
 *
 * Word w of a stream is word w mod 4 of its block floor(w / 4). A stream named by a number n < 2^31 is n; one named by
 * a string is 2^31 plus the low 31 bits of the string's FNV-1a hash (over UTF-8), so numbers and names never meet.
 *
 *     uniform32   one word     (word >>> 8) 2^-24                                  [0, 1), exact in float32
 *     uniform     two words    ((first >>> 5) 2^26 + (second >>> 6)) 2^-53         [0, 1)
 *     normal      two words give two numbers: u = (first + 1) 2^-32, r = sqrt(-2 log u), t = second 2^-32 turns,
 *                 r cos t and then r sin t (Box and Muller 1958); |normal| < 6.67
 *     below       one word w, a multiply-and-shift: floor(w n / 2^32), drawn again where the low word of w n is
 *                 below 2^32 mod n (Lemire 2019), so every value is equally likely
 *
 * log, sin and cos are the portable ones, so that all of these are bitwise the same wherever float64 is; a float32
 * shader can match the words exactly and normals to a few ulp.
 */
import { WidefieldError } from "../errors.ts";
import { portableLog, sinCosTurns } from "./portable.ts";

const TWO_32 = 2 ** 32;
const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
/** The golden ratio and sqrt(3) - 1, in units of 2^-32. */
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const ROUNDS = 10;

/** High 32 bits of the 64-bit product of two words, by 16-bit halves: every intermediate stays below 2^32. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = aLow * bHigh + (middle & 0xffff);
  return aHigh * bHigh + (middle >>> 16) + (carry >>> 16);
}

/** One Philox 4x32-10 block: the four words of `counter` (c0..c3) under `key` (k0, k1), written to `out[0..3]`. */
export function philoxBlock(
  c0: number,
  c1: number,
  c2: number,
  c3: number,
  k0: number,
  k1: number,
  out: Uint32Array,
): void {
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0);
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** The word that stands for a stream in the counter. */
export function streamWord(stream: string | number): number {
  if (typeof stream === "number") {
    if (!Number.isInteger(stream) || stream < 0 || stream >= 2 ** 31) {
      throw new WidefieldError("E_CONFIG", `a random stream's number must be an integer in 0..2^31-1, not ${stream}`);
    }
    return stream;
  }
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(stream)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash | 0x80000000) >>> 0;
}

function splitWords(value: number, what: string): [low: number, high: number] {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new WidefieldError("E_CONFIG", `${what} must be an integer in 0..2^53-1, not ${value}`);
  }
  return [value >>> 0, Math.floor(value / TWO_32)];
}

/** Where a stream stands, as the words that kernels take. */
export interface StreamAddress {
  readonly seedLow: number;
  readonly seedHigh: number;
  readonly indexLow: number;
  readonly indexHigh: number;
  readonly stream: number;
}

/** The address of a stream; bounds as for `RandomStream`. Throws E_CONFIG. */
export function streamAddress(seed: number, stream: string | number, index = 0): StreamAddress {
  const [seedLow, seedHigh] = splitWords(seed, "seed");
  const [indexLow, indexHigh] = splitWords(index, "a random stream's index");
  return { seedLow, seedHigh, indexLow, indexHigh, stream: streamWord(stream) };
}

/**
 * One stream of random numbers, addressed by (seed, stream, index). The index is for families: image i, layer i,
 * step i. Two streams with different addresses are independent; the same address gives the same numbers anywhere.
 */
export class RandomStream {
  readonly #address: StreamAddress;
  readonly #block = new Uint32Array(4);
  /** Number of the block that #block holds; -1: none yet. */
  #held = -1;
  #position = 0;
  /** The second number of a Box-Muller pair whose first was handed out. */
  #spare: number | undefined;

  /**
   * @param seed integer in 0..2^53-1
   * @param stream a name, or an integer in 0..2^31-1
   * @param index integer in 0..2^53-1
   * @throws WidefieldError E_CONFIG
   */
  constructor(seed: number, stream: string | number, index = 0) {
    this.#address = streamAddress(seed, stream, index);
  }

  /** Number of the next word, below 2^34. Setting it jumps there at no cost and drops the second half of a normal pair. */
  get position(): number {
    return this.#position;
  }

  set position(word: number) {
    if (!Number.isInteger(word) || word < 0 || word > 2 ** 34) {
      throw new WidefieldError("E_CONFIG", `a random stream's position must be an integer in 0..2^34, not ${word}`);
    }
    this.#position = word;
    this.#spare = undefined;
  }

  /** The next word: uniform over 0..2^32-1. */
  word(): number {
    const block = Math.floor(this.#position / 4);
    if (block !== this.#held) {
      if (block >= TWO_32)
        throw new WidefieldError("E_RANGE", "a random stream ends after 2^34 words: use another index");
      const { seedLow, seedHigh, indexLow, indexHigh, stream } = this.#address;
      philoxBlock(block, indexLow, indexHigh, stream, seedLow, seedHigh, this.#block);
      this.#held = block;
    }
    // The block has four words and the index is masked to them.
    return this.#block[this.#position++ & 3] ?? 0;
  }

  /** Uniform in [0, 1) with 24 bits: exact in float32. One word. */
  uniform32(): number {
    return (this.word() >>> 8) * 2 ** -24;
  }

  /** Uniform in [0, 1) with 53 bits. Two words. */
  uniform(): number {
    const high = this.word() >>> 5;
    return (high * 2 ** 26 + (this.word() >>> 6)) * 2 ** -53;
  }

  /** Standard normal. Two words for every two numbers. */
  normal(): number {
    if (this.#spare !== undefined) {
      const spare = this.#spare;
      this.#spare = undefined;
      return spare;
    }
    const radius = Math.sqrt(-2 * portableLog((this.word() + 1) / TWO_32));
    sinCosTurns(this.word() / TWO_32, angle);
    this.#spare = radius * angle.sin;
    return radius * angle.cos;
  }

  /** A uniform integer in 0..n-1, n in 1..2^32. One word, rarely more. */
  below(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > TWO_32) {
      throw new WidefieldError("E_CONFIG", `a random integer needs a bound in 1..2^32, not ${n}`);
    }
    if (n === TWO_32) return this.word();
    const rejected = TWO_32 % n;
    for (;;) {
      const word = this.word();
      if (Math.imul(word, n) >>> 0 >= rejected) return multiplyHigh(word, n);
    }
  }

  /** Fills with what `uniform32` (Float32Array) or `uniform` (Float64Array) would return. */
  fillUniform<T extends Float32Array | Float64Array>(out: T): T {
    if (out instanceof Float32Array) for (let i = 0; i < out.length; i++) out[i] = this.uniform32();
    else for (let i = 0; i < out.length; i++) out[i] = this.uniform();
    return out;
  }

  /** Fills with what `normal` would return, rounded to the array's precision. */
  fillNormal<T extends Float32Array | Float64Array>(out: T): T {
    for (let i = 0; i < out.length; i++) out[i] = this.normal();
    return out;
  }

  /** Shuffles in place, every order equally likely (Fisher and Yates, from the last place down). */
  shuffle<T extends { length: number; [index: number]: unknown }>(items: T): T {
    for (let last = items.length - 1; last > 0; last--) {
      const chosen = this.below(last + 1);
      const kept = items[last];
      items[last] = items[chosen];
      items[chosen] = kept;
    }
    return items;
  }

  /** The numbers 0..n-1 in random order. */
  permutation(n: number): Uint32Array<ArrayBuffer> {
    return this.shuffle(Uint32Array.from({ length: n }, (_, i) => i));
  }
}

const angle = { sin: 0, cos: 0 };
