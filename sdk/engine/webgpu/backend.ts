/**
 * The WebGPU backend: a queue of dispatches on one GPUDevice.
 *
 * Dispatches are appended to one command encoder and leave in one submit per flush; their params go into a uniform
 * arena, 256 bytes each, bound with dynamic offsets. A flush happens when the host waits, writes, or has filled the
 * arena. Nothing here throws for what the GPU reports later: errors arrive through scopes (`faults.ts`) and come out
 * of the next finish() or read(). What the interface's other methods refuse at once is what the host can see itself:
 * an allocation beyond the limits, a grid that is too large, a lost or closed device.
 */
import { WidefieldError } from "../../errors.ts";
import type { FoundAdapter } from "../../platform/platform.ts";
import type { Backend, BackendInfo, BackendStats, Slot } from "../backend.ts";
import type { Fields, Geometry, KernelSchema, ParamsOf, WorkgroupLimits } from "../schema.ts";
import { encodeParams, paramsBytes } from "../schema.ts";
import { BindGroups } from "./bind-groups.ts";
import { BufferUsage, MAP_READ } from "./flags.ts";
import { Faults } from "./faults.ts";
import { Memory } from "./memory.ts";
import { Pipelines, type Pipeline } from "./pipelines.ts";
import { shaderSources, type ShaderSources } from "./shaders.ts";

/** minUniformBufferOffsetAlignment's default, and the most that a params struct may take. */
const PARAMS_STRIDE = 256;
/** Dispatches per submit, at most: more than a training step of a deep network has, so that it leaves in one. */
const ARENA_DISPATCHES = 4096;
/** Every adapter that WebGPU admits has 16 KiB; more than 32 KiB a workgroup would leave too few in flight. */
const WORKGROUP_STORAGE = 32768;

/**
 * Workgroup sizes where a kernel has a choice. A GPU hides latency with whole warps that share their reads. A software
 * adapter runs a workgroup on one core, and pays for every lane that a barrier stops: measured, 28 lanes are twice as
 * fast as 252 for covariance programs on SwiftShader.
 */
const HARDWARE_LANES = 256;
const SOFTWARE_LANES = 32;

export interface WebGpuOptions {
  /** Replaces shader files by name: for tests of what a broken one does. */
  readonly sources?: ShaderSources;
}

/** Open backends: in Node, a device that the garbage collector takes while work is under way ends the process. */
const open = new Set<WebGpuBackend>();

export class WebGpuBackend implements Backend {
  readonly info: BackendInfo;
  readonly device: GPUDevice;
  readonly #found: FoundAdapter;
  readonly #faults: Faults;
  readonly #memory: Memory;
  readonly #pipelines: Pipelines;
  readonly #bindGroups = new BindGroups();
  readonly #limits: WorkgroupLimits;
  readonly #arena: GPUBuffer;
  readonly #arenaView = new DataView(new ArrayBuffer(ARENA_DISPATCHES * PARAMS_STRIDE));
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  /** Dispatches in the arena, not yet submitted. */
  #pending = 0;
  #kernels = new Set<string>();
  #dispatches = 0;
  #submits = 0;
  #closing: Promise<void> | undefined;

  /** Takes the adapter over: close() releases it. Throws E_DEVICE when it gives no device. */
  static async open(found: FoundAdapter, options: WebGpuOptions = {}): Promise<WebGpuBackend> {
    const { limits, features } = found.adapter;
    try {
      const device = await found.adapter.requestDevice({
        label: "widefield",
        requiredFeatures: features.has("timestamp-query") ? ["timestamp-query"] : [],
        requiredLimits: {
          maxBufferSize: limits.maxBufferSize,
          maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
          maxComputeWorkgroupStorageSize: Math.min(limits.maxComputeWorkgroupStorageSize, WORKGROUP_STORAGE),
          maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
          maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
          maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
        },
      });
      return new WebGpuBackend(found, device, options);
    } catch (cause) {
      found.release();
      throw new WidefieldError("E_DEVICE", `${found.name} gave no device`, { cause });
    }
  }

