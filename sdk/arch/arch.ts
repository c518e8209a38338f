/**
 * The architecture language: constructors, JSON both ways, and the way from an architecture to a covariance program.
 *
 *     serial(conv({ filter: 7, weightVariance: 2, biasVariance: 0.1 }), relu(), flatten(), dense())
 */
import * as z from "zod";
import { ProgramBuilder } from "../covariance/builder.ts";
import type { Program } from "../covariance/program.ts";
import { messageOf, WidefieldError } from "../errors.ts";
import { Conv, convSchema, type ConvOptions } from "./conv.ts";
import { Dense, denseSchema, type DenseOptions } from "./dense.ts";
import { Flatten, flattenSchema } from "./flatten.ts";
import { formatShape, isImage, type Layer, type LayerJson, type Shape } from "./layer.ts";
import { Relu, reluSchema, type ReluOptions } from "./relu.ts";
import { Serial } from "./serial.ts";

/** A layer, which may be a whole network: architectures compose. */
export type Arch = Layer;

export function serial(...layers: readonly Layer[]): Serial {
  return new Serial(layers);
}

export function conv(options: ConvOptions): Conv {
  return new Conv(parse(convSchema, { type: "conv", ...options }, "conv"));
}

export function relu(options: ReluOptions = {}): Relu {
  return new Relu(parse(reluSchema, { type: "relu", ...options }, "relu"));
}

export function dense(options: DenseOptions = {}): Dense {
  return new Dense(parse(denseSchema, { type: "dense", ...options }, "dense"));
}

export function flatten(): Flatten {
  return new Flatten();
}

const serialSchema = z.strictObject({ type: z.literal("serial"), layers: z.array(z.unknown()).min(1) });

/** From an object's JSON form to a layer, by its `type`. `path` names the place for messages. */
const readers: Readonly<Record<string, (json: unknown, path: string) => Layer>> = {
  serial: (json, path) =>
    new Serial(
      parse(serialSchema, json, path).layers.map((layer, index) => readLayer(layer, `${path}.layers[${index}]`)),
    ),
  conv: (json, path) => new Conv(parse(convSchema, json, path)),
  relu: (json, path) => new Relu(parse(reluSchema, json, path)),
  dense: (json, path) => new Dense(parse(denseSchema, json, path)),
  flatten: (json, path) => {
    parse(flattenSchema, json, path);
    return new Flatten();
  },
};

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

function parse<S extends z.ZodType>(schema: S, value: unknown, path: string): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const lines = result.error.issues.map((issue) => [[path, ...issue.path].join("."), issue.message].join(": "));
  throw new WidefieldError("E_CONFIG", lines.join("\n"), { details: { path } });
}

/** An architecture from its JSON form (an object, or text). Throws E_CONFIG, naming the layer and the field. */
export function archFromJson(json: unknown): Arch {
  if (typeof json !== "string") return readLayer(json, "architecture");
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch (cause) {
    throw new WidefieldError("E_CONFIG", `the architecture is not JSON: ${messageOf(cause)}`, { cause });
  }
  return readLayer(parsed, "architecture");
}

/** The JSON form, with every default written out: equal architectures have equal JSON. */
export function archToJson(arch: Arch): LayerJson {
  return arch.toJSON();
}

/**
 * The covariance program of an architecture on inputs of a shape: [channels, height, width] or [features].
 * Throws E_SHAPE, naming the layer that does not fit.
 */
export function compile(arch: Arch, input: Shape): Program {
  if (!input.every((size) => Number.isSafeInteger(size) && size > 0))
    throw new WidefieldError("E_SHAPE", `inputs have a shape of positive whole numbers, not ${formatShape(input)}`);
  arch.shape(input);
  const [channels, height, width] = isImage(input) ? input : [input[0], 1, 1];
  const program = new ProgramBuilder(channels, height, width);
  arch.covariance(program, input);
  return program.finish();
}
