import type { FoundAdapter } from "../../platform/platform.ts";
import type { Backend } from "../backend.ts";

export const WebGpuBackend = {
  open: async (found: FoundAdapter): Promise<Backend> => {
    throw new Error(`not yet: ${found.name}`);
  },
};
