/** What every entry point exports. The entry points differ only in the platform that they install. */
export { open, parseBytes, type Engine, type EngineStats, type OpenOptions } from "./engine/engine.ts";
export type { BackendInfo, BackendName } from "./engine/backend.ts";
export { WidefieldError, type ErrorCode } from "./errors.ts";

/** The package's version. */
export const version: string = WIDEFIELD_VERSION;
