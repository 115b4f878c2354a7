/** A part of the operators' recorded cases in a browser. */
import { resolve } from "node:path";
import { expect, test } from "@playwright/test";
import { indices } from "../test/cases/folder.ts";
import { REPOSITORY } from "./paths.ts";
import { type SourceServer, sourceServer } from "./support.ts";

const folder = resolve(process.env.ETWEBGPU_CASES ?? `${REPOSITORY}/build/cases`);
const share = Number(process.env.ETWEBGPU_TEST_SCALE ?? 0.1);

let server: SourceServer;
test.beforeAll(async () => {
  server = await sourceServer(folder);
});
test.afterAll(() => server.close());

const all = [...indices(folder), ...indices(folder, "kernels"), ...indices(folder, "programs")];
for (const index of all)
  test(index, async ({ page }) => {
    test.setTimeout(600_000);
    await page.goto(server.page("cases"));
    await page.waitForFunction(() => window.replay !== undefined);
    const { adapter, cases, leftOut, lines } = await page.evaluate(
      ([wasm, url, every]) => window.replay(wasm, url, every),
      [
        server.core,
        server.file(index),
        /programs-\d+\.json$/.test(index) ? 1 : Math.round(1 / share),
      ] as const,
    );
    console.log(`${cases} cases on ${adapter}, ${leftOut} left out`);
    expect(lines).toEqual([]);
    expect(cases).toBeGreaterThan(0);
  });
