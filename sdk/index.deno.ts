import { installPlatform } from "./platform/platform.ts";
import { denoPlatform } from "./platform/deno.ts";

installPlatform(denoPlatform);

export * from "./index.ts";
