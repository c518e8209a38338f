/** Compute pipelines, compiled when first asked for and kept by shader and constants. */
import type { WidefieldError } from "../../errors.ts";
import type { Geometry, KernelSchema } from "../schema.ts";
import { paramsBytes } from "../schema.ts";
import { STAGE_COMPUTE } from "./flags.ts";
import type { Faults } from "./faults.ts";
import { kernelWgsl, pipelineName, type ShaderSources } from "./shaders.ts";

export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly bindings: GPUBindGroupLayout;
  readonly paramsBytes: number;
  /** Why it cannot run, once that is known. */
  fault?: WidefieldError;
}

export class Pipelines {
  readonly #device: GPUDevice;
  readonly #faults: Faults;
  readonly #sources: ShaderSources;
  readonly #pipelines = new Map<string, Pipeline>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();

  constructor(device: GPUDevice, faults: Faults, sources: ShaderSources) {
    this.#device = device;
    this.#faults = faults;
    this.#sources = sources;
  }

  get(kernel: KernelSchema, geometry: Geometry): Pipeline {
    const name = pipelineName(kernel, geometry);
    let pipeline = this.#pipelines.get(name);
    if (pipeline === undefined) {
      pipeline = this.#compile(name, kernel, geometry);
      this.#pipelines.set(name, pipeline);
    }
    return pipeline;
  }

  #compile(name: string, kernel: KernelSchema, geometry: Geometry): Pipeline {
    const device = this.#device;
    const compile = (): Pipeline => {
      const bindings = this.#layout(kernel);
      const pipeline = device.createComputePipeline({
        label: name,
        layout: device.createPipelineLayout({ label: name, bindGroupLayouts: [bindings] }),
        compute: {
          module: device.createShaderModule({ label: name, code: kernelWgsl(kernel, geometry, this.#sources) }),
          entryPoint: "main",
        },
      });
      return { pipeline, bindings, paramsBytes: paramsBytes(kernel) };
    };
    const compiled = this.#faults.scoped(`compiling ${name}`, [kernel.name], compile, (fault) => {
      compiled.fault = fault;
    });
    return compiled;
  }

  /** Explicit, because a layout derived from the shader has no dynamic offsets. */
  #layout(kernel: KernelSchema): GPUBindGroupLayout {
    let layout = this.#layouts.get(kernel.name);
    if (layout === undefined) {
      layout = this.#device.createBindGroupLayout({
        label: kernel.name,
        entries: [
          {
            binding: 0,
            visibility: STAGE_COMPUTE,
            buffer: { type: "uniform", hasDynamicOffset: true, minBindingSize: paramsBytes(kernel) },
          },
          ...kernel.buffers.map(({ access }, index) => ({
            binding: index + 1,
            visibility: STAGE_COMPUTE,
            buffer: { type: access === "read" ? ("read-only-storage" as const) : ("storage" as const) },
          })),
        ],
      });
      this.#layouts.set(kernel.name, layout);
    }
    return layout;
  }
}
