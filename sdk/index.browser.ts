import { installPlatform } from "./platform/platform.ts";
import { browserPlatform } from "./platform/browser.ts";

installPlatform(browserPlatform);

export * from "./index.ts";
