import { test } from "@playwright/test";

test("look", async ({ page }) => {
  page.on("console", (m) => console.log("console:", m.type(), m.text()));
  page.on("pageerror", (e) => console.log("pageerror", e.message));
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.goto("/");
  await page.waitForTimeout(4000);
  await page.screenshot({ path: "test-results/look-1.png" });
  await page.getByRole("button", { name: /babble/ }).click();
  await page.waitForTimeout(3000);
  await page.screenshot({ path: "test-results/look-2.png" });
  await page.getByRole("button", { name: /Load the model/ }).click();
  await page.waitForTimeout(6000);
  await page.screenshot({ path: "test-results/look-3.png" });
  await page.getByLabel("Message").fill("abcd efg");
  await page.keyboard.press("Enter");
  await page.waitForTimeout(3000);
  await page.screenshot({ path: "test-results/look-4.png" });
  await page.getByRole("tab", { name: "Graph" }).click();
  await page.waitForTimeout(2000);
  await page.getByRole("button", { name: "Measure a step" }).click();
  await page.waitForTimeout(5000);
  await page.screenshot({ path: "test-results/look-5.png" });
});
