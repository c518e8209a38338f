/**
 * One session in a process of its own: `child.mjs OPTIONS`, in Node or Deno. Prints the report as one line of JSON
 * and then must end by itself: a thread or a device that is still there would keep it.
 */
import { session } from "./session.mjs";

const widefield = await import(globalThis.Deno === undefined ? "../../dist/index.js" : "../../dist/deno.js");
const conformance = await import("../../dist/conformance.js");
const report = await session(widefield, conformance, JSON.parse(process.argv[2]));
console.log(JSON.stringify(report));
