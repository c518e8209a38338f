/** The command line that repeats a run, for reports and manifests. */

/** What was typed after the program's name, quoted where a POSIX shell would take it apart. */
export function commandLine(words: readonly string[] = process.argv.slice(2)): string {
  return ["widefield", ...words.map(quoted)].join(" ");
}

/** Left bare: what no shell gives a meaning to. "~" and "=" are fine within a word. */
function quoted(word: string): string {
  if (/^[\w@%+:,./-][\w@%+=:,./~-]*$/.test(word)) return word;
  return `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
