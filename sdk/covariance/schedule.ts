/**
 * From a graph of covariance maps to a program: which maps are needed, in which order, and which slots they stand in.
 *
 * Nodes are scheduled in the order in which they were made. A step takes over its input's slot where nobody reads that
 * input again. A sum stands in its base's slot, if the base is not needed beside it, and the steps that make the other
 * terms add to it: a block sum[identity, serial(relu, conv, relu, conv)] takes two slots and no step for the sum.
 */
import {
  hasRests,
  NO_TABLE,
  type AffineStep,
  type BoxGeometry,
  type ConvStep,
  type ErfStep,
  type Gradient,
  type InputStep,
  type MeanStep,
  type PoolStep,
  type Program,
  type RectifierStep,
  type Step,
  type StepStep,
} from "./program.ts";

type Routed = "from" | "to" | "accumulate";
type Sized = "height" | "width";

/** A gradient gets its table with its step. */
export type NodeGradient = Omit<Gradient, "table">;

interface Learning {
  readonly gradient?: NodeGradient | undefined;
}

/** What a node does: a step without its place, or a sum. */
export type NodeAction =
  | Omit<InputStep, "to" | Sized>
  | (Omit<ConvStep, Routed | "gradient" | "edge"> & Learning)
  | (Omit<AffineStep, Routed | Sized | "gradient"> & Learning)
  | Omit<PoolStep, "from" | "to" | "table">
  | Omit<RectifierStep, Routed | Sized | "table">
  | Omit<StepStep, Routed | Sized | "table">
  | Omit<ErfStep, Routed | Sized | "table">
  | (Omit<MeanStep, "from" | "to" | Sized | "gradient"> & Learning)
  | SumAction;

/** weight * inputs[0] + sum of weight * node over `added`; the base was made before the others. */
interface SumAction {
  readonly kind: "sum";
  /** Of the base: 1, unless the others would be too large in its units. */
  readonly weight: number;
  readonly added: readonly SumTerm[];
}

export interface SumTerm {
  readonly node: MapNode;
  readonly weight: number;
}

/** One map of the graph. */
export interface MapNode {
  /** Nodes are numbered as they are made. */
  readonly order: number;
  readonly action: NodeAction;
  /** The maps that the action reads: none of the input, the base of a sum, one of any other. */
  readonly inputs: readonly MapNode[];
  readonly height: number;
  readonly width: number;
  /** The variance of an input of unit variance, as stored. */
  readonly nominal: number;
}

/** The program of `output`; with `ntk` or a pool in it a full one. */
export function schedule(
  output: MapNode,
  ntk = false,
): Pick<Program, "steps" | "slots" | "tablePixels" | "mapPixels" | "full"> {
  const order = [...reachable(output)].sort((a, b) => a.order - b.order);
  const pools = order.some(({ action }) => action.kind === "pool");
  const full = ntk || pools;
  const scheduler = new Scheduler(order, full, pools);
  for (const node of order) scheduler.place(node);
  const outputTable = full ? scheduler.tableOf(output) : undefined;
  const { steps, slots, tablePixels } = scheduler;
  return {
    steps,
    slots,
    tablePixels,
    mapPixels: order.reduce((most, { height, width }) => Math.max(most, height * width), 0),
    ...(outputTable === undefined ? {} : { full: { ntk, outputTable } }),
  };
}

function operands({ action, inputs }: MapNode): readonly MapNode[] {
  return action.kind === "sum" ? [...inputs, ...action.added.map(({ node }) => node)] : inputs;
}

function reachable(output: MapNode): Set<MapNode> {
  const found = new Set<MapNode>();
  const open = [output];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (found.has(node)) continue;
    found.add(node);
    for (const operand of operands(node)) open.push(operand);
  }
  return found;
}

/** A sum that other nodes add to while they are computed. */
interface Target {
  readonly sum: MapNode;
  readonly weight: number;
}

