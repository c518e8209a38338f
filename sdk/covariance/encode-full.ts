/**
 * Full programs as words of 32 bits: the words of `encode.ts`, and behind them what `offsets.ts` has planned. All
 * addresses are word indices into the same buffer.
 *
 * Words of a step beside those of `encode.ts`:
 *
 *     41 axisY   42 axisX   43 ratioY   44 ratioX   of the map whose offsets decide: `StepPlan.at`
 *     45 edge         of a convolution: table of its input's standard deviations, for taps beside the map, or NO_TABLE
 *     45 state   46 stateAxisY   47 stateAxisX      of a pool: where its sums go, as of a transfer
 *
 * Axis of a map along height or width, 2 + 2 length - 1 words:
 *
 *     0 length   1 lines: sum of length - |s| over the needed offsets s
 *     2 + (length - 1) + s: lines in front of those of offset s, or ABSENT where s is not needed
 *
 * Pixel (row, column), counted from the map's own first pixel, of offset (sy, sx) of a map in the state stands at
 *
 *     state + front(sy) * lines(x) + (height - |sy|) * front(sx) + row * (width - |sx|) + column
 *
 * A pool's sums at near offsets (`offsets.ts`) stand three times: those from base offset 0 in the place above, those from
 * base offsets after it (sy > 0, or sy = 0 < sx) and before it behind them. The vertical axis of its state has two more
 * such tables of fronts, for the sums from offsets after 0 and before it; at offsets that are not near all three are the
 * same, and all sums come from one side. A load of three adds (after + before) + own. Behind these tables stand two words:
 *
 *     pixels from a sum to its rest (`offsets.ts`), or 0 where the pool has none   0, which no shader compiler foresees
 *
 * Stage, STAGE_WORDS: 0 first step   1 end   2 offsets' address   3 offsets   4 loads' address   5 loads
 *     6 stores' address   7 stores   8 clears' address   9 clears
 * Base offset, one word: sy & 0xffff | sx << 16, both signed.
 * Transfer (a load or a store), TRANSFER_WORDS: 0 slot   1 state   2 axisY   3 axisX   4 ratioY   5 ratioX
 *     6 factor (f32)   7 table   8 factor (f64).   A load multiplies by the factor; where there is a table, the state
 *     holds a pool's sums, and D gets less by half the sum of the two images' spreads in that table.
 * Clear, CLEAR_WORDS: 0 state   1 pixels.   Where a stage's pools add to: zero before its first offset.
 */
import { WidefieldError } from "../errors.ts";
import { encodeProgram, STEP_WORDS } from "./encode.ts";
import { nearOffsets, offsetPlan, type OffsetAxis, type OffsetPlan, type StateMap, type Transfer } from "./offsets.ts";
import { NO_TABLE, type Program } from "./program.ts";

export const STAGE_WORDS = 10;
export const TRANSFER_WORDS = 10;
export const CLEAR_WORDS = 2;

/** In an axis: an offset that is not needed. */
export const ABSENT = 0xffffffff;

export interface EncodedFull {
  readonly words: Uint32Array<ArrayBuffer>;
  /** Address of the first stage. */
  readonly stagesAt: number;
  readonly plan: OffsetPlan;
}

/** Base offsets are packed as signed halves of a word. */
const MOST_OFFSET = 2 ** 15 - 1;

