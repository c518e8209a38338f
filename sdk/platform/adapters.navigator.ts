import type { AdapterRequest, FoundAdapter } from "./platform.ts";

export const findNavigatorAdapter = async (_request: AdapterRequest): Promise<FoundAdapter | undefined> => undefined;