class Scheduler {
  readonly steps: Step[] = [];
  slots = 0;
  tablePixels = 0;
  private readonly free: number[] = [];
  private readonly slotOf = new Map<MapNode, number>();
  /** Tables of standard deviations that are there already. */
  private readonly tables = new Map<MapNode, number>();
  /** Nodes that read a node and are not placed yet. */
  private readonly readers = new Map<MapNode, Set<MapNode>>();
  /** Nodes whose only reader is a sum, which they can be added to as they are made. */
  private readonly targets = new Map<MapNode, Target>();

  /** Tables of full programs hold standard deviations, whoever asks; of diagonal ones, what the nonlinearity wants. */
  private readonly full: boolean;
  /** Without pools offset 0 is the only one, and no tap lies inside one image and beside the other. */
  private readonly pools: boolean;

  constructor(order: readonly MapNode[], full: boolean, pools: boolean) {
    this.full = full;
    this.pools = pools;
    for (const node of order) {
      this.readers.set(node, new Set());
      for (const operand of operands(node)) this.readers.get(operand)?.add(node);
    }
    for (const sum of order) {
      if (sum.action.kind !== "sum") continue;
      for (const { node, weight } of sum.action.added) {
        const single = this.readers.get(node)?.size === 1;
        const adds = !["input", "sum", "mean", "pool"].includes(node.action.kind);
        if (single && adds) this.targets.set(node, { sum, weight });
      }
    }
  }

  /** The table of the standard deviations of a map. */
  tableOf(node: MapNode): number {
    const known = this.tables.get(node);
    if (known !== undefined && this.full) return known;
    const table = this.tablePixels;
    this.tables.set(node, table);
    this.tablePixels += node.height * node.width;
    return table;
  }

  /** Appends the steps of a node whose operands are placed. */
  place(node: MapNode): void {
    const { action } = node;
    if (action.kind === "sum") {
      const slot = this.sumSlot(node, node);
      const { height, width } = node;
      for (const { node: term, weight } of action.added) {
        if (this.targets.has(term)) continue;
        const from = this.slot(term);
        this.steps.push({ kind: "affine", from, to: slot, accumulate: true, height, width, weight, bias: 0 });
        this.leave(term, node);
      }
      return;
    }
    const [input] = node.inputs;
    const target = this.targets.get(node);
    if (target !== undefined && input !== undefined) {
      const to = this.sumSlot(target.sum, node);
      this.emit(node, this.slot(input), to, true, target.weight);
      this.leave(input, node);
      return;
    }
    const from = input === undefined ? 0 : this.slot(input);
    if (input !== undefined) this.leave(input, node);
    const to = this.take();
    this.slotOf.set(node, to);
    this.emit(node, from, to, false, 1);
  }

  /**
   * The slot of a sum whose next term `now` adds to: the base's own, if `now` is the last to read the base besides the
   * sum, else a new one that starts as a copy of the base. The base's weight is multiplied in before anything is added.
   */
  private sumSlot(sum: MapNode, now: MapNode): number {
    const known = this.slotOf.get(sum);
    if (known !== undefined) return known;
    const [base] = sum.inputs;
    if (base === undefined) throw new Error("a sum has a base");
    const from = this.slot(base);
    const readers = this.readers.get(base) ?? new Set();
    const { height, width, action } = sum;
    const weight = action.kind === "sum" ? action.weight : 1;
    const multiply = (to: number): void => {
      this.steps.push({ kind: "affine", from, to, accumulate: false, height, width, weight, bias: 0 });
    };
    // `now` reads the base only after its weight would be multiplied in.
    const alone = [...readers].every((reader) => reader === sum || (reader === now && weight === 1));
    if (alone) {
      if (weight !== 1) multiply(from);
      // The base gives its slot to the sum: whoever is still about to read it, reads it now.
      this.slotOf.set(sum, from);
      readers.delete(sum);
      return from;
    }
    const to = this.take();
    multiply(to);
    this.slotOf.set(sum, to);
    this.leave(base, sum);
    return to;
  }

  private slot(node: MapNode): number {
    const slot = this.slotOf.get(node);
    if (slot === undefined) throw new Error(`map ${node.order} is read before it is there`);
    return slot;
  }

