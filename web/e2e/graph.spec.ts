import { expect } from "@playwright/test";
import { load, test } from "./support.ts";

test("dispatches are drawn, measured and told by keyboard", async ({ page }) => {
  await page.getByRole("tab", { name: "Graph" }).click();
  await expect(page.getByRole("heading", { name: "What the GPU is given" })).toBeVisible();
  await load(page, /babble/);
  await expect(page.getByText("7 dispatches · 7 kernels")).toBeVisible();
  await expect(page.locator(".step")).toHaveCount(7);
  await expect(page.locator(".edges path")).toHaveCount(8);

  await page.getByRole("button", { name: "Measure a step" }).click();
  await expect(page.getByRole("heading", { name: "Time by kernel" })).toBeVisible();
  const bars = page.locator(".bars .bar");
  await expect(bars).toHaveCount(7);
  for (const bar of await bars.all()) await expect(bar).toContainText(/[\d.]+ (µs|ms) · [\d.]+ %/);

  const step = page.getByRole("button", { name: /linear_q4gsw · down/ });
  await step.focus();
  await page.keyboard.press("Enter");
  await expect(step).toHaveAttribute("aria-pressed", "true");
  const details = page.locator(".details");
  await expect(details).toContainText("Dispatch 5: linear_q4gsw · down");
  await expect(details).toContainText("down.weight, down.scales");
  await expect(details).toContainText("dispatch 4, dispatch 3");
  await page.keyboard.press("Enter");
  await expect(details).toBeEmpty();
});

test("an image model has its graph, too", async ({ page }) => {
  await load(page, /colours/);
  await page.getByRole("tab", { name: "Graph" }).click();
  await expect(page.getByText("float32 [1, 3, 64, 64]")).toBeVisible();
  await page.getByRole("button", { name: "Measure a step" }).click();
  await expect(page.getByText("A step takes the GPU")).toBeVisible();
});
