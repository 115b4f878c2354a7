import { expect } from "@playwright/test";
import { drop, load, picture, test } from "./support.ts";

test("pictures are named, dropped one after the other", async ({ page }) => {
  await load(page, /colours/);
  await expect(page.getByText("colours sees the middle of it in 64 × 64 pixels.")).toBeVisible();
  const first = page.locator(".classes .bar").first();
  for (const [fill, name] of [
    ["#f01010", "red"],
    ["#0a8a0a", "green"],
    ["#ffffff", "white"],
    ["#000000", "black"],
    ["#1040f0", "blue"],
  ]) {
    await drop(page, await picture(page, fill));
    await expect(first).toContainText(name);
    await expect(first).toContainText(/[\d.]+ %/);
  }
  await expect(page.getByRole("img", { name: "picture.png" })).toBeVisible();
  await expect(page.locator(".classes .bar")).toHaveCount(5);
});

test("other pixels for the model change what it sees", async ({ page }) => {
  await load(page, /colours/);
  await drop(page, await picture(page, "#000000"));
  const first = page.locator(".classes .bar").first();
  await expect(first).toContainText("black");
  const share = await first.locator(".value").textContent();
  await page.getByLabel("Pixels become").selectOption("0 to 1");
  await expect(first.locator(".value")).not.toHaveText(share ?? "");
});

test("the camera is watched until it is stopped", async ({ page }) => {
  await load(page, /colours/);
  await page.getByRole("button", { name: "Use the camera" }).click();
  await expect(page.locator(".classes .bar")).toHaveCount(5);
  const times = new Set<string | null>();
  await expect
    .poll(async () => times.add(await page.getByText(/^In [\d.]+ m?s\.$/).textContent()).size)
    .toBeGreaterThan(2);
  await page.getByRole("button", { name: "Stop the camera" }).click();
  await expect(page.getByRole("button", { name: "Use the camera" })).toBeVisible();
  expect(await page.locator("video").evaluate((video: HTMLVideoElement) => video.srcObject)).toBeNull();
});

test("what is no picture is said", async ({ page }) => {
  await load(page, /colours/);
  await drop(page, { name: "broken.png", type: "image/png", content: "no picture" });
  await expect(page.locator("#errors")).toContainText(
    "broken.png is not a picture that the browser can read.",
  );
  await drop(page, await picture(page, "red"));
  await expect(page.locator(".classes .bar").first()).toContainText("red");
});

test("a lost device is replaced for the next picture", async ({ page }) => {
  await load(page, /colours/);
  const kept = await page.workers()[0].evaluateHandle(() => {
    const devices: { device?: GPUDevice; lost?: GPUDevice | undefined } = {};
    const create = GPUDevice.prototype.createCommandEncoder;
    GPUDevice.prototype.createCommandEncoder = function (...given) {
      devices.device = this;
      return create.apply(this, given);
    };
    return devices;
  });
  await drop(page, await picture(page, "#f01010"));
  const first = page.locator(".classes .bar").first();
  await expect(first).toContainText("red");
  await kept.evaluate(async (kept) => {
    kept.lost = kept.device;
    kept.device?.destroy();
    await kept.device?.lost;
  });
  await drop(page, await picture(page, "#1040f0"));
  await expect(first).toContainText("blue");
  expect(await kept.evaluate(({ device, lost }) => device !== lost)).toBe(true);
});
