import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist/", "build/", "assembly/", "node_modules/"] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { project: "./tsconfig.json", tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/consistent-type-imports": "error",
      // The interface is asynchronous where one of its runtimes is.
      "@typescript-eslint/require-await": "off",
      eqeqeq: "error",
      "no-console": "error",
    },
  },
  { files: ["cli/**", "bench/**", "test/**", "*.mjs"], rules: { "no-console": "off" } },
  { files: ["**/*.mjs", "**/*.js"], ...tseslint.configs.disableTypeChecked },
);
