import { installPlatform } from "./platform/platform.ts";
import { nodePlatform } from "./platform/node.ts";

installPlatform(nodePlatform);

export * from "./index.ts";
