export function buildPage(): Promise<void>;
export function servePage(isolated: boolean): Promise<{ readonly url: string; close(): Promise<void> }>;
