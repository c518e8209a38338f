/** Deno: files and threads through its Node compatibility, GPUs through navigator.gpu (wgpu). */
import { explainNoVulkan } from "./adapters.node.ts";
import { findNavigatorAdapter } from "./adapters.ts";
import { nodePlatform } from "./node.ts";
import type { Platform } from "./platform.ts";

declare const Deno: { readonly version: { readonly deno: string } };

export const denoPlatform: Platform = {
  ...nodePlatform,
  name: "deno",
  version: Deno.version.deno,
  findAdapter: findNavigatorAdapter,
  explainNoAdapter: explainNoVulkan,
};
