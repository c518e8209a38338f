/**
 * The page about one run of Gaussian process classification: what was run, how often it errs and where, what it cost,
 * and everything needed to repeat it. One HTML file that fetches nothing.
 */
import type { TopLevelSpec } from "vega-lite";
import type { ImageShape } from "../data/dataset.ts";
import { WidefieldError } from "../errors.ts";
import { type CalibrationBin, calibrationError } from "./calibration.ts";
import { calibrationSpec, classErrorSpec, confusionSpec, renderSvg } from "./charts.ts";
import { facts, html, jsonBlock, page, table, type Markup } from "./html.ts";
import { pngDataUri } from "./png.ts";

export interface SplitErrors {
  /** "train", "validation", "test". */
  readonly split: string;
  readonly images: number;
  /** Of them, classified wrongly. */
  readonly wrong: number;
}

export interface MisclassifiedImage {
  /** [channels, height, width] */
  readonly image: Float32Array;
  readonly shape: ImageShape;
  /** True and predicted class, in 0..classes-1. */
  readonly label: number;
  readonly predicted: number;
  /** Where the image stands in its data set. */
  readonly index: number;
}

export interface GpReport {
  readonly title: string;
  /** The command line that repeats the run. */
  readonly command?: string | undefined;
  /** What was asked for: data, architecture, ranges, precision, ... Objects are shown as JSON, undefined is left out. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly errors: readonly SplitErrors[];
  /** Names of the classes, all different. */
  readonly classes: readonly string[];
  /** Of the last split in `errors`: confusion[true class][predicted class], in images. */
  readonly confusion: readonly (readonly number[])[];
  /** Of the last split in `errors`; the first 48 are shown. */
  readonly misclassified: readonly MisclassifiedImage[];
  readonly kernel: { readonly seconds: number; readonly pairs: number; readonly pairsPerSecond: number };
  readonly solve: {
    readonly seconds: number;
    readonly gflops: number;
    /** What was added to the diagonal, relative to its mean, and in the kernel's units. */
    readonly jitter: number;
    readonly lambda?: number | undefined;
    /** How the system was solved, and why so. */
    readonly solver?: string | undefined;
    readonly reason?: string | undefined;
    /** Of conjugate gradients. */
    readonly iterations?: number | undefined;
    readonly relativeResidual?: number | undefined;
    /** Rows of the matrix that was factored. */
    readonly n?: number | undefined;
  };
  /** What else the model says: marginal likelihood, temperature, calibration, variances. Undefined is left out. */
  readonly model?: Readonly<Record<string, unknown>> | undefined;
  /** Where it ran: backend, adapter, threads, versions, seed, date, ... */
  readonly environment: Readonly<Record<string, unknown>>;
  /** JSON; shown as it is. */
  readonly manifest: unknown;
  /** Of the last split's scores, where they were computed: see `calibrationBins`. */
  readonly calibration?: readonly CalibrationBin[] | undefined;
}

const IMAGES_SHOWN = 48;

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const rounded = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

function percent(wrong: number, images: number): string {
  return images === 0 ? "-" : `${((100 * wrong) / images).toFixed(2)} %`;
}

/** Wilson's score interval at 95 %, in percent: sound for few images and for no errors, where the normal one is not. */
function interval(wrong: number, images: number): string {
  if (images === 0) return "-";
  const z = 1.959964;
  const share = wrong / images;
  const centre = (share + (z * z) / (2 * images)) / (1 + (z * z) / images);
  const half = (z * Math.sqrt((share * (1 - share)) / images + (z / (2 * images)) ** 2)) / (1 + (z * z) / images);
  return `${(100 * Math.max(0, centre - half)).toFixed(2)} to ${(100 * Math.min(1, centre + half)).toFixed(2)} %`;
}

function check({ classes, confusion, misclassified }: GpReport): void {
  if (new Set(classes).size !== classes.length || classes.length === 0) {
    throw new WidefieldError("E_CONFIG", `a report needs classes of different names, not ${JSON.stringify(classes)}`);
  }
  const square = confusion.length === classes.length && confusion.every((row) => row.length === classes.length);
  if (!square) {
    throw new WidefieldError(
      "E_SHAPE",
      `a confusion matrix of ${confusion.length} x ${confusion[0]?.length ?? 0} does not fit ${classes.length} classes`,
    );
  }
  for (const { label, predicted, index } of misclassified) {
    if (classes[label] === undefined || classes[predicted] === undefined) {
      throw new WidefieldError(
        "E_RANGE",
        `image ${index}: class ${label} or ${predicted} is not one of ${classes.length}`,
      );
    }
  }
}

async function figure(id: string, spec: TopLevelSpec, caption: string): Promise<Markup> {
  return html`<figure id="${id}" role="img" aria-label="${caption}">
    ${await renderSvg(spec, id)}
    <figcaption>${caption}</figcaption>
    ${jsonBlock(`${id}-vega-lite`, spec)}
  </figure>`;
}

