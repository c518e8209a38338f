import { installPlatform } from "./platform/platform.ts";
import { denoPlatform } from "./platform/deno.ts";

installPlatform(denoPlatform);

export * from "./index.ts";
export { readFileFromDisk } from "./data/files.ts";
export {
  fetchDataset,
  type FetchedFile,
  type FetchOptions,
  type FetchProgress,
  type FetchReport,
} from "./data/fetch.ts";
export { nodeFiles } from "./platform/files.node.ts";
export { importHdf5, isHdf5, type Hdf5Options, type Hdf5Result } from "./covariance/hdf5.node.ts";
export { renderFigure, saveFigure, type RenderedFigure } from "./report/figure.node.ts";
