/** Files of a tar archive: name and bytes. */
export function tarFiles(archive: Buffer): Generator<[name: string, bytes: Buffer]>;
export function unpackSwiftshader(): string;
export function unpackOnce(
  title: string,
  archives: readonly string[],
  needed: readonly string[],
  unpack: (folder: string, packed: readonly Buffer[]) => void,
): string;
export function swiftshaderEnvironment(
  environment?: NodeJS.ProcessEnv,
): Record<"LD_LIBRARY_PATH" | "VK_DRIVER_FILES", string>;
