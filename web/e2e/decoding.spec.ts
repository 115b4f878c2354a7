/** SmolLM2 in a browser decodes what it decodes natively. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { expect, test } from "@playwright/test";
import type { NativeRun } from "./decoding/page.ts";
import { PYTHON } from "./paths.ts";
import { type SourceServer, sourceServer } from "./support.ts";

test.setTimeout(1_200_000); // 200 steps on a software adapter

const folder = resolve("test-results/native");
let run: NativeRun;
let server: SourceServer;
test.beforeAll(async () => {
  execFileSync(PYTHON, ["e2e/native_run.py", folder], { stdio: ["ignore", "ignore", "inherit"] });
  run = JSON.parse(readFileSync(`${folder}/run.json`, "utf8"));
  server = await sourceServer(folder, dirname(run.program));
});
test.afterAll(() => server.close());

const GREEDY = 64;
const TOLERANCE = 2e-3;

test("greedy tokens, and those after the native run's own, are the native run's", async ({ page }) => {
  await page.goto(server.page("decoding"));
  await page.waitForFunction(() => window.compare !== undefined);
  const compared = await page.evaluate(
    ([wasm, program, native, logits, greedy]) => window.compare(wasm, program, native, logits, greedy),
    [server.core, server.file(run.program), run, server.file(`${folder}/logits.bin`), GREEDY] as const,
  );
  console.log(
    `${compared.adapter}: logits of magnitudes up to ${compared.largest} differ by`,
    `${compared.differences.map((difference) => difference.toExponential(1)).join(", ")} at steps ${run.kept.join(", ")}`,
  );
  expect(compared.greedy).toEqual(run.tokens.slice(0, GREEDY));
  expect(compared.forced).toEqual(run.tokens);
  for (const difference of compared.differences) expect(difference).toBeLessThan(TOLERANCE);
  expect(compared.differences).toHaveLength(run.kept.length);
});
