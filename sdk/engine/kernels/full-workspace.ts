import type { BackendInfo } from "../backend.ts";
import type { Workspace } from "./covariance.ts";
export function fullWebgpuWorkspace(_info: BackendInfo, _shape: object, _memoryBytes: number): Workspace {
  throw new Error("not merged");
}
