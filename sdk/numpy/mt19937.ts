/**
 * MT19937, the Mersenne Twister of Matsumoto and Nishimura 1998 ("Mersenne Twister: a 623-dimensionally
 * equidistributed uniform pseudo-random number generator", ACM TOMACS 8), seeded in the two ways of the authors'
 * reference program of 2002: by one word, or by an array of words.
 */

const WORDS = 624;
const MIDDLE = 397;
/** The twist's matrix: the last row of A. */
const TWIST = 0x9908b0df;

export class Mt19937 {
  private readonly state = new Uint32Array(WORDS);
  private next = WORDS;

  /** x_i = 1812433253 (x_{i-1} ^ (x_{i-1} >> 30)) + i */
  seedByWord(seed: number): void {
    const { state } = this;
    let word = seed >>> 0;
    for (let i = 0; i < WORDS; i++) {
      state[i] = word;
      word = (Math.imul(1812433253, word ^ (word >>> 30)) + i + 1) >>> 0;
    }
    this.next = WORDS;
  }

  /** Mixes a key of one word or more into the whole state. */
  seedByArray(key: Uint32Array): void {
    this.seedByWord(19650218);
    const { state } = this;
    const mixed = (i: number, factor: number) => {
      const before = state[i - 1] ?? 0;
      return (state[i] ?? 0) ^ Math.imul(before ^ (before >>> 30), factor);
    };
    /** The walk goes round 1..623; word 0 stands in for the word before 1. */
    const step = (i: number) => {
      if (i + 1 < WORDS) return i + 1;
      state[0] = state[WORDS - 1] ?? 0;
      return 1;
    };
    let at = 1;
    for (let turn = 0; turn < Math.max(WORDS, key.length); turn++) {
      const j = turn % key.length;
      state[at] = mixed(at, 1664525) + (key[j] ?? 0) + j;
      at = step(at);
    }
    for (let turn = 1; turn < WORDS; turn++) {
      state[at] = mixed(at, 1566083941) - at;
      at = step(at);
    }
    state[0] = 0x80000000;
  }

  /** The next word, in 0..2^32-1. */
  uint32(): number {
    if (this.next === WORDS) this.twist();
    let word = this.state[this.next++] ?? 0;
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    word ^= word >>> 18;
    return word >>> 0;
  }

  private twist(): void {
    const { state } = this;
    const word = (i: number) => state[i % WORDS] ?? 0;
    for (let i = 0; i < WORDS; i++) {
      const joined = (word(i) & 0x80000000) | (word(i + 1) & 0x7fffffff);
      state[i] = word(i + MIDDLE) ^ (joined >>> 1) ^ (joined & 1 ? TWIST : 0);
    }
    this.next = 0;
  }
}
