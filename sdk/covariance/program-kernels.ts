/**
 * Which kernels run a program: those of diagonal programs or of full ones, in float32 or float64. `tiles.ts` knows
 * blocks of images and tiles; this file knows params, table layouts and workspaces.
 */
import type { Backend, Slot } from "../engine/backend.ts";
import { covariance, NO_DIAGONAL, tableFloats, takesLines, variance } from "../engine/kernels/covariance.ts";
import { webgpuWorkspace, type Workspace } from "../engine/kernels/covariance.ts";
import { covarianceF64, varianceF64 } from "../engine/kernels/covariance-f64.ts";
import { fullCovariance, fullVariance, NNGP, NTK } from "../engine/kernels/full-covariance.ts";
import { fullCovarianceF64, fullVarianceF64 } from "../engine/kernels/full-covariance-f64.ts";
import { fullWebgpuWorkspace, spillsCells } from "../engine/kernels/full-workspace.ts";
import { encodeProgram } from "./encode.ts";
import { encodeFull } from "./encode-full.ts";
import { fullWasmWorkspaceF64 } from "./full-memory-f64.ts";
import { fullWasmWorkspace } from "./full-memory.ts";
import { fullShape } from "./full-shape.ts";
import type { Program } from "./program.ts";
import { programShape } from "./shape.ts";
import { wasmWorkspace } from "./wasm-maps.ts";

export type Precision = "f32" | "f64";

/** Kernels of an architecture that come out of one run of its program, NNGP first. */
export type Kinds = readonly ("nngp" | "ntk")[];

export interface ProgramTask {
  readonly backend: Backend;
  readonly program: Program;
  readonly precision: Precision;
  /** What comes out, in this order whatever the order here: NNGP, NTK. */
  readonly kinds: Kinds;
  readonly memoryBytes: number;
}

/** Where a tile stands. */
export interface TilePlace {
  readonly rows: number;
  readonly columns: number;
  /** Entry (i, j) with j - i = diagonal pairs an image with itself, and those above it are not wanted. */
  readonly diagonal: number | undefined;
}

export interface ProgramKernels {
  /** The program as the kernels read it. */
  readonly words: Uint32Array<ArrayBuffer>;
  readonly outputs: number;
  /** What stands in the backend's memory for pairs that are worked on. */
  readonly workspace: Workspace;
  /** True where maps go through memory layer by layer that would better stand in fast memory. */
  readonly spills: boolean;
  /** Of the table of so many images. */
  readonly tableBytes: (images: number) => number;
  /** Buffers: program, images, table, variances, workspace. */
  variances(images: number, buffers: readonly Slot[]): void;
  /** Buffers: program, row table, column table, variances, output, workspace. */
  covariances(tile: TilePlace, buffers: readonly Slot[]): void;
}

export function programKernels(task: ProgramTask): ProgramKernels {
  return task.program.full === undefined ? diagonalKernels(task) : fullKernels(task);
}

function diagonalKernels({ backend, program, precision, memoryBytes }: ProgramTask): ProgramKernels {
  const { info } = backend;
  const shape = programShape(program);
  const workspace =
    info.backend === "wasm"
      ? wasmWorkspace(program, precision, info.threads)
      : webgpuWorkspace(info, shape, memoryBytes);
  const { slices, sliceFloats } = workspace;
  const common = { ...shape, slices, sliceFloats };
  return {
    words: encodeProgram(program),
    outputs: 1,
    workspace,
    spills: slices > 0 && !takesLines(shape, info.workgroupBytes),
    tableBytes: tableBytesOf(backend, program, precision),
    variances(images, buffers) {
      if (precision === "f64") backend.dispatch(varianceF64, { images, ...common }, buffers);
      else backend.dispatch(variance, { images, ...common }, buffers);
    },
    covariances({ rows, columns, diagonal }, buffers) {
      const params = { rows, columns, ...common, ...triangle(diagonal) };
      if (precision === "f64") backend.dispatch(covarianceF64, params, buffers);
      else backend.dispatch(covariance, params, buffers);
    },
  };
}

function fullKernels({ backend, program, precision, kinds, memoryBytes }: ProgramTask): ProgramKernels {
  const { info } = backend;
  const encoded = encodeFull(program);
  const shape = fullShape(program, encoded);
  const workspace =
    info.backend === "webgpu"
      ? fullWebgpuWorkspace(info, shape, memoryBytes)
      : precision === "f64"
        ? fullWasmWorkspaceF64(shape, info.threads)
        : fullWasmWorkspace(shape, info.threads);
  const { slices, sliceFloats } = workspace;
  const outputs = (kinds.includes("nngp") ? NNGP : 0) + (kinds.includes("ntk") ? NTK : 0);
  const common = { ...shape, kinds: outputs, slices, sliceFloats };
  return {
    words: encoded.words,
    outputs: outputs === NNGP + NTK ? 2 : 1,
    workspace,
    spills: info.backend === "webgpu" && spillsCells(shape, info.workgroupBytes),
    tableBytes: tableBytesOf(backend, program, precision),
    variances(images, buffers) {
      if (precision === "f64") backend.dispatch(fullVarianceF64, { images, ...common }, buffers);
      else backend.dispatch(fullVariance, { images, ...common }, buffers);
    },
    covariances({ rows, columns, diagonal }, buffers) {
      const params = { rows, columns, ...common, ...triangle(diagonal) };
      if (precision === "f64") backend.dispatch(fullCovarianceF64, params, buffers);
      else backend.dispatch(fullCovariance, params, buffers);
    },
  };
}

function triangle(diagonal: number | undefined): { diagonal: number; lower: number } {
  return { diagonal: diagonal ?? NO_DIAGONAL, lower: diagonal === undefined ? 0 : 1 };
}

function tableBytesOf(backend: Backend, { imageFloats, tablePixels }: Program, precision: Precision) {
  return (images: number): number => {
    if (precision === "f64") return images * (imageFloats + tablePixels) * 8;
    return tableFloats(backend.info.backend, images, imageFloats, tablePixels) * 4;
  };
}
