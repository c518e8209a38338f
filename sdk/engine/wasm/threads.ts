/** The start of the wasm backend's threads, and what they report (`worker.ts`). */
import type { WidefieldError } from "../../errors.ts";
import type { WorkerHandle } from "../../platform/platform.ts";
import * as layout from "./layout.ts";
import type { WorkerReport, WorkerStart } from "./worker.ts";

export interface ThreadEvents {
  /** Every thread has passed a fence: so many commands are over, in 32 bits. */
  passed(count: number): void;
  /** A thread has failed, at its start or later; returns the error for who waits for the start. */
  failed(reason: string): WidefieldError;
}

/** Gives every thread its part of the scratch; resolves when all are ready, and goes on listening. */
export async function startThreads(
  workers: readonly WorkerHandle[],
  start: Omit<WorkerStart, "scratch">,
  events: ThreadEvents,
): Promise<void> {
  const begin = layout.SCRATCH_BEGIN;
  await Promise.all(
    workers.map((worker, index) =>
      startThread(worker, { ...start, scratch: begin + index * layout.SCRATCH_BYTES }, events),
    ),
  );
}

function startThread(worker: WorkerHandle, start: WorkerStart, events: ThreadEvents): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    listen(worker, events, resolve, reject);
    worker.post(start);
  });
}

/**
 * Apart from `startThread`, whose variables hold the memory: the listeners stay with the worker, and an engine that is
 * closed keeps no memory.
 */
function listen(
  worker: WorkerHandle,
  events: ThreadEvents,
  resolve: () => void,
  reject: (error: WidefieldError) => void,
): void {
  // Once the thread is ready, nobody waits for the rejections.
  worker.onError((error) => reject(events.failed(error.message)));
  worker.onMessage((message) => {
    const report = message as WorkerReport;
    if ("ready" in report) resolve();
    else if ("passed" in report) events.passed(report.passed);
    else reject(events.failed(report.error));
  });
}
