import { expect } from "@playwright/test";
import { ask, load, panel, test } from "./support.ts";

test("the page says what it runs on and offers the server's models", async ({ page }) => {
  await expect(page).toHaveTitle("ExecuTorch on WebGPU");
  await expect(page.locator("#adapter")).toContainText(/swiftshader/i);
  await expect(panel(page).getByRole("button", { name: /babble/ })).toBeVisible();
  await expect(panel(page).getByRole("button", { name: /colours/ })).toBeVisible();
  await expect(page.getByLabel("Message", { exact: true })).toBeDisabled();
});

test("tabs work by keyboard, and the address remembers them", async ({ page }) => {
  const tab = (name: string) => page.getByRole("tab", { name });
  await tab("Chat").focus();
  for (const [key, name] of [
    ["ArrowRight", "Graph"],
    ["ArrowRight", "Images"],
    ["ArrowRight", "Chat"],
    ["ArrowLeft", "Images"],
    ["Home", "Chat"],
    ["End", "Images"],
  ]) {
    await page.keyboard.press(key);
    await expect(tab(name)).toBeFocused();
    await expect(tab(name)).toHaveAttribute("aria-selected", "true");
    await expect(page.getByRole("tabpanel")).toHaveCount(1);
    await expect(page.getByRole("tabpanel", { name })).toBeVisible();
  }
  await expect(page.locator('[role="tab"][tabindex="0"]')).toHaveCount(1);
  await page.reload();
  await expect(tab("Images")).toHaveAttribute("aria-selected", "true");
  await page.goBack();
  await page.goForward();
  await page.evaluate(() => {
    location.hash = "#graph";
  });
  await expect(page.getByRole("tabpanel", { name: "Graph" })).toBeVisible();
});

test("everything can be reached by keyboard alone, and shows that it is", async ({ page }) => {
  await page.keyboard.press("Tab");
  await expect(page.getByText("Skip to the model's views")).toBeFocused();
  await expect(page.getByText("Skip to the model's views")).toBeInViewport();
  await page.getByRole("button", { name: /babble/ }).focus();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("button", { name: "Load the model" })).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.getByLabel("Message", { exact: true })).toBeFocused();
  await page.keyboard.type("abcd");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Regenerate" }).waitFor();
  const outline = await page.getByRole("button", { name: "New chat" }).evaluate((button) => {
    button.focus({ focusVisible: true } as FocusOptions);
    return getComputedStyle(button).outlineStyle;
  });
  expect(outline).toBe("solid");
});

test("colours follow the system, or the visitor's choice, which is kept", async ({ page }) => {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: "light" });
  const light = await ground();
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await ground();
  expect(dark).not.toBe(light);
  const theme = page.getByRole("button", { name: /^Colours/ });
  await theme.click();
  await expect(theme).toHaveAttribute("aria-label", "Colours: light");
  expect(await ground()).toBe(light);
  await page.reload();
  expect(await ground()).toBe(light);
  await theme.click();
  await page.emulateMedia({ colorScheme: "light" });
  expect(await ground()).toBe(dark);
});

test("the main thread has no long task while a model loads and answers", async ({ page }) => {
  await page.evaluate(() => {
    const tasks: number[] = [];
    Object.assign(window, { longTasks: tasks });
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) tasks.push(duration);
    }).observe({ type: "longtask" });
  });
  await load(page, /babble/);
  await ask(page, "abcd");
  await page.getByRole("button", { name: "Regenerate" }).waitFor();
  await page.getByRole("tab", { name: "Graph" }).click();
  await page.getByRole("button", { name: "Measure a step" }).click();
  await expect(page.getByText("A step takes the GPU")).toBeVisible();
  const tasks = await page.evaluate(() => (window as unknown as { longTasks: number[] }).longTasks);
  expect(tasks).toEqual([]);
});
