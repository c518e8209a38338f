/**
 * A line-oriented preprocessor for our WGSL, for the one thing WGSL cannot say: an array in registers. A line of
 * pixels that a lane keeps in registers is a family of variables `r0, r1, ...`, and the code on it is unrolled here,
 * from the same constants that the shader sees as `const`.
 *
 *     //# for i in 0 .. LINE        repeats the lines up to its `//# end` for i = 0, 1, ..., LINE - 1
 *     //# for i in LINE downto 0    the same for i = LINE - 1, ..., 1, 0
 *     //# if i % BOX == 0           keeps or drops lines; `//# elseif`, `//# else` and `//# end` as usual
 *     //# include NAME              the text of shaders/NAME.wgsl
 *     r$i  s$(i + 1)                a loop variable or a constant; an integer expression
 *
 * Expressions are integers with + - * / % comparisons && || ! and parentheses; a comparison is 1 or 0, `/` truncates.
 * Comment lines are left as they are.
 */

type Values = Readonly<Record<string, number>>;

export class PreprocessError extends Error {
  override readonly name = "PreprocessError";
}

type Node =
  | { readonly kind: "text"; readonly line: string }
  | {
      readonly kind: "for";
      readonly name: string;
      readonly low: string;
      readonly high: string;
      readonly down: boolean;
      readonly body: Node[];
    }
  | { readonly kind: "if"; readonly condition: string; readonly body: Node[]; readonly otherwise: Node[] };

/** Expands `source`; `include` gives the text of an included file. Throws PreprocessError with the line at fault. */
export function preprocess(source: string, constants: Values, include: (name: string) => string): string {
  const output: string[] = [];
  emit(parse(source, include), constants, output);
  return output.join("\n");
}

function parse(source: string, include: (name: string) => string): Node[] {
  const root: Node[] = [];
  const open: { node: Extract<Node, { body: Node[] }>; into: Node[] }[] = [];
  const into = (): Node[] => open.at(-1)?.into ?? root;
  for (const line of source.split("\n")) {
    const directive = /^\s*\/\/#\s*(\w+)\s*(.*?)\s*$/.exec(line);
    if (directive === null) {
      into().push({ kind: "text", line });
      continue;
    }
    const [, word, rest = ""] = directive;
    const loop = /^(\w+) in (.+?) (\.\.|downto) (.+)$/.exec(rest);
    if (word === "for" && loop !== null) {
      const [, name = "", first = "", direction, second = ""] = loop;
      const down = direction === "downto";
      const node = { kind: "for", name, low: down ? second : first, high: down ? first : second, down } as const;
      const body: Node[] = [];
      into().push({ ...node, body });
      open.push({ node: { ...node, body }, into: body });
    } else if (word === "if") {
      const node: Node = { kind: "if", condition: rest, body: [], otherwise: [] };
      into().push(node);
      open.push({ node, into: node.body });
    } else if ((word === "else" || word === "elseif") && open.at(-1)?.node.kind === "if") {
      const { node } = open.pop() ?? {};
      if (node?.kind !== "if") continue;
      if (word === "else") {
        open.push({ node, into: node.otherwise });
      } else {
        const next: Node = { kind: "if", condition: rest, body: [], otherwise: [] };
        node.otherwise.push(next);
        open.push({ node: next, into: next.body });
      }
    } else if (word === "end" && open.length > 0) {
      open.pop();
    } else if (word === "include") {
      into().push(...parse(include(rest), include));
    } else {
      throw new PreprocessError(`cannot understand "${line.trim()}"`);
    }
  }
  if (open.length > 0) throw new PreprocessError(`"//# ${open.at(-1)?.node.kind ?? ""}" without "//# end"`);
  return root;
}

function emit(nodes: readonly Node[], values: Values, output: string[]): void {
  for (const node of nodes) {
    if (node.kind === "text") {
      output.push(substitute(node.line, values));
    } else if (node.kind === "if") {
      emit(evaluate(node.condition, values) === 0 ? node.otherwise : node.body, values, output);
    } else {
      const low = evaluate(node.low, values);
      const high = evaluate(node.high, values);
      for (let turn = low; turn < high; turn++) {
        const value = node.down ? high - 1 - (turn - low) : turn;
        emit(node.body, { ...values, [node.name]: value }, output);
      }
    }
  }
}

function substitute(line: string, values: Values): string {
  if (!line.includes("$") || /^\s*\/\//.test(line)) return line;
  return line.replace(/\$(\w+)|\$\(([^()]*(?:\([^()]*\)[^()]*)*)\)/g, (_, name?: string, expression?: string) =>
    String(evaluate(name ?? expression ?? "", values)),
  );
}

/** Binary operators, loosest first. */
const LEVELS: readonly Readonly<Record<string, (a: number, b: number) => number>>[] = [
  { "||": (a, b) => Number(a !== 0 || b !== 0) },
  { "&&": (a, b) => Number(a !== 0 && b !== 0) },
  {
    "==": (a, b) => Number(a === b),
    "!=": (a, b) => Number(a !== b),
    "<=": (a, b) => Number(a <= b),
    ">=": (a, b) => Number(a >= b),
    "<": (a, b) => Number(a < b),
    ">": (a, b) => Number(a > b),
  },
  { "+": (a, b) => a + b, "-": (a, b) => a - b },
  { "*": (a, b) => a * b, "/": (a, b) => Math.trunc(a / b), "%": (a, b) => a % b },
];

function evaluate(expression: string, values: Values): number {
  const tokens = expression.match(/\w+|\|\||&&|[=!<>]=|\S/g) ?? [];
  let at = 0;
  const fail = (): never => {
    throw new PreprocessError(
      `cannot evaluate "${expression}"${at < tokens.length ? ` at "${tokens[at] ?? ""}"` : ""}`,
    );
  };
  const operand = (): number => {
    const token = tokens[at++] ?? fail();
    if (token === "-") return -operand();
    if (token === "!") return Number(operand() === 0);
    if (token === "(") {
      const value = level(0);
      return tokens[at++] === ")" ? value : fail();
    }
    if (/^\d+$/.test(token)) return Number(token);
    return Object.hasOwn(values, token) ? (values[token] ?? fail()) : fail();
  };
  const level = (depth: number): number => {
    const operators = LEVELS[depth];
    if (operators === undefined) return operand();
    let value = level(depth + 1);
    for (;;) {
      const token = tokens[at];
      if (token === undefined || !Object.hasOwn(operators, token)) return value;
      at++;
      value = operators[token]?.(value, level(depth + 1)) ?? fail();
    }
  };
  const value = level(0);
  return at === tokens.length && Number.isInteger(value) ? value : fail();
}
