/**
 * The WGSL of a kernel: its params struct, its storage bindings and its constants, all written from the schema, and
 * then the hand-written text of shaders/NAME.wgsl after preprocessing.
 */
import type { Geometry, KernelSchema } from "../schema.ts";
import { paramsWgsl } from "../schema.ts";
import { preprocess } from "./preprocess.ts";
import activate from "../../../shaders/activate.wgsl";
import activateGradient from "../../../shaders/activateGradient.wgsl";
import activations from "../../../shaders/activations.wgsl";
import adamStep from "../../../shaders/adamStep.wgsl";
import arcs from "../../../shaders/arcs.wgsl";
import batchNormBack from "../../../shaders/batchNormBack.wgsl";
import batchNormFold from "../../../shaders/batchNormFold.wgsl";
import broadcastAdd from "../../../shaders/broadcastAdd.wgsl";
import channelAffine from "../../../shaders/channelAffine.wgsl";
import channelLanes from "../../../shaders/channel-lanes.wgsl";
import channelMoments from "../../../shaders/channelMoments.wgsl";
import channelSums from "../../../shaders/channelSums.wgsl";
import classLoss from "../../../shaders/classLoss.wgsl";
import conv2d from "../../../shaders/conv2d.wgsl";
import conv2dInput from "../../../shaders/conv2dInput.wgsl";
import conv2dWeights from "../../../shaders/conv2dWeights.wgsl";
import covariance from "../../../shaders/covariance.wgsl";
import covariancePixels from "../../../shaders/covariance-pixels.wgsl";
import dropout from "../../../shaders/dropout.wgsl";
import elementwise from "../../../shaders/elementwise.wgsl";
import erf from "../../../shaders/erf.wgsl";
import fullCovariance from "../../../shaders/fullCovariance.wgsl";
import exponential from "../../../shaders/exponential.wgsl";
import fullMaps from "../../../shaders/full-maps.wgsl";
import fullNonlinearities from "../../../shaders/full-nonlinearities.wgsl";
import fullPools from "../../../shaders/full-pools.wgsl";
import fullState from "../../../shaders/full-state.wgsl";
import fullVariance from "../../../shaders/fullVariance.wgsl";
import linePlaces from "../../../shaders/line-places.wgsl";
import lineWindows from "../../../shaders/line-windows.wgsl";
import logarithm from "../../../shaders/logarithm.wgsl";
import matmul from "../../../shaders/matmul.wgsl";
import nonlinearities from "../../../shaders/nonlinearities.wgsl";
import philox from "../../../shaders/philox.wgsl";
import pixelMaps from "../../../shaders/pixel-maps.wgsl";
import pool2d from "../../../shaders/pool2d.wgsl";
import pool2dInput from "../../../shaders/pool2dInput.wgsl";
import program from "../../../shaders/program.wgsl";
import randomNormal from "../../../shaders/randomNormal.wgsl";
import recursion from "../../../shaders/recursion.wgsl";
import reduce from "../../../shaders/reduce.wgsl";
import rowLanes from "../../../shaders/row-lanes.wgsl";
import softmax from "../../../shaders/softmax.wgsl";
import softmaxGradient from "../../../shaders/softmaxGradient.wgsl";
import stridedCopy from "../../../shaders/stridedCopy.wgsl";
import rmspropStep from "../../../shaders/rmspropStep.wgsl";
import sgdStep from "../../../shaders/sgdStep.wgsl";
import specialNumbers from "../../../shaders/special-numbers.wgsl";
import targetGradient from "../../../shaders/targetGradient.wgsl";
import variance from "../../../shaders/variance.wgsl";

export type ShaderSources = Readonly<Record<string, string>>;

/** Every file in shaders/, by name. */
export const shaderSources: ShaderSources = {
  activate,
  activateGradient,
  activations,
  adamStep,
  arcs,
  batchNormBack,
  batchNormFold,
  broadcastAdd,
  "channel-lanes": channelLanes,
  channelAffine,
  channelMoments,
  channelSums,
  classLoss,
  conv2d,
  conv2dInput,
  conv2dWeights,
  covariance,
  "covariance-pixels": covariancePixels,
  dropout,
  elementwise,
  erf,
  exponential,
  "full-maps": fullMaps,
  "full-nonlinearities": fullNonlinearities,
  "full-pools": fullPools,
  "full-state": fullState,
  fullCovariance,
  fullVariance,
  "line-places": linePlaces,
  "line-windows": lineWindows,
  logarithm,
  matmul,
  nonlinearities,
  philox,
  "pixel-maps": pixelMaps,
  pool2d,
  pool2dInput,
  program,
  randomNormal,
  recursion,
  reduce,
  "row-lanes": rowLanes,
  softmax,
  softmaxGradient,
  stridedCopy,
  rmspropStep,
  sgdStep,
  "special-numbers": specialNumbers,
  targetGradient,
  variance,
};

/** A name that tells all pipelines apart, and begins with the kernel's. */
export function pipelineName(kernel: KernelSchema, geometry: Geometry): string {
  const constants = Object.entries(geometry.constants ?? {}).map(([name, value]) => `${name}=${value}`);
  return [kernel.name, ...(geometry.shader === undefined ? [] : [geometry.shader]), ...constants].join(" ");
}

/** Binding 0 holds the params, bindings 1 and up the buffers in the order of the schema. */
export function kernelWgsl(kernel: KernelSchema, geometry: Geometry, sources: ShaderSources): string {
  const text = (name: string): string => {
    const source = sources[name];
    if (source === undefined) throw new Error(`shaders/${name}.wgsl is not registered in sdk/engine/webgpu/shaders.ts`);
    return source;
  };
  const constants = geometry.constants ?? {};
  const bindings = kernel.buffers.map(({ name, access, element }, index) => {
    if (element === "f64") throw new Error(`${kernel.name}: WGSL has no float64`);
    const mode = access === "read" ? "read" : "read_write";
    return `@group(0) @binding(${index + 1}) var<storage, ${mode}> ${name}: array<${element}>;`;
  });
  const declared = Object.entries(constants).map(([name, value]) => `const ${name} = ${value}u;`);
  const body = preprocess(text(geometry.shader ?? kernel.name), constants, text);
  return [paramsWgsl(kernel), ...bindings, ...declared, body].join("\n");
}
