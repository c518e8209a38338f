import { open } from "../sdk/index.node.ts";

const engine = await open({ backend: "wasm" });
process.stdout.write(`${JSON.stringify(engine.info)}\n`);
await engine.close();
