/**
 * HTML as values: a template tag that escapes everything but markup made by itself, and the page around a report. A
 * page carries all that it shows, and a policy under which a browser would refuse to fetch anything else.
 */

/** Text that is HTML already. Only `html` and code that has checked its text may make it. */
export class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export type Content = Markup | string | number | undefined | readonly Content[];

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Safe between tags and inside quoted attributes. Control characters, which HTML does not allow, become U+FFFD. */
export function escapeHtml(text: string): string {
  return text
    .replace(/[&<>"']/g, (character) => ENTITIES[character] ?? "")
    .replace(/[^\P{Cc}\t\n\r]/gu, "\uFFFD")
    .replace(/\p{Cs}/gu, "\uFFFD");
}

function render(content: Content): string {
  if (content === undefined) return "";
  if (content instanceof Markup) return content.text;
  return typeof content === "object" ? content.map(render).join("") : escapeHtml(String(content));
}

/** html`<td class="${name}">${value}</td>`: values are escaped, lists joined, undefined leaves nothing. */
export function html(strings: TemplateStringsArray, ...values: readonly Content[]): Markup {
  return new Markup(strings.map((text, i) => text + render(values[i])).join(""));
}

/** A block of JSON for programs that read the page; it cannot end the element that it stands in. */
export function jsonBlock(id: string, value: unknown): Markup {
  const json = new Markup(JSON.stringify(value).replaceAll("<", "\\u003c"));
  return html`<script type="application/json" id="${id}">
    ${json}
  </script>`;
}

const STYLE = `
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #1b1f24; font: 16px/1.5 system-ui, "Segoe UI", "Open Sans", Arial, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 0.25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 0.5rem; padding-bottom: 0.25rem; border-bottom: 1px solid #d5dae0; }
p { margin: 0.5rem 0; max-width: 46rem; }
p.lead { font-size: 1.1rem; }
table { border-collapse: collapse; margin: 0.5rem 0; }
th, td { padding: 0.3rem 1.5rem 0.3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e6e9ed; }
thead th { border-bottom: 2px solid #b6bec8; }
th { font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
table.facts th { min-width: 13rem; font-weight: 400; color: #4a535e; }
table.facts td { overflow-wrap: anywhere; }
code, pre { font: 0.85rem/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
pre { background: #f4f6f8; padding: 0.75rem 1rem; margin: 0.5rem 0; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
figure { margin: 1rem 0; }
figure > svg { display: block; max-width: 100%; height: auto; }
figcaption { width: 0; min-width: 100%; font-size: 0.9rem; color: #4a535e; margin-top: 0.5rem; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: flex-start; }
.images { display: grid; grid-template-columns: repeat(auto-fill, minmax(6rem, 1fr)); gap: 1rem; list-style: none; margin: 1rem 0; padding: 0; }
.images li { font-size: 0.8rem; line-height: 1.3; overflow-wrap: anywhere; }
.images img { display: block; width: 5rem; height: 5rem; object-fit: contain; image-rendering: pixelated; border: 1px solid #d5dae0; margin-bottom: 0.25rem; }
.images .index { color: #4a535e; }
summary { cursor: pointer; }
footer { margin-top: 3rem; font-size: 0.85rem; color: #4a535e; }
@media print { main { padding: 0; } section, figure { break-inside: avoid; } }
`;

/** A whole document. */
export function page(title: string, body: Content): string {
  const policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";
  const document = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta http-equiv="Content-Security-Policy" content="${policy}" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title}</title>
        <style>
          ${new Markup(STYLE)}
        </style>
      </head>
      <body>
        <main>${body}</main>
      </body>
    </html> `;
  return `${document.text.trim()}\n`;
}

export interface Column {
  readonly title: string;
  readonly number?: boolean;
}

/** A table with a head; a row's cells stand for the columns in order, the first one naming the row. */
export function table(columns: readonly Column[], rows: readonly (readonly Content[])[]): Markup {
  const kind = (i: number) => (columns[i]?.number === true ? "number" : "text");
  const head = columns.map(({ title }, i) => html`<th scope="col" class="${kind(i)}">${title}</th>`);
  const body = rows.map((cells) => {
    const [name, ...rest] = cells;
    return html`<tr>
      <th scope="row">${name}</th>
      ${rest.map((cell, i) => html`<td class="${kind(i + 1)}">${cell}</td>`)}
    </tr>`;
  });
  return html`<table>
    <thead>
      <tr>
        ${head}
      </tr>
    </thead>
    <tbody>
      ${body}
    </tbody>
  </table>`;
}

/** Names and values, one a line: undefined is left out, objects are JSON, other numbers than whole ones have 6 digits. */
export function facts(values: Readonly<Record<string, unknown>>): Markup {
  const rows = Object.entries(values).flatMap(([name, value]) =>
    value === undefined
      ? []
      : [
          html`<tr>
            <th scope="row">${name}</th>
            <td>${shown(value)}</td>
          </tr>`,
        ],
  );
  return html`<table class="facts">
    <tbody>
      ${rows}
    </tbody>
  </table>`;
}

function shown(value: unknown): Content {
  if (value instanceof Markup || typeof value === "string") return value;
  if (typeof value === "number") return Number.isInteger(value) ? value : Number(value.toPrecision(6));
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value.join(", ");
  return html`<code>${JSON.stringify(value)}</code>`;
}
