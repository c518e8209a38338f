/**
 * The design matrix A of a wide model that is linear in what it learns, [images x outputs, parameters], as products with
 * blocks of it. With X of n images and W of N unit directions,
 *
 *     rf    f = relu(X W') V + b
 *     nt    f = relu(X W') V + b + (M o (X G')) A',    M = 1[X W' > 0],   A of amplitudes a_cj
 *
 * so that every product is a few matrix products. For a block of rows, its features R = relu(X W') are made once, serve
 * f and, with r for f, the adjoint
 *
 *     dV = R' r,   db = 1' r,   dG = (M o (r A))' X
 *
 * and are forgotten. Parameters are one vector [V (N x C), b (C), G (N x d)]. Products are float32 within a block and are
 * added up in float64 from block to block; vectors are float64, rounded to float32 where they enter a product.
 */
import type { Backend, Slot } from "../../engine/backend.ts";
import type { Engine } from "../../engine/engine.ts";
import { elementwise, ElementwiseOperation } from "../../engine/kernels/elementwise.ts";
import { matmul } from "../../engine/kernels/matmul.ts";
import { WidefieldError } from "../../errors.ts";
import { runs, type Range } from "../../linalg/range.ts";
import { tangentAmplitudes, writeDirections } from "./directions.ts";
import { MOST_ROWS, parameterCount, sizesOf, vectorsOf, type LinearWideModel } from "./linear-model.ts";
import { requireSizes } from "./wide-network.ts";

/** Images, [count, inputs], which stay as they are. */
export interface Inputs {
  readonly count: number;
  readonly images: Float32Array;
}

/** Buffers of the largest block, and what does not depend on it. */
interface Buffers {
  readonly directions: Slot;
  readonly amplitudes: Slot;
  readonly ones: Slot;
  readonly images: Slot;
  readonly features: Slot;
  readonly mask: Slot;
  readonly scratch: readonly [Slot, Slot];
  readonly values: Slot;
  readonly parameters: Sections;
  readonly sums: Sections;
}

/** The parts of a vector of parameters. */
interface Sections {
  readonly weights: Slot;
  readonly bias: Slot;
  /** Of `nt`; with `rf` a buffer of no meaning. */
  readonly tangent: Slot;
}

export class WideDesign {
  readonly model: LinearWideModel;
  /** Numbers that the model learns: columns of A. */
  readonly parameters: number;
  /** Rows of a block. */
  readonly blockRows: number;
  /** Bytes on the backend. */
  readonly bytes: number;
  private readonly backend: Backend;
  private readonly slots: Slot[] = [];
  private readonly buffers: Buffers;
  /** The block whose features are on the backend: images of one block are not gone through again for every product. */
  private held: { readonly images: Float32Array; readonly rows: Range } | undefined;
  private disposed = false;

  /**
   * Draws the model's weights, and reserves memory for blocks of as many rows as `memoryBytes` hold (default: the
   * engine's memory), at most so many as `rows`.
   *
   * Throws E_CONFIG for a model that is none, E_MEMORY where not one row fits.
   */
  static async open(
    engine: Engine,
    model: LinearWideModel,
    { rows = MOST_ROWS, memoryBytes = engine.memoryBytes }: { readonly rows?: number; readonly memoryBytes?: number },
  ): Promise<WideDesign> {
    engine.assertOpen();
    const { name, width, inputs, outputs } = model;
    requireSizes(name, { width, inputs, outputs });
    const design = new WideDesign(engine.backend, model, rows, memoryBytes);
    try {
      await writeDirections(engine.backend, design.buffers.directions, model);
    } catch (error) {
      design.dispose();
      throw error;
    }
    return design;
  }

