/**
 * How a full program is run: which offsets between pixels each step is needed at, and in which stages.
 *
 * Until a pool, a step only combines covariances K(x[p], y[p + s]) of one *offset* s = (sy, sx), so that each offset is
 * a map of its own, of (H - |sy|) x (W - |sx|) pixels, and the step does to it what it does to offset 0:
 *
 *     p = max(0, -s) .. H - 1 - max(0, s)          pixels of x; those of y are p + s
 *     a convolution reads the offset stride * s, with the padding that it has at offset 0, over the smaller map
 *
 * **Which offsets.** Planned backwards from the output, which is offset 0 of one pixel. A convolution with strides keeps
 * s as stride * s, a pool of windows w and strides v needs v s - (w - 1) .. v s + (w - 1), a mean needs 0. Sets are
 * products of one set for each axis.
 *
 * **Stages.** Steps from one pool to the next run for one offset after the other, with the maps of one offset in fast
 * memory; what later stages read, pools' results and maps that outlive the stage, goes to the pair's *state*. A stage's
 * offsets are counted in its own base: a map that lies behind strides has a *ratio*, and is there at base offsets
 * divisible by it. A stage ends where a step reads what the stage has pooled, or where two maps that meet have different
 * ratios.
 *
 * **Order.** K(x, y) and K(y, x) are the same to the last bit. Offset s of the one is offset -s of the other, pixel by
 * pixel; so a stage takes offset 0, then those after it in ascending order, then those before it in descending order, and
 * a pool keeps the sums from the three apart where more than one of them reaches an offset D, which is where a window
 * and its partner share rows (D *near*: v |Dy| <= w - 1): their sum (after + before) + own has no order.
 *
 * What the maps hold is the half squared distance of the two images' activations, D = (K(x, x) + K(y, y)) / 2 - K, and
 * not K: near cosine 1, where kappa_0 divides the error of the cosine by sin t, K has lost 1 - c. Linear steps do to D
 * what they do to K, without the bias; a rectifier makes D' = positive D - curve d sqrt(u) P(u) of it, and equal pixels
 * keep D = 0 exactly. Beside the map of an offset, though, where one image has a pixel and the other has padding, D is
 * not 0 as K is, but half the pixel's variance: convolutions look those up (`ConvStep.edge`). With s and s' the standard
 * deviations of a pixel in the two images,
 *
 *     d = s s' - K = D - (s - s')^2 / 2,     u = 1 - K / s s' = d / (s s')
 *
 * A pool needs one thing more: D' = mean of D - (S + S') / 2, with S the mean of D within a window of one image (its
 * *spread*), which stands in the images' tables as standard deviations do. Where images have mean zero that difference is
 * far smaller than its terms, and a large window has thousands of offsets: their float32 sums carry a *rest* each, what
 * roundings have taken from them.
 */
import { hasRests, stepSize, type PoolStep, type Program, type Step } from "./program.ts";

/** The offsets along one axis that a map of `length` pixels is needed at, ascending. */
export interface OffsetAxis {
  readonly length: number;
  readonly offsets: readonly number[];
}

/** The offsets that a map is needed at: all pairs of one vertical and one horizontal. */
export interface OffsetSet {
  readonly y: OffsetAxis;
  readonly x: OffsetAxis;
}

/** Where all offsets of a map stand in a pair's state, counted in pixels; a pool's near ones three times, then rests. */
export interface StateMap extends OffsetSet {
  readonly base: number;
  readonly pixels: number;
  /** The largest vertical offset that is near, of either sign; -1 of a map that is no pool's. */
  readonly near: number;
  /** Pixels from a sum to its rest, or 0: there are none. */
  readonly rest: number;
}

type Ratio = readonly [y: number, x: number];

/** What a step has to know in a stage. */
export interface StepPlan {
  /** Offsets at which the step runs: of its output, but of the input of a pool or a mean. */
  readonly at: OffsetSet;
  /** Base offsets per offset of that map. */
  readonly ratio: Ratio;
  /** Of a pool: where its sums go. */
  readonly pooled: StateMap | undefined;
}

