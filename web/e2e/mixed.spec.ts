/** A decoder that is more than one delegate answers in the page what it answers natively. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect } from "@playwright/test";
import { PYTHON, REPOSITORY } from "./paths.ts";
import { answers, ask, drop, panel, test } from "./support.ts";

test.setTimeout(300_000); // the export is made first

const folder = resolve("test-results/mixed");
const file = (name: string) => ({ name, content: readFileSync(`${folder}/${name}`) });
let run: { questions: string[]; answers: string[]; tokens: number };
test.beforeAll(() => {
  const paths = [`${REPOSITORY}/tests/python`, process.env.PYTHONPATH].filter(Boolean).join(":");
  execFileSync(PYTHON, ["e2e/mixed_run.py", folder], {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, PYTHONPATH: paths },
  });
  run = JSON.parse(readFileSync(`${folder}/run.json`, "utf8"));
});

test("a conversation with a cache outside of delegates is the native runtime's", async ({ page }) => {
  await drop(page, ...["mixed.pte", "tokenizer.json", "tokenizer_config.json"].map(file));
  await expect(panel(page)).toContainText("Chat model");
  await expect(panel(page)).toContainText("each step's logits come to the page");
  await page.getByRole("button", { name: "Load the model" }).click();
  await expect(page.getByRole("heading", { name: "Ask mixed" })).toBeVisible();
  await page.getByText("Sampling").click();
  await page.getByLabel("Most tokens").fill(String(run.tokens));
  for (const [i, question] of run.questions.entries()) {
    await ask(page, question);
    await expect(answers(page)).toHaveCount(i + 1);
    await expect(answers(page).nth(i).locator(".text")).toHaveText(run.answers[i]);
    expect(run.answers[i].trim().split(" ")).toHaveLength(run.tokens);
  }

  await page.getByRole("tab", { name: "Graph" }).click();
  await expect(page.getByText("22 steps on the CPU")).toBeVisible();
  await page.getByRole("button", { name: "Measure a step" }).click();
  await expect(page.getByText("A step takes GPU and CPU")).toBeVisible();
  const attention = page.getByRole("button", { name: /custom_quantized_sdpa/ });
  await attention.click();
  await expect(page.locator(".details")).toContainText("none: it runs on the CPU");
});