function errorTable(errors: readonly SplitErrors[]): Markup {
  return table(
    [
      { title: "images of" },
      { title: "number", number: true },
      { title: "wrong", number: true },
      { title: "error", number: true },
      { title: "95 % interval", number: true },
    ],
    errors.map(({ split, images, wrong }) => [
      split,
      grouped.format(images),
      grouped.format(wrong),
      percent(wrong, images),
      interval(wrong, images),
    ]),
  );
}

async function figures({ classes, confusion, calibration }: GpReport): Promise<Markup> {
  const drawn = [
    await figure(
      "confusion",
      confusionSpec(confusion, classes),
      "Confusion matrix, in images. Blue cells are right; the redder a cell, the larger the share of its true class that was taken for another.",
    ),
    await figure("class-errors", classErrorSpec(confusion, classes), "Error rate of each class."),
  ];
  if (calibration !== undefined) {
    const error = `${(100 * calibrationError(calibration)).toFixed(1)} points`;
    const caption = `Calibration: scores that can be believed lie on the dashed line. Mean distance from it: ${error}.`;
    drawn.push(await figure("calibration", calibrationSpec(calibration), caption));
  }
  return html`<div class="figures">${drawn}</div>`;
}

async function imageGrid({ misclassified, classes }: GpReport): Promise<Markup | undefined> {
  if (misclassified.length === 0) return undefined;
  const items = await Promise.all(
    misclassified.slice(0, IMAGES_SHOWN).map(async ({ image, shape, label, predicted, index }) => {
      const [truth, guess] = [classes[label], classes[predicted]];
      return html`<li>
        <img src="${await pngDataUri(image, shape)}" alt="image ${index}, a ${truth} taken for ${guess}" />
        <strong>${truth}</strong> taken for <strong>${guess}</strong> <span class="index">no. ${index}</span>
      </li>`;
    }),
  );
  const count = misclassified.length;
  const intro = count > IMAGES_SHOWN ? html`<p>${IMAGES_SHOWN} of ${grouped.format(count)}.</p>` : undefined;
  return html`<section>
    <h2>Misclassified images</h2>
    ${intro}
    <ul class="images">
      ${items}
    </ul>
  </section>`;
}

function model({ model: values }: GpReport): Markup | undefined {
  if (values === undefined) return undefined;
  return html`<section>
    <h2>Model</h2>
    ${facts(values)}
  </section>`;
}

function cost({ kernel, solve }: GpReport): Markup {
  return facts({
    "kernel, seconds": rounded.format(kernel.seconds),
    "kernel, pairs": grouped.format(kernel.pairs),
    "kernel, pairs per second": grouped.format(kernel.pairsPerSecond),
    "solve, rows": solve.n === undefined ? undefined : grouped.format(solve.n),
    "solve, seconds": rounded.format(solve.seconds),
    "solve, method": solve.reason ?? solve.solver,
    "solve, GFLOP/s": solve.gflops > 0 ? rounded.format(solve.gflops) : undefined,
    "solve, iterations": solve.iterations,
    "solve, relative residual": solve.relativeResidual?.toExponential(1),
    "added to the diagonal": solve.lambda === undefined ? undefined : Number(solve.lambda.toPrecision(3)),
    "jitter, relative": solve.jitter === 0 ? "none" : Number(solve.jitter.toPrecision(3)).toExponential(),
  });
}

/**
 * The report as one HTML document. The same data gives the same text.
 *
 * @throws WidefieldError E_CONFIG, E_SHAPE or E_RANGE if classes, confusion matrix and images do not fit each other
 */
export async function renderGpReport(data: GpReport): Promise<string> {
  check(data);
  const { title, command, config, errors, environment, manifest } = data;
  const last = errors.at(-1);
  const lead =
    last === undefined
      ? undefined
      : html`<p class="lead">
          ${percent(last.wrong, last.images)} error on ${grouped.format(last.images)} ${last.split} images.
        </p>`;
  const body = html`<header>
      <h1>${title}</h1>
      ${lead}
    </header>
    <section>
      <h2>Errors</h2>
      ${errorTable(errors)} ${await figures(data)}
    </section>
    ${await imageGrid(data)} ${model(data)}
    <section>
      <h2>Cost</h2>
      ${cost(data)}
    </section>
    <section>
      <h2>Configuration</h2>
      ${command === undefined ? undefined : html`<pre>${command}</pre>`} ${facts(config)}
    </section>
    <section>
      <h2>Environment</h2>
      ${facts(environment)}
    </section>
    <section>
      <h2>Manifest</h2>
      <details>
        <summary>Everything needed to repeat the run, as JSON</summary>
        <pre>${JSON.stringify(manifest, null, 2)}</pre>
      </details>
      ${jsonBlock("manifest", manifest)}
    </section>
    <footer>
      Written by widefield ${WIDEFIELD_VERSION}. This page fetches nothing; each figure carries its data and its
      Vega-Lite specification as JSON.
    </footer>`;
  return page(title, body);
}
