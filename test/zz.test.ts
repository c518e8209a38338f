import { it } from "vitest";
import { openForTests } from "../sdk/engine/webgpu/testing.ts";
import { runConformance } from "../sdk/engine/conformance/conformance.ts";
it("gpu", async () => {
  const b = await openForTests();
  let t = performance.now();
  await runConformance(b, { rateSeconds: 0.05, onRow: (r) => { console.log(r.kernel.padEnd(18), r.cases, r.maxError.toExponential(2), r.tolerance, r.rate?.toPrecision(4), r.unit, r.ok, r.digest.toString(16), (performance.now()-t).toFixed(0)+"ms", r.ok ? "" : r.worstCase); t = performance.now(); } });
  console.log(b.stats());
  await b.close();
});