  private constructor(backend: Backend, model: LinearWideModel, rows: number, memoryBytes: number) {
    this.backend = backend;
    this.model = model;
    this.parameters = parameterCount(model);
    const sizes = sizesOf(backend, model, rows, memoryBytes);
    this.blockRows = sizes.rows;
    this.bytes = sizes.bytes;
    try {
      this.buffers = this.allocate();
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** A theta: [count, outputs]. Throws E_SHAPE, E_ABORTED, E_CLOSED. */
  async predict(inputs: Inputs, theta: Float64Array, signal?: AbortSignal): Promise<Float64Array> {
    const { outputs } = this.model;
    this.requireInputs(inputs);
    this.require("parameters", theta.length, this.parameters);
    const all = new Float64Array(inputs.count * outputs);
    this.load(theta, 1);
    await this.eachBlock(inputs, signal, (rows) => {
      const count = rows.end - rows.begin;
      this.forward(count, outputs);
      return this.reader(this.buffers.values, count * outputs, (values) => all.set(values, rows.begin * outputs));
    });
    return all;
  }

  /** A' r for r of [count, outputs]. Throws as `predict`. */
  async adjoint(inputs: Inputs, r: Float64Array, signal?: AbortSignal): Promise<Float64Array> {
    const { outputs } = this.model;
    this.requireInputs(inputs);
    this.require("numbers", r.length, inputs.count * outputs);
    const total = new Float64Array(this.parameters);
    await this.eachBlock(inputs, signal, (rows) => {
      const count = rows.end - rows.begin;
      const part = Float32Array.from(r.subarray(rows.begin * outputs, rows.end * outputs));
      this.backend.write(this.buffers.values, 0, part);
      return this.backward(count, 1, total);
    });
    return total;
  }

  /** A' A x for a block of vectors, one after the other. Throws as `predict`. */
  async gram(inputs: Inputs, x: Float64Array, vectors: number, signal?: AbortSignal): Promise<Float64Array> {
    this.requireInputs(inputs);
    this.require("numbers", x.length, this.parameters * vectors);
    const total = new Float64Array(x.length);
    const most = this.mostVectors;
    for (let first = 0; first < vectors; first += most) {
      const group = Math.min(most, vectors - first);
      const [begin, end] = [first * this.parameters, (first + group) * this.parameters];
      const sums = total.subarray(begin, end);
      this.load(x.subarray(begin, end), group);
      await this.eachBlock(inputs, signal, (rows) => {
        const count = rows.end - rows.begin;
        this.forward(count, group * this.model.outputs);
        return this.backward(count, group, sums);
      });
    }
    return total;
  }

  /** Frees the backend's memory. Idempotent. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    for (const slot of this.slots) this.backend.free(slot);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private get mostVectors(): number {
    return vectorsOf(this.model);
  }

  private requireInputs({ count, images }: Inputs): void {
    if (this.disposed) throw new WidefieldError("E_CLOSED", "this has been disposed of, and its buffers are freed");
    if (count < 1) throw new WidefieldError("E_SHAPE", "there are no images");
    this.require("numbers of images", images.length, count * this.model.inputs);
  }

  private require(what: string, given: number, wanted: number): void {
    if (given === wanted) return;
    const { name, width, inputs, outputs } = this.model;
    const model = `${name} of ${width} units, ${inputs} inputs and ${outputs} outputs`;
    throw new WidefieldError("E_SHAPE", `${given} ${what} were given, and ${model} takes ${wanted}`);
  }

  /**
   * Does `work` for each block of rows, whose images and features are on the backend by then; what it returns settles while
   * the next block is computed.
   */
  private async eachBlock(
    { count, images }: Inputs,
    signal: AbortSignal | undefined,
    work: (rows: Range) => Promise<void>,
  ): Promise<void> {
    const { inputs } = this.model;
    let last: Promise<void> | undefined;
    for (const rows of runs(count, this.blockRows)) {
      if (signal?.aborted === true) {
        await last;
        throw new WidefieldError("E_ABORTED", "stopped", { cause: signal.reason });
      }
      const { held } = this;
      if (held?.images !== images || held.rows.begin !== rows.begin || held.rows.end !== rows.end) {
        this.held = undefined;
        this.backend.write(this.buffers.images, 0, images.subarray(rows.begin * inputs, rows.end * inputs));
        this.featuresOf(rows.end - rows.begin);
        this.held = { images, rows };
      }
      const next = work(rows);
      next.catch(() => undefined); // heard when its turn comes
      await last;
      last = next;
    }
    await last;
  }

  /** Vectors of parameters on their way to the backend; those of `rf` stand side by side, as columns. */
  private load(x: Float64Array, vectors: number): void {
    const { backend, buffers, parameters, model } = this;
    const { name, width, outputs } = model;
    const columns = vectors * outputs;
    const rows = width + 1; // the bias is the last row of V
    const side = new Float32Array(rows * columns);
    for (let v = 0; v < vectors; v++)
      for (let row = 0; row < rows; row++)
        for (let c = 0; c < outputs; c++)
          side[row * columns + v * outputs + c] = x[v * parameters + row * outputs + c] as number;
    backend.write(buffers.parameters.weights, 0, side.subarray(0, width * columns));
    backend.write(buffers.parameters.bias, 0, side.subarray(width * columns));
    if (name === "nt")
      backend.write(buffers.parameters.tangent, 0, Float32Array.from(x.subarray(rows * outputs, parameters)));
  }

  /** R, and M, of the block whose images are on the backend. */
  private featuresOf(rows: number): void {
    const { images, directions, features, mask, scratch } = this.buffers;
    const { name, width, inputs } = this.model;
    this.product({ m: rows, n: width, k: inputs, transposeB: 1 }, images, directions, scratch[0]);
    this.map(rows * width, ElementwiseOperation.relu, scratch[0], scratch[0], features);
    if (name === "nt") this.map(rows * width, ElementwiseOperation.step, scratch[0], scratch[0], mask);
  }

  /** f of the block and the parameters on the backend. */
  private forward(rows: number, columns: number): void {
    const { images, features, mask, scratch, values, ones, amplitudes, parameters } = this.buffers;
    const { name, width, inputs } = this.model;
    this.product({ m: rows, n: columns, k: width }, features, parameters.weights, values);
    this.product({ m: rows, n: columns, k: 1, beta: 1 }, ones, parameters.bias, values);
    if (name === "rf") return;
    this.product({ m: rows, n: width, k: inputs, transposeB: 1 }, images, parameters.tangent, scratch[0]);
    this.map(rows * width, ElementwiseOperation.multiply, scratch[0], mask, scratch[1]);
    this.product({ m: rows, n: columns, k: width, transposeB: 1, beta: 1 }, scratch[1], amplitudes, values);
  }

  /** Adds A' r to `total`, for the block's r, which is where f was. */
  private backward(rows: number, vectors: number, total: Float64Array): Promise<void> {
    const { images, features, mask, scratch, values, ones, amplitudes, sums } = this.buffers;
    const { name, width, inputs, outputs } = this.model;
    const columns = vectors * outputs;
    const { weights, bias, tangent } = sums;
    this.product({ m: width, n: columns, k: rows, transposeA: 1 }, features, values, weights);
    this.product({ m: 1, n: columns, k: rows }, ones, values, bias);
    const parts = [
      this.reader(weights, width * columns, (part) => this.addColumns(part, 0, vectors, total)),
      this.reader(bias, columns, (part) => this.addColumns(part, width, vectors, total)),
    ];
    if (name === "nt") {
      this.product({ m: rows, n: width, k: outputs }, values, amplitudes, scratch[0]);
      this.map(rows * width, ElementwiseOperation.multiply, scratch[0], mask, scratch[1]);
      this.product({ m: width, n: inputs, k: rows, transposeA: 1 }, scratch[1], images, tangent);
      parts.push(this.reader(tangent, width * inputs, (part) => addTo(total, (width + 1) * outputs, part)));
    }
    return Promise.all(parts).then(() => undefined);
  }

  /** Rows from `row` on of V, of several vectors side by side. */
  private addColumns(part: Float32Array, row: number, vectors: number, total: Float64Array): void {
    const { outputs } = this.model;
    if (vectors === 1) {
      addTo(total, row * outputs, part);
      return;
    }
    let at = 0;
    for (let i = row; at < part.length; i++) {
      for (let v = 0; v < vectors; v++) {
        const place = v * this.parameters + i * outputs;
        for (let c = 0; c < outputs; c++, at++) total[place + c] = (total[place + c] as number) + (part[at] as number);
      }
    }
  }

  /** Asks for what a buffer holds by now, and gives it to `take` once it is there. */
  private async reader(slot: Slot, floats: number, take: (values: Float32Array) => void): Promise<void> {
    take(new Float32Array(await this.backend.read(slot, 0, 4 * floats)));
  }

  private product({ m, n, k, transposeA = 0, transposeB = 0, beta = 0 }: Product, a: Slot, b: Slot, out: Slot): void {
    this.backend.dispatch(matmul, { m, n, k, transposeA, transposeB, alpha: 1, beta }, [a, b, out]);
  }

  private map(count: number, operation: number, a: Slot, b: Slot, out: Slot): void {
    this.backend.dispatch(elementwise, { count, operation, alpha: 1, beta: 0 }, [a, b, out]);
  }

  private allocate(): Buffers {
    const { backend, model, blockRows, slots } = this;
    const take = (floats: number, label: string): Slot => {
      const slot = backend.allocate(4 * Math.max(1, floats), label);
      slots.push(slot);
      return slot;
    };
    const { name, width, inputs, outputs, seed } = model;
    const columns = vectorsOf(model) * outputs;
    const units = blockRows * width;
    const tangents = name === "nt" ? 1 : 0;
    const sections = (label: string): Sections => ({
      weights: take(width * columns, label),
      bias: take(columns, label),
      tangent: take(tangents * width * inputs, label),
    });
    const buffers: Buffers = {
      directions: take(width * inputs, "directions"),
      amplitudes: take(tangents * outputs * width, "amplitudes"),
      ones: take(blockRows, "ones"),
      images: take(blockRows * inputs, "images"),
      features: take(units, "features"),
      mask: take(tangents * units, "active units"),
      scratch: [take(units, "units"), take(tangents * units, "units")],
      values: take(blockRows * columns, "values"),
      parameters: sections("parameters"),
      sums: sections("sums of a block"),
    };
    backend.write(buffers.ones, 0, new Float32Array(blockRows).fill(1));
    if (name === "nt") backend.write(buffers.amplitudes, 0, tangentAmplitudes(seed, outputs, width));
    return buffers;
  }
}

interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA?: 0 | 1;
  readonly transposeB?: 0 | 1;
  readonly beta?: 0 | 1;
}

function addTo(total: Float64Array, begin: number, part: Float32Array): void {
  for (let i = 0; i < part.length; i++) total[begin + i] = (total[begin + i] as number) + (part[i] as number);
}