  private constructor(found: FoundAdapter, device: GPUDevice, options: WebGpuOptions) {
    this.#found = found;
    this.device = device;
    const invocations = Math.min(
      device.limits.maxComputeInvocationsPerWorkgroup,
      device.limits.maxComputeWorkgroupSizeX,
    );
    this.#limits = {
      invocations,
      preferred: Math.min(invocations, found.software ? SOFTWARE_LANES : HARDWARE_LANES),
      storageBytes: device.limits.maxComputeWorkgroupStorageSize,
    };
    this.info = {
      backend: "webgpu",
      adapter: found.name,
      software: found.software,
      threads: 1,
      maxBufferBytes: Math.min(device.limits.maxBufferSize, device.limits.maxStorageBufferBindingSize),
      workgroupBytes: this.#limits.storageBytes,
      features: [...device.features].sort(),
    };
    this.#faults = new Faults(device, found.name);
    this.#memory = new Memory(device, this.#faults, this.info.maxBufferBytes);
    this.#pipelines = new Pipelines(device, this.#faults, { ...shaderSources, ...options.sources });
    open.add(this);
    this.#arena = device.createBuffer({
      label: "params",
      size: this.#arenaView.byteLength,
      usage: BufferUsage.uniform | BufferUsage.copyDestination,
    });
  }

  allocate(bytes: number, label: string): Slot {
    this.#faults.check();
    return this.#memory.allocate(bytes, label);
  }

  free(slot: Slot): void {
    if (this.#closing !== undefined) return;
    this.#bindGroups.forget(slot);
    this.#memory.free(slot, this.#pending > 0);
  }

  write(slot: Slot, byteOffset: number, data: ArrayBufferView): void {
    this.#faults.check();
    const buffer = this.#memory.range(slot, byteOffset, data.byteLength);
    if (data.byteLength === 0) return;
    this.#flush(); // what was appended before still sees the old bytes
    // Implementations refuse views of shared memory.
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const own = data.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
    this.#faults.scoped(`writing ${buffer.label}`, [], () => this.device.queue.writeBuffer(buffer, byteOffset, own));
  }

  async read(slot: Slot, byteOffset: number, bytes: number): Promise<ArrayBuffer> {
    this.#faults.check();
    const buffer = this.#memory.range(slot, byteOffset, bytes);
    if (bytes === 0) {
      await this.finish();
      return new ArrayBuffer(0);
    }
    const staging = this.#memory.takeStaging(bytes);
    this.#endPass();
    this.#recording().copyBufferToBuffer(buffer, byteOffset, staging, 0, bytes);
    this.#flush(`reading ${buffer.label}`);
    try {
      await this.#faults.settle(staging.mapAsync(MAP_READ, 0, bytes));
      return staging.getMappedRange(0, bytes).slice(0);
    } finally {
      this.#memory.returnStaging(staging);
    }
  }

  dispatch<F extends Fields>(kernel: KernelSchema<F>, params: ParamsOf<F>, buffers: readonly Slot[]): void {
    this.#faults.check();
    const schema = kernel as unknown as KernelSchema;
    if (kernel.geometry === undefined) {
      throw new WidefieldError("E_CONFIG", `${kernel.name} exists on the wasm backend only: open({ backend: "wasm" })`);
    }
    if (buffers.length !== kernel.buffers.length || paramsBytes(schema) > PARAMS_STRIDE) {
      throw new Error(`${kernel.name}: ${buffers.length} buffers given, ${kernel.buffers.length} declared`);
    }
    if (kernel.split(params).items === 0) return;
    const geometry = kernel.geometry(params, this.#limits);
    if (geometry.workgroups.includes(0)) return;
    this.#checkGrid(kernel.name, geometry);
    const pipeline = this.#pipelines.get(schema, geometry);
    if (pipeline.fault !== undefined) {
      this.#faults.report(pipeline.fault);
      return;
    }
    if (this.#pending === ARENA_DISPATCHES) this.#flush();
    const group =
      this.#bindGroups.get(kernel.name, buffers) ??
      this.#bind(kernel.name, pipeline, buffers, this.#bindings(schema, buffers));
    encodeParams(kernel, params, this.#arenaView, this.#pending * PARAMS_STRIDE);
    this.#append(kernel.name, pipeline, group, geometry.workgroups);
  }

  async finish(): Promise<void> {
    this.#faults.check();
    this.#flush();
    await this.#faults.settle(this.device.queue.onSubmittedWorkDone());
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  stats(): BackendStats {
    const { slots, bytes, created: allocations } = this.#memory;
    return { slots, bytes, allocations, dispatches: this.#dispatches, submits: this.#submits };
  }

  async #close(): Promise<void> {
    this.#faults.close();
    this.#encoder = undefined;
    this.#pass = undefined;
    this.#memory.destroy();
    this.#arena.destroy();
    this.device.destroy();
    await this.device.lost;
    this.#found.release();
    open.delete(this);
  }

  #recording(): GPUCommandEncoder {
    this.#encoder ??= this.device.createCommandEncoder({ label: "widefield" });
    return this.#encoder;
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }

  /**
   * The buffers of a dispatch. WebGPU forbids one dispatch to bind a buffer for writing and once more in any way. An
   * input that is also the output is read from a copy, so that kernels may work in place; two outputs in one buffer
   * have no meaning.
   */
  #bindings(kernel: KernelSchema, slots: readonly Slot[]): GPUBuffer[] {
    const writable = kernel.buffers.map(({ access }) => access !== "read");
    return slots.map((slot, index) => {
      const buffer = this.#memory.buffer(slot);
      const other = slots.findIndex((candidate, at) => candidate === slot && at !== index && writable[at]);
      if (other < 0) return buffer;
      if (writable[index]) {
        const names = `${kernel.buffers[index]?.name ?? ""} and ${kernel.buffers[other]?.name ?? ""}`;
        throw new WidefieldError("E_CONFIG", `${kernel.name}: ${names} are both written and must be different buffers`);
      }
      const copy = this.#memory.scratch(buffer.size, `copy of ${buffer.label}`);
      this.#endPass();
      this.#recording().copyBufferToBuffer(buffer, 0, copy, 0, buffer.size);
      return copy;
    });
  }

  /** `slots` as a kernel's bindings; `buffers` are those behind them, but where one is read from a copy. */
  #bind(name: string, pipeline: Pipeline, slots: readonly Slot[], buffers: readonly GPUBuffer[]): GPUBindGroup {
    // In a scope: a buffer whose allocation failed is told of here again, and the allocation's own fault came first.
    const group = this.#faults.scoped(
      `binding ${name}`,
      [name],
      () =>
        this.device.createBindGroup({
          label: name,
          layout: pipeline.bindings,
          entries: [
            { binding: 0, resource: { buffer: this.#arena, size: pipeline.paramsBytes } },
            ...buffers.map((buffer, index) => ({ binding: index + 1, resource: { buffer } })),
          ],
        }),
      () => this.#bindGroups.forget(...slots),
    );
    // Copies live until the next submit only.
    const lasting = buffers.every((buffer, index) => buffer === this.#memory.buffer(slots[index] as Slot));
    if (lasting) this.#bindGroups.keep(name, slots, group);
    return group;
  }

  #append(name: string, pipeline: Pipeline, group: GPUBindGroup, workgroups: readonly [number, number, number]): void {
    this.#pass ??= this.#recording().beginComputePass({ label: "widefield" });
    this.#pass.setPipeline(pipeline.pipeline);
    this.#pass.setBindGroup(0, group, [this.#pending * PARAMS_STRIDE]);
    this.#pass.dispatchWorkgroups(...workgroups);
    this.#pending++;
    this.#dispatches++;
    this.#kernels.add(name);
  }

  #flush(doing?: string): void {
    const encoder = this.#encoder;
    if (encoder !== undefined) {
      const kernels = [...this.#kernels];
      this.#faults.scoped(doing ?? `running ${kernels.join(", ")}`, kernels, () => {
        this.#endPass();
        if (this.#pending > 0) {
          this.device.queue.writeBuffer(this.#arena, 0, this.#arenaView.buffer, 0, this.#pending * PARAMS_STRIDE);
        }
        this.device.queue.submit([encoder.finish()]);
        this.#submits++;
      });
      this.#encoder = undefined;
      this.#pending = 0;
      this.#kernels = new Set();
    }
    this.#memory.sweep();
  }

  #checkGrid(name: string, { workgroups }: Geometry): void {
    const limit = this.device.limits.maxComputeWorkgroupsPerDimension;
    if (Math.max(...workgroups) <= limit) return;
    throw new WidefieldError(
      "E_MEMORY",
      `${name}: ${workgroups.join(" x ")} workgroups, and this GPU runs at most ${limit} in one dimension: use smaller tiles`,
    );
  }
}
