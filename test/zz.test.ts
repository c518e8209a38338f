import { it } from "vitest";
import { openWasm, wasmConfigurations } from "./wasm.ts";
import { rows } from "../sdk/engine/conformance/conformance.ts";
import { runCase } from "../sdk/engine/conformance/row.ts";
import { RandomStream } from "../sdk/engine/rng.ts";
it("x", async () => {
  const b = await openWasm({ variant: "threads", threads: 2 });
  for (const row of rows.filter(r => /^(vari|cov|chol)/.test(r.kernel.name))) for (const c of row.cases(new RandomStream(0, "conformance "+row.kernel.name), b)) {
    const o = await runCase(b, c);
    if (!(o.error <= row.tolerance) ) console.log(row.kernel.name, c.name, o.error);
  }
  await b.close();
});