/** A map that a stage loads before its steps, or stores behind them, at every offset where it is needed. */
export interface Transfer {
  readonly slot: number;
  readonly state: StateMap;
  readonly ratio: Ratio;
  /** Of a load: the pool that the state holds the sums of. */
  readonly pool: PoolStep | undefined;
}

export interface Stage {
  /** Steps [begin, end). */
  readonly begin: number;
  readonly end: number;
  /** Base offsets at which anything is to be done. */
  readonly offsets: readonly (readonly [y: number, x: number])[];
  readonly loads: readonly Transfer[];
  readonly stores: readonly Transfer[];
}

export interface OffsetPlan {
  readonly stages: readonly Stage[];
  readonly steps: readonly StepPlan[];
  /** Pixels of a pair's state. */
  readonly statePixels: number;
}

/** Plans that were made: of large images they take a while, and are asked for more than once. */
const plans = new WeakMap<Program, OffsetPlan>();

/** The plan of a program, diagonal ones included: those have offset 0 only. */
export function offsetPlan(program: Program): OffsetPlan {
  const known = plans.get(program);
  if (known !== undefined) return known;
  const { before, at } = neededOffsets(program);
  const plan = new StagePlanner(program.steps, before, at).plan();
  plans.set(program, plan);
  return plan;
}

/** Pixels of a map over all the offsets that it is needed at. */
export function offsetPixels({ y, x }: OffsetSet): number {
  return axisPixels(y) * axisPixels(x);
}

/** Vertical offsets of an axis that stand three times. */
export function nearOffsets({ offsets }: OffsetAxis, near: number): number[] {
  return offsets.filter((offset) => Math.abs(offset) <= near);
}

function axisPixels({ length, offsets }: OffsetAxis): number {
  return offsets.reduce((sum, offset) => sum + length - Math.abs(offset), 0);
}

/** A set that is still being collected. */
interface Need {
  readonly height: number;
  readonly width: number;
  readonly y: ReadonlySet<number>;
  readonly x: ReadonlySet<number>;
}

/**
 * Backwards through the steps: `at[i]` as in `StepPlan`, and `before[i]` what later steps need of each slot as it is
 * before step i.
 */
function neededOffsets({ steps }: Program): { before: ReadonlyMap<number, Need>[]; at: OffsetSet[] } {
  let needs = new Map<number, Need>();
  const last = steps.at(-1);
  if (last !== undefined) needs.set(last.to, { height: 1, width: 1, y: new Set([0]), x: new Set([0]) });
  const before: ReadonlyMap<number, Need>[] = [];
  const at: OffsetSet[] = [];
  for (let index = steps.length - 1; index >= 0; index--) {
    const step = steps[index];
    if (step === undefined) break;
    needs = new Map(needs);
    const own = needs.get(step.to);
    if (own === undefined) throw new Error(`nobody reads step ${index}`);
    const adds = "accumulate" in step && step.accumulate;
    if (!adds) needs.delete(step.to);
    at[index] = setOf(own);
    if (step.kind !== "input") {
      const read = union(needs.get(step.from), inputNeed(step, own));
      if (step.kind === "pool" || step.kind === "mean") at[index] = setOf(inputNeed(step, own));
      needs.set(step.from, read);
    }
    before[index] = needs;
  }
  return { before, at };
}

/** What a step reads of its input, to make `own` of its output. */
function inputNeed(step: Exclude<Step, { kind: "input" }>, own: Need): Need {
  const [height, width] = stepSize(step).in;
  const spread = (needed: ReadonlySet<number>, length: number, stride: number, reach: number): ReadonlySet<number> => {
    const offsets = new Set<number>();
    for (const offset of needed)
      for (let by = -reach; by <= reach; by++)
        if (Math.abs(offset * stride + by) < length) offsets.add(offset * stride + by);
    return offsets;
  };
  switch (step.kind) {
    case "conv":
      return {
        height,
        width,
        y: spread(own.y, height, step.strideHeight, 0),
        x: spread(own.x, width, step.strideWidth, 0),
      };
    case "pool":
      return {
        height,
        width,
        y: spread(own.y, height, step.strideHeight, step.windowHeight - 1),
        x: spread(own.x, width, step.strideWidth, step.windowWidth - 1),
      };
    case "mean":
      return { height, width, y: new Set([0]), x: new Set([0]) };
    default:
      return own;
  }
}

