import { defineConfig } from "vitest/config";
import pkg from "./package.json" with { type: "json" };

export default defineConfig({
  define: { WIDEFIELD_VERSION: JSON.stringify(pkg.version), WIDEFIELD_ASSETS: '"../../dist/"' },
  plugins: [
    {
      name: "wgsl-text",
      transform: (source, id) =>
        id.endsWith(".wgsl") ? { code: `export default ${JSON.stringify(source)};`, map: null } : null,
    },
  ],
  test: {
    include: ["test/**/*.test.ts", "sdk/**/*.test.ts", "cli/**/*.test.ts"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Two cores: suites that start threads or a GPU of their own must not fight each other for them.
    fileParallelism: false,
  },
});