  /** `reader` has read `node`; a slot that nobody reads any more is free. */
  private leave(node: MapNode, reader: MapNode): void {
    const readers = this.readers.get(node);
    readers?.delete(reader);
    const slot = this.slotOf.get(node);
    const given = [...this.slotOf].some(([other, its]) => other !== node && its === slot && this.isLive(other));
    if (readers?.size !== 0 || slot === undefined || given) return;
    this.slotOf.delete(node);
    this.free.push(slot);
  }

  /** A node that was placed and is still to be read. */
  private isLive(node: MapNode): boolean {
    return (this.readers.get(node)?.size ?? 0) > 0;
  }

  private take(): number {
    return this.free.pop() ?? this.slots++;
  }

  private emit(node: MapNode, from: number, to: number, accumulate: boolean, factor: number): void {
    const { action, height, width } = node;
    const route = { from, to, accumulate };
    switch (action.kind) {
      case "sum":
        throw new Error("a sum is no step");
      case "input":
        this.steps.push({ ...action, to, height, width });
        return;
      case "conv":
        this.steps.push({ ...action, ...route, ...this.linear(node, action, factor), ...this.edge(node, action) });
        return;
      case "affine":
        this.steps.push({ ...action, ...route, height, width, ...this.linear(node, action, factor) });
        return;
      case "pool":
        this.steps.push({ ...action, from, to, table: this.tablePixels });
        this.tablePixels += (hasRests(action) ? 2 : 1) * height * width;
        return;
      case "mean": {
        const [input] = node.inputs;
        if (input === undefined) throw new Error("a mean has an input");
        const { height, width } = input;
        this.steps.push({ ...action, from, to, height, width, ...this.linear(node, action, 1) });
        return;
      }
      default: {
        const [input] = node.inputs;
        if (input === undefined) throw new Error("a nonlinearity has an input");
        this.steps.push({ ...multiplied(action, factor), ...route, height, width, table: this.tableOf(input) });
      }
    }
  }

  /** A linear step's constants, of `factor` times what the node says. Its table is of what the step itself makes. */
  private linear(
    node: MapNode,
    { weight, bias, gradient }: LinearAction,
    factor: number,
  ): { weight: number; bias: number; gradient: Gradient | undefined } {
    const learns = gradient !== undefined && (gradient.gain !== 0 || gradient.offset !== 0);
    const table = learns ? this.ownTable(node, factor) : NO_TABLE;
    return {
      weight: weight * factor,
      bias: bias * factor,
      gradient: learns ? { gain: gradient.gain, offset: gradient.offset * factor, table } : undefined,
    };
  }

  /** The table of a convolution's input, where offsets bring taps beside one image's map. */
  private edge({ inputs: [input] }: MapNode, action: BoxGeometry): { edge?: number } {
    return this.pools && input !== undefined && isPadded(action) ? { edge: this.tableOf(input) } : {};
  }

  /** A term that is weighed as it is added has other standard deviations than its node. */
  private ownTable(node: MapNode, factor: number): number {
    if (factor === 1) return this.tableOf(node);
    const table = this.tablePixels;
    this.tablePixels += node.height * node.width;
    return table;
  }
}

/** Whether any tap lies outside the input. */
function isPadded(box: BoxGeometry): boolean {
  const below = (box.outHeight - 1) * box.strideHeight + (box.filterHeight - 1) * box.dilationHeight - box.padTop;
  const right = (box.outWidth - 1) * box.strideWidth + (box.filterWidth - 1) * box.dilationWidth - box.padLeft;
  return box.padTop > 0 || box.padLeft > 0 || below >= box.inHeight || right >= box.inWidth;
}

type LinearAction = Extract<NodeAction, { kind: "conv" | "affine" | "mean" }>;
type NonlinearityAction = Extract<NodeAction, { kind: "rectifier" | "step" | "erf" }>;

function multiplied(action: NonlinearityAction, factor: number): NonlinearityAction {
  if (action.kind !== "rectifier") return { ...action, scale: action.scale * factor };
  const { positive, negative, curve } = action;
  return { ...action, positive: positive * factor, negative: negative * factor, curve: curve * factor };
}