function union(a: Need | undefined, b: Need): Need {
  if (a === undefined) return b;
  return { height: b.height, width: b.width, y: new Set([...a.y, ...b.y]), x: new Set([...a.x, ...b.x]) };
}

function setOf({ height, width, y, x }: Need): OffsetSet {
  const axis = (length: number, offsets: ReadonlySet<number>): OffsetAxis => ({
    length,
    offsets: [...offsets].sort((a, b) => a - b),
  });
  return { y: axis(height, y), x: axis(width, x) };
}

/** Tells the offsets of two rows apart: no image is as wide. */
const KEY_STEP = 2 ** 26;

/** A map in the state, while the plan is made. */
interface Kept {
  readonly state: StateMap;
  readonly pool: PoolStep | undefined;
  /** Stage after which nobody loads it. */
  lastStage: number;
}

class StagePlanner {
  private readonly steps: readonly Step[];
  private readonly before: readonly ReadonlyMap<number, Need>[];
  private readonly at: readonly OffsetSet[];
  private readonly stages: Stage[] = [];
  private readonly plans: StepPlan[] = [];
  /** What is in the state, by slot. */
  private readonly kept = new Map<number, Kept>();
  private readonly all: Kept[] = [];
  private statePixels = 0;

  constructor(steps: readonly Step[], before: readonly ReadonlyMap<number, Need>[], at: readonly OffsetSet[]) {
    this.steps = steps;
    this.before = before;
    this.at = at;
  }

  plan(): OffsetPlan {
    for (let begin = 0; begin < this.steps.length;) begin = this.stage(begin);
    return { stages: this.stages, steps: this.plans, statePixels: this.statePixels };
  }

  /** Plans the stage that begins with a step, and says where the next one begins. */
  private stage(begin: number): number {
    const number = this.stages.length;
    const ratios = new Map<number, Ratio>();
    const loads = new Map<number, Transfer>();
    const pooled = new Map<number, Kept>();
    const written = new Set<number>();
    const load = (slot: number, ratio: Ratio): void => {
      const kept = this.kept.get(slot);
      if (written.has(slot) || loads.has(slot) || kept === undefined) return;
      loads.set(slot, { slot, state: kept.state, ratio, pool: kept.pool });
      kept.lastStage = number;
    };
    let end = begin;
    for (; end < this.steps.length; end++) {
      const step = this.steps[end];
      const at = this.at[end];
      if (step === undefined || at === undefined) break;
      const adds = "accumulate" in step && step.accumulate;
      const reads = [...(step.kind === "input" ? [] : [step.from]), ...(adds ? [step.to] : [])];
      if (reads.some((slot) => pooled.has(slot))) break;
      const ratio = ratioOf(step, ratios, adds);
      if (ratio === undefined) break;
      if (step.kind !== "input") {
        load(step.from, ratio.from);
        ratios.set(step.from, ratio.from);
      }
      if (adds) load(step.to, ratio.to);
      if (step.kind === "pool") {
        // The sums are there when the stage is over: they take the place of no map that it still reads.
        const near = Math.floor((step.windowHeight - 1) / step.strideHeight);
        const state = this.allocate(this.after(end, step.to), number, near, hasRests(step));
        const kept: Kept = { state, pool: step, lastStage: number };
        this.all.push(kept);
        pooled.set(step.to, kept);
        this.plans[end] = { at, ratio: ratio.from, pooled: kept.state };
        written.delete(step.to);
        continue;
      }
      pooled.delete(step.to);
      written.add(step.to);
      ratios.set(step.to, ratio.to);
      this.plans[end] = { at, ratio: step.kind === "mean" ? ratio.from : ratio.to, pooled: undefined };
    }
    if (end === begin) throw new Error(`step ${begin} fits in no stage`);
    const stores: Transfer[] = [];
    const live = this.before[end];
    for (const slot of written) {
      if (live?.has(slot) !== true) continue;
      const kept: Kept = {
        state: this.allocate(this.after(end - 1, slot), number),
        pool: undefined,
        lastStage: number,
      };
      this.all.push(kept);
      this.kept.set(slot, kept);
      stores.push({ slot, state: kept.state, ratio: ratios.get(slot) ?? [1, 1], pool: undefined });
    }
    for (const [slot, kept] of pooled) this.kept.set(slot, kept);
    this.stages.push({ begin, end, offsets: this.baseOffsets(begin, end), loads: [...loads.values()], stores });
    return end;
  }

