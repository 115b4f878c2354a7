/** The operators' recorded cases through the executor: all, or a share of them (ETWEBGPU_TEST_SHARE). */
import { afterAll, expect, test } from "vitest";
import { recordings } from "./cases/folder.ts";
import { disagreements, foreign } from "./cases/replay.ts";
import { loadCore, openGpu, path } from "./support.ts";

const core = await loadCore();
const gpu = await openGpu();
afterAll(() => gpu.device.destroy());

const every = Math.round(1 / Number(process.env.ETWEBGPU_TEST_SHARE ?? 1));

for (const { cases, binary } of recordings(process.env.ETWEBGPU_CASES ?? path("build/cases")))
  for (const form of cases.filter((_, i) => i % every === 0))
    test.skipIf(foreign(form, gpu) !== undefined)(form.name, async () => {
      expect(await disagreements(core, gpu, form, binary)).toEqual([]);
    });
