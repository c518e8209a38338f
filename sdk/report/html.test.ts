import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { escapeHtml, facts, html, jsonBlock, page } from "./html.ts";

const unescape = (text: string) =>
  text
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&#39;", "'")
    .replaceAll("&amp;", "&");

describe("html", () => {
  it("lets no value open a tag or leave a quoted attribute, and loses nothing of it", () => {
    const graphic = fc.string({ unit: "grapheme" });
    fc.assert(
      fc.property(graphic, graphic, (attribute, content) => {
        const [, inAttribute = "", inContent = ""] =
          /^<p title="([^"<>]*)">([^<>]*)<\/p>$/.exec(html`<p title="${attribute}">${content}</p>`.text) ?? [];
        const printable = (text: string) => !/[^\P{Cc}\t\n\r]/u.test(text);
        fc.pre(printable(attribute) && printable(content));
        expect(unescape(inAttribute)).toBe(attribute);
        expect(unescape(inContent)).toBe(content);
      }),
    );
  });

  it("replaces what no document may hold: control characters and halves of surrogate pairs", () => {
    expect(escapeHtml("a\u0000b\u001b[31m\ud800c\n\u{1f600}")).toBe("a\ufffdb\ufffd[31m\ufffdc\n\u{1f600}");
  });

  it("keeps its own markup, joins lists and drops undefined", () => {
    expect(html`<b>${[html`<i>x</i>`, "<y>", 3, undefined]}</b>`.text).toBe("<b><i>x</i>&lt;y&gt;3</b>");
  });
});

describe("a JSON block", () => {
  it("reads back as what was written, and cannot close its element", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom("", "</script>", "<!--<script>"), (value, hostile) => {
        const text = jsonBlock("block", { value, hostile }).text;
        const [, json = ""] = /^<script type="application\/json" id="block">([^<]*)<\/script>$/.exec(text) ?? [];
        expect(JSON.parse(json)).toEqual(JSON.parse(JSON.stringify({ value, hostile })));
      }),
    );
  });
});

describe("facts", () => {
  it("leaves out what is undefined, and shows objects as JSON", () => {
    const { text } = facts({ seed: 0, none: undefined, shared: true, features: ["a", "b"], arch: { filter: [3, 5] } });
    expect(text).not.toContain("none");
    for (const shown of ["<td>0</td>", "<td>yes</td>", "<td>a, b</td>", "{&quot;filter&quot;:[3,5]}"])
      expect(text).toContain(shown);
  });
});

describe("a page", () => {
  it("forbids the browser to fetch anything", () => {
    expect(page("t", "b")).toContain(`content="default-src &#39;none&#39;; img-src data:; style-src`);
  });
});