  /** What later steps need of a slot after step `index`. */
  private after(index: number, slot: number): OffsetSet {
    const need = this.before[index + 1]?.get(slot);
    if (need === undefined) throw new Error(`slot ${slot} is kept, and nobody reads it`);
    return setOf(need);
  }

  /** The base offsets of all steps of a stage. */
  private baseOffsets(begin: number, end: number): [number, number][] {
    const found = new Set<number>();
    const offsets: [number, number][] = [];
    for (let index = begin; index < end; index++) {
      const plan = this.plans[index];
      if (plan === undefined) continue;
      for (const y of plan.at.y.offsets) {
        for (const x of plan.at.x.offsets) {
          const base: [number, number] = [y * plan.ratio[0], x * plan.ratio[1]];
          const key = base[0] * KEY_STEP + base[1];
          if (found.has(key)) continue;
          found.add(key);
          offsets.push(base);
        }
      }
    }
    const sign = ([y, x]: readonly [number, number]): number => Math.sign(y) || Math.sign(x);
    const rank = { 0: 0, 1: 1, [-1]: 2 } as Readonly<Record<number, number>>;
    const ascending = (a: readonly [number, number], b: readonly [number, number]): number =>
      a[0] - b[0] || a[1] - b[1];
    return offsets.sort((a, b) => (rank[sign(a)] ?? 0) - (rank[sign(b)] ?? 0) || sign(a) * ascending(a, b));
  }

  /** The first gap between the maps that are still needed in stage `now` or later. */
  private allocate(set: OffsetSet, now: number, near = -1, rests = false): StateMap {
    const nearLines = axisPixels({ length: set.y.length, offsets: nearOffsets(set.y, near) });
    const sums = offsetPixels(set) + 2 * nearLines * axisPixels(set.x);
    const pixels = rests ? 2 * sums : sums;
    const live = new Set([...this.kept.values()]);
    const taken = this.all
      .filter((kept) => kept.lastStage >= now || live.has(kept))
      .map(({ state }) => state)
      .sort((a, b) => a.base - b.base);
    let base = 0;
    for (const other of taken) {
      if (base + pixels <= other.base) break;
      base = Math.max(base, other.base + other.pixels);
    }
    this.statePixels = Math.max(this.statePixels, base + pixels);
    return { ...set, base, pixels, near, rest: rests ? sums : 0 };
  }
}

/** Ratios of a step's input and output in a stage, or undefined where its operands have ratios that do not meet. */
function ratioOf(
  step: Step,
  ratios: ReadonlyMap<number, Ratio>,
  adds: boolean,
): { readonly from: Ratio; readonly to: Ratio } | undefined {
  if (step.kind === "input") return { from: [1, 1], to: [1, 1] };
  const { in: input, out: output } = stepSize(step);
  const strides: Ratio = step.kind === "conv" ? [step.strideHeight, step.strideWidth] : [1, 1];
  const sum = adds ? ratios.get(step.to) : undefined;
  const from: [number, number] = [1, 1];
  const to: [number, number] = [1, 1];
  for (const axis of [0, 1] as const) {
    const stride = strides[axis];
    // A map of one pixel is there at offset 0 only, which every ratio divides.
    const known = input[axis] === 1 ? 1 : ratios.get(step.from)?.[axis];
    const wanted = sum === undefined || output[axis] === 1 ? undefined : sum[axis];
    if (known === undefined) {
      from[axis] = wanted === undefined ? 1 : wanted / stride;
      if (!Number.isInteger(from[axis])) return undefined;
    } else from[axis] = known;
    to[axis] = output[axis] === 1 ? 1 : from[axis] * stride;
    if (wanted !== undefined && wanted !== to[axis]) return undefined;
  }
  return { from, to };
}
