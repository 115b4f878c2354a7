/** The model that `executorch-webgpu serve` offers by itself, as a visitor meets it. */
import { expect } from "@playwright/test";
import { answers, ask, panel, test } from "./support.ts";

// A software adapter takes its time.
test.setTimeout(900_000);
const SOON = { timeout: 400_000 };

test("SmolLM2 loads with progress, answers, streams, stops and answers again", async ({ page }) => {
  let fetched = 0;
  page.on("response", (response) => {
    if (response.url().endsWith(".pte")) fetched += Number(response.headers()["content-length"] ?? 0);
  });
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.getByRole("button", { name: /SmolLM2/ }).click();
  await expect(panel(page)).toContainText("Chat model, 2,048 tokens of context");
  await expect(panel(page)).toContainText(/To fetch\s*\d+ MB/);
  await page.getByRole("button", { name: "Load the model" }).click();
  await expect(panel(page)).toContainText(/Weights: [\d.]+ MB of \d+ MB/);
  await expect(page.getByText("GPU memory")).toBeVisible(SOON);

  // Once more, from what the browser has kept: no weights come over the network.
  expect(fetched).toBeGreaterThan(80e6);
  fetched = 0;
  await page.reload();
  await page.getByRole("button", { name: /SmolLM2/ }).click();
  await expect(panel(page)).toContainText(/Here already\s*\d+ MB/);
  await expect(panel(page)).not.toContainText("To fetch");
  await page.getByRole("button", { name: "Load the model" }).click();
  await expect(page.getByText("GPU memory")).toBeVisible(SOON);
  expect(fetched).toBeLessThan(1e6);

  await ask(page, "What is the capital of France? Answer in one short sentence.");
  const stop = page.getByRole("button", { name: "Stop the answer" });
  await expect(stop).toBeVisible();
  await expect(answers(page)).toHaveCount(1, SOON);
  await expect(answers(page).locator(".text")).toContainText("Paris");
  await expect(stop).toBeHidden();

  await ask(page, "Count from one to fifty in words.");
  const writing = page.locator("article.answer.writing .text");
  await expect(writing).toHaveText(/\S/, SOON);
  const early = (await writing.textContent()) ?? "";
  await expect(writing).not.toHaveText(early, SOON); // it streams
  await page.keyboard.press("Escape");
  await expect(answers(page)).toHaveCount(2, SOON);
  await expect(answers(page).last().locator("footer")).toContainText("stopped");
  const stopped = (await answers(page).last().locator(".text").textContent()) ?? "";
  await page.getByRole("button", { name: "Regenerate" }).click();
  await expect(writing).toContainText(stopped.slice(0, 8), SOON); // greedily, it is the same
  await page.getByRole("button", { name: "Stop the answer" }).click();
  await expect(answers(page)).toHaveCount(2, SOON);
  await page.screenshot({ path: "test-results/screenshots/smollm2-chat-desktop-light.png" });

  await page.getByRole("tab", { name: "Graph" }).click();
  await expect(page.getByText("30 layers like this")).toBeVisible();
  await page.getByRole("button", { name: "Measure a step" }).click();
  await expect(page.getByText("A step takes the GPU")).toBeVisible(SOON);
  await page.screenshot({ path: "test-results/screenshots/smollm2-graph-desktop-light.png" });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: "test-results/screenshots/smollm2-graph-desktop-dark.png" });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.screenshot({ path: "test-results/screenshots/smollm2-graph-phone-dark.png" });
  await page.getByRole("tab", { name: "Chat" }).click();
  await page.screenshot({ path: "test-results/screenshots/smollm2-chat-phone-dark.png" });

  await page.getByRole("button", { name: "SmolLM2-135M-Instruct" }).click();
  await page.getByRole("button", { name: "Choose another" }).click();
  await expect(panel(page)).toContainText(/\d+ MB of models are kept/);
  await page.getByRole("button", { name: "Delete them" }).click();
  await expect(panel(page)).not.toContainText("are kept");
});
