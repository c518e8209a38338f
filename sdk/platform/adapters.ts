/**
 * Choosing a GPU adapter, where there are several and where some are emulated on the CPU. What is common to all
 * runtimes, and discovery through `navigator.gpu` (Deno, browsers); Node's way is in `adapters.node.ts`.
 */
import type { AdapterRequest, FoundAdapter } from "./platform.ts";

/** Names of Vulkan and Direct3D implementations that run on the CPU. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|microsoft basic render|\bwarp\b|\bsubzero\b/i;

export function isSoftwareName(name: string): boolean {
  return SOFTWARE.test(name);
}

/** The first name that the request admits: hardware before software, and software only when named or allowed. */
export function chooseName(names: readonly string[], request: AdapterRequest): string | undefined {
  const wanted = request.name?.toLowerCase() ?? "";
  const candidates = names.filter((name) => name.toLowerCase().includes(wanted));
  const hardware = candidates.find((name) => !isSoftwareName(name));
  if (hardware !== undefined) return hardware;
  return request.software || wanted !== "" ? candidates[0] : undefined;
}

/** Everything by which a driver names itself, and what of it a user is shown. */
function namesOf(info: GPUAdapterInfo): { name: string; all: string } {
  const parts = [info.description, info.device, info.architecture, info.vendor].filter((part) => part !== "");
  return { name: parts[0] ?? "unnamed GPU", all: parts.join(" ") };
}

/** What an adapter is called, and whether it is emulated. */
export function describeAdapter(adapter: GPUAdapter): { name: string; all: string; software: boolean } {
  const names = namesOf(adapter.info);
  // Dawn sets isFallbackAdapter, wgpu does not always: hence the names.
  const fallback = (adapter.info as { isFallbackAdapter?: boolean }).isFallbackAdapter === true;
  return { ...names, software: fallback || isSoftwareName(names.all) };
}

/** Looks through `gpu`, by default the runtime's own; undefined when it has no adapter that the request admits. */
export async function findNavigatorAdapter(
  request: AdapterRequest,
  gpu: GPU | undefined = (globalThis.navigator as Navigator | undefined)?.gpu,
): Promise<FoundAdapter | undefined> {
  if (gpu === undefined) return undefined;
  const wanted = request.name?.toLowerCase() ?? "";
  const found: FoundAdapter[] = [];
  // WebGPU lists no adapters: these are the requests whose answers may differ.
  const requests: GPURequestAdapterOptions[] = [
    { powerPreference: "high-performance" },
    { powerPreference: "low-power" },
    { forceFallbackAdapter: true },
  ];
  for (const options of requests) {
    const adapter = await gpu.requestAdapter(options).catch(() => null);
    if (adapter === null) continue;
    const { name, all, software } = describeAdapter(adapter);
    if (!all.toLowerCase().includes(wanted)) continue;
    if (software && !request.software && wanted === "") continue;
    found.push({ adapter, name, software, release: () => undefined });
    if (!software) break;
  }
  return found.find(({ software }) => !software) ?? found[0];
}
