/** ExecuTorch's own kernels on the CPU, beside what they and eager PyTorch give (tests/python/web). */
import { afterAll, expect, test } from "vitest";
import { KERNELS } from "../src/cpu/kernels.ts";
import { recordings } from "./cases/folder.ts";
import { disagreements, program } from "./cases/replay.ts";
import { loadCore, openGpu, path } from "./support.ts";

const core = await loadCore();
const gpu = await openGpu();
afterAll(() => gpu.device.destroy());

const kernelOf = (name: string): string => name.replace(/ #\d+$/, "");
const cases = [...recordings(process.env.ETWEBGPU_CASES ?? path("build/cases"), "kernels")].flatMap(
  ({ cases, binary }) => cases.map((form) => ({ form, binary })),
);
const recorded = new Map<string, typeof cases>();
for (const one of cases) {
  const kernel = kernelOf(one.form.name);
  recorded.set(kernel, [...(recorded.get(kernel) ?? []), one]);
}

test.each([...recorded.keys()])("%s", async (kernel) => {
  const found: string[] = [];
  for (const { form, binary } of recorded.get(kernel)!)
    for (const line of await disagreements(core, gpu, form, binary, program))
      found.push(`${form.name}: ${line}`);
  expect(found).toEqual([]);
});

test("each kernel is met", () => {
  expect([...KERNELS.keys()].filter((kernel) => !recorded.has(kernel))).toEqual([]);
});
