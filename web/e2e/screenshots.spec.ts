/** Pictures of every view, for eyes: test-results/screenshots. */
import { expect, type Page } from "@playwright/test";
import { ask, drop, load, picture, test } from "./support.ts";

const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

const VIEWS: Record<string, (page: Page) => Promise<void>> = {
  start: async () => {},
  check: async (page) => {
    await page.getByRole("button", { name: /babble/ }).click();
    await page.getByRole("button", { name: "Load the model" }).waitFor();
  },
  refusal: async (page) => {
    await drop(page, { name: "wrong.pte", content: "hello, world" });
    await page.getByText("It cannot be used").waitFor();
    await drop(page, { name: "notes.docx", content: "hello" });
  },
  chat: async (page) => {
    await load(page, /babble/);
    await ask(page, "abcd");
    await page.getByRole("button", { name: "Regenerate" }).waitFor();
  },
  graph: async (page) => {
    await load(page, /babble/);
    await page.getByRole("tab", { name: "Graph" }).click();
    await page.getByRole("button", { name: "Measure a step" }).click();
    await page.getByText("A step takes the GPU").waitFor();
  },
  images: async (page) => {
    await load(page, /colours/);
    await drop(page, await picture(page, "#d02020"));
    await page.locator(".classes .bar").first().waitFor();
  },
};

for (const [name, arrange] of Object.entries(VIEWS))
  test(`screenshots: ${name}`, async ({ page }) => {
    await page.setViewportSize(SIZES.desktop);
    await arrange(page);
    for (const [device, size] of Object.entries(SIZES))
      for (const colorScheme of ["light", "dark"] as const) {
        await page.setViewportSize(size);
        await page.emulateMedia({ colorScheme });
        const path = `test-results/screenshots/${name}-${device}-${colorScheme}.png`;
        const taken = await page.screenshot({ path });
        expect(taken.length).toBeGreaterThan(5000); // not an empty page
      }
  });
