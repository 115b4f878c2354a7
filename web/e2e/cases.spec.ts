/** A part of the operators' recorded cases in a browser. */
import { resolve } from "node:path";
import { expect, test } from "@playwright/test";
import { createServer, type ViteDevServer } from "vite";
import { indices } from "../test/cases/folder.ts";

const root = resolve(import.meta.dirname, "../..");
const folder = resolve(process.env.ETWEBGPU_CASES ?? `${root}/build/cases`);
const share = Number(process.env.ETWEBGPU_TEST_SCALE ?? 0.1);

let server: ViteDevServer;
test.beforeAll(async () => {
  server = await createServer({
    root: `${root}/web`,
    configFile: false,
    logLevel: "warn",
    server: { port: 0, fs: { allow: [root, folder] } },
  });
  await server.listen();
});
test.afterAll(() => server.close());

for (const index of indices(folder))
  test(index, async ({ page }) => {
    test.setTimeout(600_000);
    await page.goto(`${server.resolvedUrls?.local[0]}e2e/cases/index.html`);
    await page.waitForFunction(() => window.replay !== undefined);
    const { adapter, cases, leftOut, lines } = await page.evaluate(
      ([wasm, url, every]) => window.replay(wasm, url, every),
      [`/@fs${root}/build/wasm/etwebgpu.wasm`, `/@fs${index}`, Math.round(1 / share)] as const,
    );
    console.log(`${cases} cases on ${adapter}, ${leftOut} left out`);
    expect(lines).toEqual([]);
    expect(cases).toBeGreaterThan(0);
  });