/** Throws E_SHAPE for images so long that their offsets do not fit in a program. */
export function encodeFull(program: Program): EncodedFull {
  const plan = offsetPlan(program);
  requireOffsets(plan);
  const tail = new Words(program.steps.length * STEP_WORDS);
  const axes = new Map<string, number>();
  const axis = (which: OffsetAxis, near = -1, rest = 0): number => {
    const key = `${which.length}:${which.offsets.join()}:${near}:${rest}`;
    const known = axes.get(key);
    if (known !== undefined) return known;
    const at = tail.add(near < 0 ? axisWords(which) : [...sumsAxisWords(which, near), rest, 0]);
    axes.set(key, at);
    return at;
  };
  const sumsAxis = ({ y, near, rest }: StateMap): number => axis(y, near, rest);
  const head = encodeProgram(program);
  plan.steps.forEach(({ at, ratio, pooled }, index) => {
    const base = index * STEP_WORDS;
    head.set([axis(at.y), axis(at.x), ...ratio], base + 41);
    if (pooled !== undefined) head.set([pooled.base, sumsAxis(pooled), axis(pooled.x)], base + 45);
  });
  const transfer = ({ slot, state, ratio, pool }: Transfer): number[] => {
    const factor = pool === undefined ? 1 : 1 / (pool.windowHeight * pool.windowWidth) ** 2;
    return [
      slot,
      state.base,
      sumsAxis(state),
      axis(state.x),
      ...ratio,
      ...float32(factor),
      pool?.table ?? NO_TABLE,
      ...float64(factor),
    ];
  };
  const stages = plan.stages.map(({ begin, end, offsets, loads, stores }) => {
    const clears = plan.steps.slice(begin, end).flatMap(({ pooled }) => (pooled ? [pooled.base, pooled.pixels] : []));
    const offsetWords = offsets.map(([y, x]) => ((y & 0xffff) | (x << 16)) >>> 0);
    return [
      begin,
      end,
      ...[tail.add(offsetWords), offsets.length],
      ...[tail.add(loads.flatMap(transfer)), loads.length],
      ...[tail.add(stores.flatMap(transfer)), stores.length],
      ...[tail.add(clears), clears.length / CLEAR_WORDS],
    ];
  });
  const stagesAt = tail.add(stages.flat());
  const words = new Uint32Array(tail.end);
  words.set(head);
  words.set(tail.words, head.length);
  return { words, stagesAt, plan };
}

function requireOffsets({ stages }: OffsetPlan): void {
  for (const { offsets } of stages) {
    // A loop: there may be more offsets than a call takes arguments.
    for (const base of offsets) {
      const most = Math.max(Math.abs(base[0]), Math.abs(base[1]));
      if (most <= MOST_OFFSET) continue;
      throw new WidefieldError(
        "E_SHAPE",
        `pixels that are ${most} apart meet in this kernel, and at most ${MOST_OFFSET} can be planned: ` +
          "pool or stride in smaller steps, or give smaller images",
      );
    }
  }
}

/** Words that are added at even addresses, so that float64s among them are aligned. */
class Words {
  readonly words: number[] = [];
  private readonly begin: number;

  constructor(begin: number) {
    this.begin = begin;
  }

  get end(): number {
    return this.begin + this.words.length;
  }

  add(words: readonly number[]): number {
    if (this.end % 2 === 1) this.words.push(0);
    const at = this.end;
    for (const word of words) this.words.push(word);
    return at;
  }
}

function axisWords({ length, offsets }: OffsetAxis): number[] {
  const fronts = new Array<number>(2 * length - 1).fill(ABSENT);
  let lines = 0;
  for (const offset of offsets) {
    fronts[length - 1 + offset] = lines;
    lines += length - Math.abs(offset);
  }
  return [length, lines, ...fronts];
}

/** The axis of a pool's sums: fronts of those from base offset 0, from offsets after it, from offsets before it. */
function sumsAxisWords(axis: OffsetAxis, near: number): number[] {
  const own = axisWords(axis);
  const [length, lines = 0, ...fronts] = own;
  const offsets = nearOffsets(axis, near);
  const [, nearLines = 0, ...nearFronts] = axisWords({ ...axis, offsets });
  const behind = (start: number): number[] =>
    fronts.map((front, at) => {
      const nearFront = nearFronts[at] ?? ABSENT;
      return nearFront === ABSENT ? front : start + nearFront;
    });
  return [length ?? 0, lines, ...fronts, ...behind(lines), ...behind(lines + nearLines)];
}

function float32(value: number): number[] {
  return [...new Uint32Array(Float32Array.of(value).buffer)];
}

function float64(value: number): number[] {
  return [...new Uint32Array(Float64Array.of(value).buffer)];
}
