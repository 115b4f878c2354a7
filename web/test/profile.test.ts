import { expect, test } from "vitest";
import { Program, planOf, profile, Tensor } from "../src/index.ts";
import { loadCore, openGpu, sample } from "./support.ts";

const core = await loadCore();
const gpu = await openGpu();
const step = (token: number, position: number) => [
  Tensor.of([token], [1, 1], "int64"),
  Tensor.of([position], [1], "int64"),
];

test("a step's dispatches, their weights and what they wait for", async () => {
  const program = await Program.load(sample("decoder.pte"), { core, gpu });
  const plan = await planOf(program.method("forward"), step(1, 0));
  const table = plan.map(({ call, weights, after }) => [call, weights.join(" "), after.join(" ")]);
  expect(table).toEqual([
    ["et_vk.embedding_q4gsw.default", "embedding.weight embedding.scales", ""],
    ["fused.linear_q4gsw", "norm1 q.weight k.weight v.weight q.scales k.scales v.scales", "0"],
    ["fused.rope_sdpa_q4gsw", "cos sin", "1"],
    ["fused.rope_sdpa_q4gsw", "o.weight o.scales", "2 0"],
    ["fused.linear_q4gsw", "norm2 gate.weight up.weight gate.scales up.scales", "3"],
    ["fused.linear_q4gsw", "down.weight down.scales", "4 3"],
    ["fused.linear_q4gsw", "embedding.weight head.scales", "5"],
  ]);
  expect(plan[0].weightBytes).toBe(2048 + 512);
  program.dispose();
});

test("every dispatch is timed once, and calls work as before", async () => {
  const program = await Program.load(sample("decoder.pte"), { core, gpu });
  const forward = program.method("forward");
  const [before] = await forward.execute(step(3, 0));
  const { milliseconds, kernels } = await profile(forward, step(1, 5));
  expect(milliseconds).toBeGreaterThan(0);
  const plan = await planOf(forward, step(1, 5));
  expect(kernels.flatMap(({ dispatches }) => dispatches).sort()).toEqual([...plan.keys()]);
  for (const { kernel, dispatches } of kernels)
    for (const i of dispatches) expect(plan[i].kernel).toBe(kernel);
  expect(kernels.map((one) => one.milliseconds)).toEqual(
    kernels.map((one) => one.milliseconds).sort((a, b) => b - a),
  );
  const [after] = await forward.execute(step(3, 0));
  expect((after as Tensor).data).toEqual((before as Tensor).data);
  program.dispose();
});
