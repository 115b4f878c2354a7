/**
 * Replays recorded cases on this machine's adapter, in Node with the package `webgpu`. The exit status is 0 if
 * all agree.
 *
 *     pytest tests/python/ops --record DIR          # where there is PyTorch
 *     node web/test/replay_cases.ts DIR             # on any machine with build/wasm/etwebgpu.wasm
 */
import { parseArgs } from "node:util";
import { create } from "webgpu";
import type { Capabilities } from "../src/forms.ts";
import { recordings } from "./cases/folder.ts";
import { disagreements, foreign } from "./cases/replay.ts";
import { loadCore, openGpu, openPortableGpu } from "./support.ts";

const USAGE = `node replay_cases.ts DIR
  --only TEXT        cases with this in their names
  --share 0.1        one in ten
  --class discrete   the kernels of another class of adapter
  --portable         WebGPU's least limits and no optional feature
  --matrices         what Dawn hides from pages: matrix units, and f16 on Nvidia's GPUs`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: "string", default: "" },
    share: { type: "string", default: "1" },
    class: { type: "string" },
    portable: { type: "boolean", default: false },
    matrices: { type: "boolean", default: false },
  },
});
if (positionals.length !== 1) {
  console.error(USAGE);
  process.exit(2);
}

const every = Math.max(1, Math.round(1 / Number(values.share)));
const core = await loadCore();
const gpu = await (values.portable ? openPortableGpu : openGpu)({
  ...(values.matrices && {
    entry: create(["enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia"]),
  }),
  ...(values.class && { capabilities: { adapter_class: values.class as Capabilities["adapter_class"] } }),
});
console.log(`${gpu.name}, taken for ${gpu.capabilities.adapter_class}`);

const started = performance.now();
const wrong = new Set<string>();
const left = new Map<string, number>();
let seen = 0;
let cases = 0;
let calls = 0;
for (const { cases: forms, binary } of recordings(positionals[0])) {
  for (const form of forms) {
    if (!form.name.includes(values.only) || seen++ % every !== 0) continue;
    const why = foreign(form, gpu);
    if (why !== undefined) {
      left.set(why, (left.get(why) ?? 0) + 1);
      continue;
    }
    for (const line of await disagreements(core, gpu, form, binary)) {
      console.log(`${form.name}: ${line}`);
      wrong.add(form.name);
    }
    ++cases;
    calls += form.calls.length;
  }
}
for (const [why, count] of left) console.log(`${count} cases left out: each ${why}`);
const seconds = ((performance.now() - started) / 1000).toFixed(1);
console.log(
  `${cases} cases, ${calls} calls in ${seconds} s: ${wrong.size === 0 ? "all agree" : `${wrong.size} disagree`}`,
);
process.exit(wrong.size === 0 && cases > 0 ? 0 : 1);
