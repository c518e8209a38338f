import type { AdapterRequest, FoundAdapter } from "./platform.ts";

export const findDawnAdapter = async (_request: AdapterRequest): Promise<FoundAdapter | undefined> => undefined;
export const findNavigatorAdapter = findDawnAdapter;
export const explainNoVulkan = async (): Promise<string[]> => [];
