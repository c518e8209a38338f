/**
 * What goes wrong on the GPU, in the order in which it was asked for. Validation, memory and internal errors arrive
 * long after the call that caused them, through error scopes; here each becomes a WidefieldError that names the kernel
 * and waits for the next `settle`, which throws the first. Device loss ends everything: from then on `check` throws.
 */
import { messageOf, WidefieldError } from "../../errors.ts";

const SCOPES = ["internal", "out-of-memory", "validation"] as const;

export class Faults {
  readonly #device: GPUDevice;
  readonly #adapter: string;
  /** Scopes whose verdict is still to come, oldest first. */
  #scopes: Promise<WidefieldError | undefined>[] = [];
  #reported: WidefieldError[] = [];
  #ended: WidefieldError | undefined;
  #closed = false;
  /** Waits under way: the end of the device ends them. (A race against one long-lived promise would keep each.) */
  readonly #waits = new Set<(error: WidefieldError) => void>();
  /** Kernels submitted since the host last knew that all had run. */
  readonly #inFlight = new Set<string>();

  constructor(device: GPUDevice, adapter: string) {
    this.#device = device;
    this.#adapter = adapter;
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.report(this.#fault("working", [], event.error));
    });
    void device.lost.then((info) => this.#lost(info));
  }

  /** Throws what makes every further call pointless. */
  check(): void {
    if (this.#ended !== undefined) throw this.#ended;
  }

  report(fault: WidefieldError): void {
    this.#reported.push(fault);
  }

  /** Runs `work` inside error scopes; what they catch is thrown by the next settle(). */
  scoped<T>(doing: string, kernels: readonly string[], work: () => T, onFault?: (fault: WidefieldError) => void): T {
    for (const kernel of kernels) this.#inFlight.add(kernel);
    for (const filter of SCOPES) this.#device.pushErrorScope(filter);
    try {
      return work();
    } finally {
      const verdicts = SCOPES.map(() => this.#device.popErrorScope().catch(() => null)); // null: lost, told elsewhere
      this.#scopes.push(
        Promise.all(verdicts).then((errors) => {
          const at = errors.findIndex((candidate) => candidate !== null);
          if (at < 0) return undefined;
          const fault = this.#fault(doing, kernels, errors[at], SCOPES.at(-1 - at) === "out-of-memory");
          onFault?.(fault);
          return fault;
        }),
      );
    }
  }

  /** Awaits `work` and every scope opened so far, then throws the first error among them. */
  async settle<T>(work: Promise<T>): Promise<T> {
    const scopes = this.#scopes;
    this.#scopes = [];
    const outcome = work.then(
      (value) => ({ value }),
      (cause: unknown) => ({ cause }),
    );
    const faults = await this.#untilEnd(Promise.all(scopes));
    const result = await this.#untilEnd(outcome);
    const [first] = [...this.#reported.splice(0), ...faults.filter((fault) => fault !== undefined)];
    const running = [...this.#inFlight];
    this.#inFlight.clear();
    if (first !== undefined) throw first;
    if ("value" in result) return result.value;
    // A failed wait without a fault of its own: give a loss that is about to be told the time to be told.
    await new Promise((resolve) => setTimeout(resolve, 10));
    this.check();
    throw this.#fault(`running ${running.join(", ")}`, running, result.cause);
  }

  #untilEnd<T>(work: Promise<T>): Promise<T> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#waits.add(reject);
      void work.then(resolve, reject).finally(() => this.#waits.delete(reject));
    });
  }

  #rejectEnd(error: WidefieldError): void {
    for (const reject of this.#waits) reject(error);
    this.#waits.clear();
  }

  close(): void {
    this.#closed = true;
    this.#ended = new WidefieldError("E_CLOSED", "the engine is closed: open another");
    this.#rejectEnd(this.#ended);
  }

  #lost(info: GPUDeviceLostInfo): void {
    if (this.#closed) return;
    const running = [...this.#inFlight];
    const doing = running.length === 0 ? "" : ` while running ${running.join(", ")}`;
    this.#ended = new WidefieldError(
      "E_DEVICE",
      `the GPU ${this.#adapter} was lost${doing} (${info.message || info.reason}): close the engine and open another; ` +
        `if this happens again, use smaller tiles, or the wasm backend`,
      { details: { kernels: running, reason: info.reason } },
    );
    this.#rejectEnd(this.#ended);
  }

  #fault(doing: string, kernels: readonly string[], cause: unknown, memory = false): WidefieldError {
    const message = (cause as { message?: string } | null)?.message ?? messageOf(cause);
    // Labels put a kernel's name into what the GPU says: of several kernels in a submit, only that one is meant.
    const named = kernels.filter((kernel) => message.includes(`"${kernel}`));
    return new WidefieldError(
      memory ? "E_MEMORY" : "E_DEVICE",
      `${this.#adapter}: ${named.length === 0 ? doing : named.join(", ")} failed: ${message}` +
        (memory ? " (free buffers, or use smaller tiles)" : ""),
      { cause, details: { kernels: named.length === 0 ? kernels : named } },
    );
  }
}
