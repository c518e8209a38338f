/** From JSON to architectures, by the layers' `type`. */
import { messageOf, WidefieldError } from "../errors.ts";
import { Abs, absSchema } from "./abs.ts";
import { AvgPool, avgPoolSchema } from "./avg-pool.ts";
import { BatchNorm, batchNormSchema } from "./batch-norm.ts";
import { ClippedRelu, clippedReluSchema } from "./clipped-relu.ts";
import { Conv, convSchema } from "./conv.ts";
import { Dense, denseSchema } from "./dense.ts";
import { Dropout, dropoutSchema } from "./dropout.ts";
import { Elu, eluSchema } from "./elu.ts";
import { Erf, erfSchema } from "./erf.ts";
import { Flatten, flattenSchema } from "./flatten.ts";
import { GlobalAvgPool, globalAvgPoolSchema } from "./global-avg-pool.ts";
import { Identity, identitySchema } from "./identity.ts";
import type { Layer } from "./layer.ts";
import { LeakyRelu, leakyReluSchema } from "./leaky-relu.ts";
import { requireModest } from "./limits.ts";
import { MaxPool, maxPoolSchema } from "./max-pool.ts";
import { Mixture, mixtureSchema } from "./mixture.ts";
import { PlainActivation, plainNames, plainSchema } from "./plain-activations.ts";
import { Relu, reluSchema } from "./relu.ts";
import { Repeat, repeatSchema } from "./repeat.ts";
import { makeResnet, makeResnetBlock } from "./resnet.ts";
import { branchesSchema, parse } from "./schema.ts";
import { Serial } from "./serial.ts";
import { Staircase, staircaseSchema } from "./staircase.ts";
import { Step, stepSchema } from "./step.ts";
import { Sum } from "./sum.ts";
import { Threshold, thresholdSchema } from "./threshold.ts";

/** From an object's JSON form to a layer, by its `type`. `path` names the place for messages. */
const readers: Readonly<Record<string, (json: unknown, path: string) => Layer>> = {
  serial: (json, path) => new Serial(readLayers(parse(branchesSchema("serial"), json, path).layers, path)),
  sum: (json, path) => new Sum(readLayers(parse(branchesSchema("sum"), json, path).layers, path)),
  mixture: (json, path) => {
    const { proportions, layers } = parse(mixtureSchema, json, path);
    return new Mixture(proportions, readLayers(layers, path));
  },
  repeat: (json, path) => {
    const { times, layer } = parse(repeatSchema, json, path);
    return new Repeat(times, readLayer(layer, `${path}.layer`));
  },
  resnet: makeResnet,
  resnetBlock: makeResnetBlock,
  conv: (json, path) => new Conv(parse(convSchema, json, path)),
  dense: (json, path) => new Dense(parse(denseSchema, json, path)),
  flatten: (json, path) => plain(parse(flattenSchema, json, path), new Flatten()),
  avgPool: (json, path) => new AvgPool(parse(avgPoolSchema, json, path)),
  globalAvgPool: (json, path) => plain(parse(globalAvgPoolSchema, json, path), new GlobalAvgPool()),
  identity: (json, path) => plain(parse(identitySchema, json, path), new Identity()),
  relu: (json, path) => new Relu(parse(reluSchema, json, path)),
  leakyRelu: (json, path) => new LeakyRelu(parse(leakyReluSchema, json, path)),
  abs: (json, path) => plain(parse(absSchema, json, path), new Abs()),
  step: (json, path) => new Step(parse(stepSchema, json, path)),
  erf: (json, path) => plain(parse(erfSchema, json, path), new Erf()),
  batchNorm: (json, path) => new BatchNorm(parse(batchNormSchema, json, path)),
  maxPool: (json, path) => new MaxPool(parse(maxPoolSchema, json, path)),
  dropout: (json, path) => new Dropout(parse(dropoutSchema, json, path)),
  elu: (json, path) => new Elu(parse(eluSchema, json, path)),
  clippedRelu: (json, path) => new ClippedRelu(parse(clippedReluSchema, json, path)),
  threshold: (json, path) => new Threshold(parse(thresholdSchema, json, path)),
  staircase: (json, path) => new Staircase(parse(staircaseSchema, json, path)),
  ...Object.fromEntries(
    plainNames.map((name) => [
      name,
      (json: unknown, path: string) => plain(parse(plainSchema(name), json, path), new PlainActivation(name)),
    ]),
  ),
};

/** A layer without settings, once its JSON has been checked. */
function plain(_checked: { readonly type: string }, layer: Layer): Layer {
  return layer;
}

function readLayers(layers: readonly unknown[], path: string): Layer[] {
  return layers.map((layer, index) => readLayer(layer, `${path}.layers[${index}]`));
}

function readLayer(json: unknown, path: string): Layer {
  const type = typeof json === "object" && json !== null && "type" in json ? json.type : undefined;
  const reader = typeof type === "string" && Object.hasOwn(readers, type) ? readers[type] : undefined;
  if (reader === undefined) {
    const known = Object.keys(readers).join(", ");
    const what = type === undefined ? "has no type" : `is of unknown type ${JSON.stringify(type)}`;
    throw new WidefieldError("E_CONFIG", `${path} ${what}; layers are ${known}`, { details: { path } });
  }
  return reader(json, path);
}

/** An architecture from its JSON form (an object, or text). Throws E_CONFIG, naming the layer and the field; also where there are too many. */
export function archFromJson(json: unknown): Layer {
  if (typeof json !== "string") return readModest(json);
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch (cause) {
    throw new WidefieldError("E_CONFIG", `the architecture is not JSON: ${messageOf(cause)}`, { cause });
  }
  return readModest(parsed);
}

function readModest(json: unknown): Layer {
  requireModest(json, "architecture");
  return readLayer(json, "architecture");
}
