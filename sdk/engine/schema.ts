/**
 * What a compute kernel is, apart from how any backend runs it.
 *
 * A kernel has one name, and stands under it in four places: `shaders/NAME.wgsl`, `assembly/NAME.ts`, its schema in
 * `sdk/engine/kernels/NAME.ts`, and its row in the conformance suite. The schema is the single source of the params
 * struct: the WGSL struct text, the byte layout, the TypeScript type and (through `assembly/generated/`) the
 * AssemblyScript class all come from the typegpu struct declared there.
 *
 * Only 4-byte scalars are allowed in params structs, so that the layout is the field's index times four everywhere.
 */
import * as d from "typegpu/data";
import tgpu from "typegpu";

type Scalar = d.U32 | d.I32 | d.F32;
/** The fields of a params struct. */
export type Fields = Record<string, Scalar>;
export type ParamsOf<F extends Fields> = { readonly [K in keyof F]: number };

export interface BufferSlot {
  readonly name: string;
  readonly access: "read" | "write" | "readwrite";
  /** WGSL element type of the storage array. */
  readonly element: "f32" | "u32" | "f64";
}

/** How a dispatch is cut up: workgroups on a GPU, [0, items) in pieces of `grain` on wasm threads. */
export interface Geometry {
  readonly workgroups: readonly [number, number, number];
  /** Source-level constants of the WGSL (tile sizes, line lengths): one pipeline is compiled and kept per combination. */
  readonly constants?: Readonly<Record<string, number>>;
  /** The file in shaders/ that holds this layout, where it is not the one named after the kernel. */
  readonly shader?: string;
}

/** What an adapter grants one workgroup; `geometry` chooses tile sizes by it. */
export interface WorkgroupLimits {
  readonly invocations: number;
  /** The workgroup size that suits the adapter, where a kernel has a choice. */
  readonly preferred: number;
  readonly storageBytes: number;
}

export interface Split {
  readonly items: number;
  readonly grain: number;
}

export interface KernelSchema<F extends Fields = Fields> {
  readonly name: string;
  /** The params struct, a typegpu struct. */
  readonly params: d.WgslStruct<F>;
  readonly buffers: readonly BufferSlot[];
  /** Absent: the kernel exists on wasm only (float64 work). */
  readonly geometry?: (params: ParamsOf<F>, limits: WorkgroupLimits) => Geometry;
  readonly split: (params: ParamsOf<F>) => Split;
}

/** A schema as it is written down: the params as typegpu fields. */
export type KernelDefinition<F extends Fields> = Omit<KernelSchema<F>, "params"> & { readonly params: F };

export function defineKernel<F extends Fields>(definition: KernelDefinition<F>): KernelSchema<F> {
  if (definition.buffers.length > 8) throw new Error(`${definition.name}: a wasm command carries at most 8 buffers`);
  return { ...definition, params: d.struct(definition.params) };
}

export function paramsBytes(schema: KernelSchema): number {
  return Object.keys(schema.params.propTypes).length * 4;
}

/** Writes a params struct in the one byte layout that WGSL and AssemblyScript read. */
export function encodeParams<F extends Fields>(
  schema: KernelSchema<F>,
  params: ParamsOf<F>,
  into: DataView,
  offset = 0,
): void {
  let at = offset;
  for (const [field, type] of Object.entries(schema.params.propTypes)) {
    const value = params[field];
    if (value === undefined) throw new Error(`${schema.name}: params.${field} is missing`);
    if (type.type === "f32") into.setFloat32(at, value, true);
    else if (type.type === "i32") into.setInt32(at, value, true);
    else into.setUint32(at, value, true);
    at += 4;
  }
}

/** The WGSL declaration of the params struct, under the name `Params`. */
export function paramsWgsl(schema: KernelSchema): string {
  return tgpu.resolve({
    template: "@group(0) @binding(0) var<uniform> params: Params;",
    externals: { Params: schema.params.$name("Params") },
    names: "strict",
  });
}

/** The AssemblyScript class of the params struct, read in place: `changetype<MatmulParams>(pointer)`. */
export function paramsAssembly(schema: KernelSchema): string {
  const fields = Object.entries(schema.params.propTypes).map(([field, type]) => `  ${field}: ${type.type};`);
  const title = schema.name.charAt(0).toUpperCase() + schema.name.slice(1);
  return `@unmanaged export class ${title}Params {\n${fields.join("\n")}\n}\n`;
}

export { d };
