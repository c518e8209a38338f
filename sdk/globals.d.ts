/** Set by the build and by vitest's config. */
declare const WIDEFIELD_VERSION: string;
/** Where `wasm/`, `worker.js` and `batch-worker.js` are, relative to the importing module: "./" in dist, "../../dist/" for sources under test. */
declare const WIDEFIELD_ASSETS: string;

declare module "*.wgsl" {
  const source: string;
  export default source;
}

/** Made by the browser build: the workers' sources and the wasm builds, base64. */
declare module "virtual:assets" {
  export const workerSource: string;
  export const batchWorkerSource: string;
  export const wasm: Readonly<Partial<Record<string, string>>>;
}
