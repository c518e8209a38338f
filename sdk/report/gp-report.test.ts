import { describe, expect, it } from "vitest";
import { renderGpReport, type GpReport } from "./gp-report.ts";

const VOID = new Set(["meta", "br", "img", "hr", "link", "input"]);

/** Throws where an element is not closed, or another one is. A start on HTML that is enough for pages of ours. */
function assertWellFormed(text: string): void {
  const open: string[] = [];
  const withoutText = text.replace(/(<(script|style)\b[^>]*>)[\s\S]*?(<\/\2>)/g, "$1$3");
  for (const [tag, slash, name = "", end] of withoutText.matchAll(
    /<(\/?)([a-zA-Z]\w*)(?:\s+[\w:-]+="[^"<>]*")*\s*(\/?)>/g,
  )) {
    if (slash === "/") {
      if (open.pop() !== name) throw new Error(`${tag} closes another element`);
    } else if (end !== "/" && !VOID.has(name)) open.push(name);
  }
  if (open.length > 0) throw new Error(`not closed: ${open.join(" ")}`);
  const rest = withoutText.replace(/<\/?[a-zA-Z]\w*(?:\s+[\w:-]+="[^"<>]*")*\s*\/?>|<!doctype html>/g, "");
  const stray = /[<>].{0,40}/.exec(rest);
  if (stray !== null) throw new Error(`stray: ${stray[0]}`);
}

function block(text: string, id: string): unknown {
  const [, json = "null"] = new RegExp(`id="${id}">([^<]*)</script>`).exec(text) ?? [];
  return JSON.parse(json);
}

const small: GpReport = {
  title: "ConvNet GP on two classes",
  command: "widefield gp --train 0:3",
  config: { data: "digits", train: "0:3" },
  errors: [
    { split: "train", images: 1234, wrong: 0 },
    { split: "test", images: 40, wrong: 3 },
  ],
  classes: ["cat", "dog"],
  confusion: [
    [17, 1],
    [2, 20],
  ],
  misclassified: [
    { image: new Float32Array(12), shape: { channels: 3, height: 2, width: 2 }, label: 0, predicted: 1, index: 60123 },
  ],
  kernel: { seconds: 5.1234, pairs: 2500500, pairsPerSecond: 488054 },
  solve: { seconds: 0.0512, gflops: 31.27, jitter: 1e-9, n: 1234 },
  environment: { backend: "wasm", threads: 2 },
  manifest: { seed: 7, nested: { list: [1, 2] } },
};

const hostile = `</script><script>alert(1)</script><img src=x onerror="alert(2)"> & 'x' https://example.org`;

describe("the report of a run", () => {
  it("shows its numbers", async () => {
    const text = await renderGpReport(small);
    assertWellFormed(text);
    const shown = ["7.50 % error on 40 test images", "1,234", "2,500,500", "488,054", "31.3", "1e-9", "no. 60123"];
    for (const number of shown) expect(text.replace(/\s+/g, " ")).toContain(number);
    // Wilson's interval: where (p - 3 / 40)^2 = z^2 p (1 - p) / 40, and the same for none in 1234.
    expect(text).toContain("2.58 to 19.86 %");
    expect(text).toContain("0.00 to 0.31 %");
    expect(block(text, "manifest")).toEqual(small.manifest);
  });

  it("is one file: nothing in it is fetched from elsewhere", async () => {
    const text = await renderGpReport(small);
    expect(text).not.toMatch(/https?:|url\((?!#)|@import|<link|<iframe|<script(?! type="application\/json")/);
    for (const [, source] of text.matchAll(/(?:src|href)="([^"]*)"/g))
      expect(source).toMatch(/^data:image\/png;base64,/);
  });

  it("carries each figure's Vega-Lite specification with its data", async () => {
    const text = await renderGpReport({ ...small, calibration: [{ confidence: 0.8, accuracy: 0.75, count: 40 }] });
    for (const id of ["confusion", "class-errors", "calibration"]) {
      expect(text).toContain(`<figure id="${id}"`);
      expect(block(text, `${id}-vega-lite`)).toHaveProperty("layer");
    }
    const { data } = block(text, "confusion-vega-lite") as { data: { values: { count: number }[] } };
    expect(data.values.map(({ count }) => count)).toEqual(small.confusion.flat());
    expect(await renderGpReport(small)).not.toContain('id="calibration"');
  });

  it("keeps hostile names as text wherever they stand", async () => {
    const data: GpReport = {
      ...small,
      title: hostile,
      command: hostile,
      classes: [hostile, "]]>"],
      config: { [hostile]: hostile, nested: { [hostile]: [hostile] } },
      environment: { adapter: hostile },
      manifest: { [hostile]: hostile },
    };
    const text = await renderGpReport(data);
    assertWellFormed(text);
    expect(text).not.toContain("<script>alert");
    expect(text).not.toContain("<img src=x");
    expect(block(text, "manifest")).toEqual(data.manifest);
  });

  it("is the same text for the same data, every id in it its own", async () => {
    const text = await renderGpReport(small);
    expect(text).toBe(await renderGpReport(structuredClone(small)));
    const ids = [...text.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [, id] of text.matchAll(/url\(#([^)]*)\)/g)) expect(ids).toContain(id);
  });

  it("draws a hundred classes without numbers, and one class, and a run without errors", async () => {
    const classes = Array.from({ length: 100 }, (_, c) => `class ${c}`);
    const confusion = classes.map((_, i) => classes.map((__, j) => (i === j ? 10 : 0)));
    assertWellFormed(await renderGpReport({ ...small, classes, confusion, misclassified: [] }));
    assertWellFormed(
      await renderGpReport({ ...small, classes: ["one"], confusion: [[0]], misclassified: [], errors: [] }),
    );
  });

  it("refuses classes, a confusion matrix and images that do not fit each other", async () => {
    await expect(renderGpReport({ ...small, classes: ["cat", "cat"] })).rejects.toThrow("classes of different names");
    await expect(renderGpReport({ ...small, confusion: [[1, 2]] })).rejects.toThrow("1 x 2 does not fit 2 classes");
    const misclassified = small.misclassified.map((one) => ({ ...one, predicted: 2 }));
    await expect(renderGpReport({ ...small, misclassified })).rejects.toThrow("image 60123: class 0 or 2");
  });
});
