/** Whatever goes wrong is said in a sentence, and the page is as usable afterwards. */
import { readFileSync } from "node:fs";
import { expect, type Page } from "@playwright/test";
import { answers, ask, drop, load, MODELS, panel, test } from "./support.ts";

const babble = readFileSync(`${MODELS}/babble/babble.pte`);
const tokenizer = ["tokenizer.json", "tokenizer_config.json"].map((name) => ({
  name,
  content: readFileSync(`${MODELS}/babble/${name}`) as Uint8Array | string,
}));

async function stillChats(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Choose another" }).click();
  await load(page, /babble/);
  await ask(page, "abcd");
  await expect(answers(page)).toHaveCount(1);
}

const WRONG: [string, Uint8Array | string, RegExp][] = [
  ["text", "hello, world, this is no program", /model\.pte is no program \(\.pte\) that can be read/],
  ["nothing", "", /it is empty\./],
  ["a data file", "\x30\0\0\0FT01FH01 and what follows", /it is tensor data \(\.ptd\)\./],
  ["half of its header", babble.subarray(0, 40), /truncated|outside|ends/i],
];
for (const [what, content, sentence] of WRONG)
  test(`a program that is ${what}`, async ({ page }) => {
    await drop(page, { name: "model.pte", content });
    await expect(panel(page)).toContainText("It cannot be used");
    await expect(panel(page).getByRole("alert")).toHaveText(sentence);
    await expect(panel(page).getByRole("alert")).toHaveText(/^model\.pte .*[.!?]$/s);
    await stillChats(page);
  });

test("a program that ends before its weights do", async ({ page }) => {
  await drop(page, { name: "model.pte", content: babble.subarray(0, babble.length - 5000) }, ...tokenizer);
  const button = page.getByRole("button", { name: "Load the model" });
  const refusal = panel(page).getByRole("alert");
  await expect(button.or(refusal)).toBeVisible();
  if (await button.isVisible()) await button.click();
  await expect(refusal).toHaveText(/truncated/);
  await stillChats(page);
});

test("files that are nothing for this page, or come without their program", async ({ page }) => {
  const errors = page.locator("#errors");
  await drop(page, { name: "notes.docx", content: "x" });
  await expect(errors).toContainText("notes.docx is no program (.pte)");
  await drop(page, { name: "labels.txt", content: "red" });
  await expect(errors).toContainText("Choose the program (.pte) first");
  await drop(page, { name: "cat.png", type: "image/png", content: "x" });
  await expect(errors).toContainText("Load an image model first");
  await page.getByRole("button", { name: "Dismiss" }).first().click();
  await expect(errors.locator(".error")).toHaveCount(2);
  await load(page, /babble/);
  await expect(errors.locator(".error")).toHaveCount(0);
});

test("a tokenizer that is none", async ({ page }) => {
  await drop(page, { name: "model.pte", content: babble }, { ...tokenizer[0], content: "{" }, tokenizer[1]);
  await page.getByRole("button", { name: "Load the model" }).click();
  await expect(panel(page).getByRole("alert")).toContainText("tokenizer.json is not the JSON of a tokenizer");
  await stillChats(page);
});

test("a server that loses the file, and has it again", async ({ page }) => {
  // The browser logs what it could not fetch, which is the point here.
  page.removeAllListeners("console");
  await page.route("**/babble.pte", (route) => route.fulfill({ status: 404, body: "" }));
  await page.getByRole("button", { name: /babble/ }).click();
  await expect(panel(page).getByRole("alert")).toContainText("404");
  await page.unroute("**/babble.pte");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByRole("button", { name: "Load the model" }).click();
  await expect(page.getByText("GPU memory")).toBeVisible();
});

test("a connection that breaks, and is there again", async ({ page }) => {
  page.removeAllListeners("console");
  await page.route("**/babble.pte", (route) => route.abort("connectionreset"));
  await page.getByRole("button", { name: /babble/ }).click();
  await expect(panel(page).getByRole("alert")).toHaveText(/babble\.pte: .*\.$/);
  await page.unroute("**/babble.pte");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByRole("button", { name: "Load the model" }).click();
  await expect(page.getByText("GPU memory")).toBeVisible();
});

test("without the server, what the browser has kept is used, which is said", async ({ page }) => {
  page.removeAllListeners("console");
  await load(page, /babble/);
  await page.getByRole("button", { name: "Choose another" }).click();
  await page.route("**/babble.pte", (route) => route.abort("connectionreset"));
  await page.getByRole("button", { name: /babble/ }).click();
  await expect(panel(page)).toContainText("the copy that was fetched on");
  await page.getByRole("button", { name: "Load the model" }).click();
  await expect(page.getByText("GPU memory")).toBeVisible();
  await ask(page, "abcd");
  await expect(answers(page)).toHaveCount(1);
});

test("a server without ranges, which is said", async ({ page }) => {
  await page.route("**/babble.pte", (route) => route.fulfill({ status: 200, body: babble }));
  await load(page, /babble/);
  await expect(panel(page)).toContainText("sends no ranges");
  await ask(page, "abcd");
  await expect(answers(page)).toHaveCount(1);
});

test("a load that is cancelled, and begun again", async ({ page }) => {
  let release = (): void => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  await page.getByRole("button", { name: /babble/ }).click();
  await page.getByRole("button", { name: "Load the model" }).waitFor();
  await page.route("**/tokenizer.json", async (route) => {
    await held;
    await route.continue();
  });
  await page.getByRole("button", { name: "Load the model" }).click();
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Load the model" }).waitFor();
  release();
  await page.getByRole("button", { name: "Load the model" }).click();
  await expect(page.getByText("GPU memory")).toBeVisible();
  await ask(page, "abcd");
  await expect(answers(page)).toHaveCount(1);
});

test("a page of a plain file server, which lists no models", async ({ page }) => {
  page.removeAllListeners("console");
  await page.route("**/models.json", (route) => route.fulfill({ status: 404, body: "" }));
  await page.reload();
  await expect(panel(page)).toContainText("executorch-webgpu serve");
  await drop(page, { name: "own.pte", content: babble }, ...tokenizer);
  await page.getByRole("button", { name: "Load the model" }).click();
  await expect(page.getByRole("heading", { name: "Ask own" })).toBeVisible();
});
