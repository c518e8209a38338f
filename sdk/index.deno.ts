import { installPlatform } from "./platform/platform.ts";
import { denoPlatform } from "./platform/deno.ts";

installPlatform(denoPlatform);

export * from "./index.ts";
export { readFileFromDisk } from "./data/files.ts";
export { nodeFiles } from "./covariance/store/files.node.ts";
