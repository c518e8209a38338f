/**
 * A first-fit allocator over the part of a wasm memory that lies behind the queue and the scratch. It keeps its books
 * in JavaScript, away from the memory it manages, and merges neighbours when they are freed.
 */
import { WidefieldError } from "../../errors.ts";

/** Cache lines: threads that write neighbouring buffers do not share one, and every SIMD load is aligned. */
const ALIGNMENT = 64;
const PAGE = 65536;

interface Span {
  readonly begin: number;
  readonly end: number;
}

export class WasmAllocator {
  private readonly memory: WebAssembly.Memory;
  private readonly limit: number;
  /** Sorted by address; neighbours never touch. */
  private free: Span[] = [];
  private readonly live = new Map<number, number>();
  private top: number;
  private used = 0;

  /** Hands out [begin, limit) of `memory`, growing it as needed. */
  constructor(memory: WebAssembly.Memory, begin: number, limit: number) {
    this.memory = memory;
    this.top = Math.ceil(begin / ALIGNMENT) * ALIGNMENT;
    this.limit = limit;
  }

  get bytes(): number {
    return this.used;
  }

  get count(): number {
    return this.live.size;
  }

  /** Address of `bytes` bytes, not cleared. Throws E_MEMORY when the budget has no room. */
  allocate(bytes: number, label: string): number {
    const size = Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
    const at = this.takeFree(size) ?? this.extend(size, label);
    this.live.set(at, size);
    this.used += size;
    return at;
  }

  release(address: number): void {
    const size = this.live.get(address);
    if (size === undefined) throw new Error(`wasm allocator: ${address} is not allocated`);
    this.live.delete(address);
    this.used -= size;
    this.insert({ begin: address, end: address + size });
  }

  private takeFree(size: number): number | undefined {
    const index = this.free.findIndex((span) => span.end - span.begin >= size);
    const span = this.free[index];
    if (span === undefined) return undefined;
    if (span.end - span.begin === size) this.free.splice(index, 1);
    else this.free[index] = { begin: span.begin + size, end: span.end };
    return span.begin;
  }

  private extend(size: number, label: string): number {
    const last = this.free.at(-1);
    const begin = last?.end === this.top ? last.begin : this.top;
    const end = begin + size;
    if (end > this.limit) throw this.tooSmall(size, label);
    const missing = end - this.memory.buffer.byteLength;
    if (missing > 0) {
      try {
        this.memory.grow(Math.ceil(missing / PAGE));
      } catch (cause) {
        throw this.tooSmall(size, label, cause);
      }
    }
    if (begin !== this.top) this.free.pop();
    this.top = end;
    return begin;
  }

  private insert(span: Span): void {
    const after = this.free.findIndex((other) => other.begin > span.begin);
    const at = after < 0 ? this.free.length : after;
    const previous = this.free[at - 1];
    const next = this.free[at];
    const joinsPrevious = previous?.end === span.begin;
    const joinsNext = next?.begin === span.end;
    const merged = {
      begin: joinsPrevious ? previous.begin : span.begin,
      end: joinsNext ? next.end : span.end,
    };
    this.free.splice(joinsPrevious ? at - 1 : at, Number(joinsPrevious) + Number(joinsNext), merged);
  }

  private tooSmall(size: number, label: string, cause?: unknown): WidefieldError {
    const mib = (value: number) => `${(value / 2 ** 20).toFixed(1)} MiB`;
    return new WidefieldError(
      "E_MEMORY",
      `${label} needs ${mib(size)}, but ${mib(this.used)} of the wasm backend's ${mib(this.limit)} are in use: ` +
        `raise the memory option (at most 4 GiB) or work in smaller tiles`,
      { cause, details: { requested: size, used: this.used, limit: this.limit } },
    );
  }
}
