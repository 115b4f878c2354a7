/**
 * Operators, SmolLM2 and the page in the Firefox that Debian has (`npm run firefox`), on lavapipe. Playwright drives a
 * Firefox of its own only; this one answers to WebDriver BiDi, and has WebGPU behind a setting on Linux.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import puppeteer, { type Browser, type Page } from "puppeteer-core";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { indices } from "../../test/cases/folder.ts";
import type { NativeRun } from "../decoding/page.ts";
import { PYTHON, REPOSITORY } from "../paths.ts";
import { type SourceServer, sourceServer } from "../support.ts";
import { type PageServer, servePage } from "./serve.ts";

const RESULTS = resolve("test-results/firefox");
const CASES = resolve(process.env.ETWEBGPU_CASES ?? `${REPOSITORY}/build/cases`);
const SHARE = Number(process.env.ETWEBGPU_TEST_SCALE ?? 0.1);

let browser: Browser;
let page: Page;
let wrong: string[];

beforeAll(async () => {
  mkdirSync(RESULTS, { recursive: true });
  browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
    extraPrefsFirefox: { "dom.webgpu.enabled": true, "gfx.webgpu.ignore-blocklist": true },
    protocolTimeout: 1_200_000,
  });
  console.log(await browser.version());
});
afterAll(() => browser?.close());

beforeEach(async () => {
  page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 800 });
  wrong = [];
  page.on("pageerror", (error) => wrong.push(String(error)));
  return async () => {
    await page.close();
    expect(wrong).toEqual([]);
  };
});

// --- Sources ---

async function withSources(folders: string[], use: (server: SourceServer) => Promise<void>): Promise<void> {
  const server = await sourceServer(...folders);
  try {
    await use(server);
  } finally {
    await server.close();
  }
}

test.runIf(existsSync(CASES))("operators' recorded cases", () =>
  withSources([CASES], async (server) => {
    for (const index of indices(CASES)) {
      await page.goto(server.page("cases"));
      await page.waitForFunction(() => window.replay !== undefined);
      const { adapter, cases, leftOut, lines } = await page.evaluate(
        (wasm, url, every) => window.replay(wasm, url, every),
        server.core,
        server.file(index),
        Math.round(1 / SHARE),
      );
      console.log(`${cases} cases on ${adapter}, ${leftOut} left out`);
      expect(lines).toEqual([]);
      expect(cases).toBeGreaterThan(0);
    }
  }),
);

// --- The page ---

let served: PageServer;
beforeAll(async () => {
  served = await servePage();
});
afterAll(() => served?.stop());

const button = (name: string) => page.locator(`::-p-aria([name="${name}"][role="button"])`);
const text = (): Promise<string> => page.evaluate(() => document.body.textContent ?? "");
const says = (wanted: RegExp) =>
  page.waitForFunction(
    (source) => new RegExp(source).test(document.body.textContent ?? ""),
    { timeout: 0 },
    wanted.source,
  );

async function load(name: RegExp): Promise<void> {
  await page.goto(served.url);
  const choice = await page.waitForSelector(`::-p-xpath(//button[contains(., "${name.source}")])`);
  await choice?.click();
  await button("Load the model").click();
  await says(/GPU memory/);
}

async function ask(question: string): Promise<string> {
  const before = (await page.$$("article.answer")).length;
  await page.locator("textarea").fill(question);
  await page.keyboard.press("Enter");
  await page.waitForFunction(
    (count) => document.querySelectorAll("article.answer:not(.writing)").length > count,
    { timeout: 0 },
    before,
  );
  return page.$$eval("article.answer .text", (answers) => answers.at(-1)?.textContent ?? "");
}

test("a model loads and answers, and a second visit fetches no weights", async () => {
  let fetched = 0;
  page.on("response", (response) => {
    if (response.url().endsWith(".pte")) fetched += Number(response.headers()["content-length"] ?? 0);
  });
  await load(/SmolLM2/);
  expect(await ask("What is the capital of France? Answer in one short sentence.")).toContain("Paris");
  expect(fetched).toBeGreaterThan(80e6);
  fetched = 0;
  await load(/SmolLM2/);
  expect(fetched).toBeLessThan(1e6);
  await page.screenshot({ path: `${RESULTS}/chat-desktop.png` });
  await page.setViewport({ width: 390, height: 844 });
  await page.screenshot({ path: `${RESULTS}/chat-phone.png` });
});

test("an image model sorts pictures", async () => {
  await load(/colours/);
  expect(await text()).toMatch(/colours is loaded/);
});

test("SmolLM2 decodes what it decodes natively", async () => {
  const folder = resolve(RESULTS, "native");
  execFileSync(PYTHON, ["e2e/native_run.py", folder], { stdio: ["ignore", "ignore", "inherit"] });
  const run: NativeRun = JSON.parse(readFileSync(`${folder}/run.json`, "utf8"));
  await withSources([folder, dirname(run.program)], async (server) => {
    await page.goto(server.page("decoding"));
    await page.waitForFunction(() => window.compare !== undefined);
    const compared = await page.evaluate(
      (wasm, program, native, logits, greedy) => window.compare(wasm, program, native, logits, greedy),
      server.core,
      server.file(run.program),
      run,
      server.file(`${folder}/logits.bin`),
      64,
    );
    console.log(`logits differ by ${compared.differences.map((d) => d.toExponential(1)).join(", ")}`);
    expect(compared.greedy).toEqual(run.tokens.slice(0, 64));
    expect(compared.forced).toEqual(run.tokens);
    for (const difference of compared.differences) expect(difference).toBeLessThan(2e-3);
  });
});
