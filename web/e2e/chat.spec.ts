import { readFileSync } from "node:fs";
import { expect } from "@playwright/test";
import { answers, ask, drop, load, MODELS, panel, test } from "./support.ts";

const file = (name: string) => readFileSync(`${MODELS}/babble/${name}`);

test("a model is checked, loaded and asked, and figures follow", async ({ page }) => {
  await page.getByRole("button", { name: /babble/ }).click();
  await expect(panel(page)).toContainText("Chat model, 32 tokens of context");
  await expect(panel(page)).toContainText("It runs on this adapter.");
  await page.getByRole("button", { name: "Load the model" }).click();
  await expect(page.getByRole("heading", { name: "Ask babble" })).toBeVisible();
  await ask(page, "abcd");
  await expect(answers(page)).toHaveCount(1);
  const foot = answers(page).locator("footer");
  await expect(foot).toContainText(/\d+ tokens · [\d.]+ tokens\/s · first after [\d.]+ m?s/);
  await expect(foot).toContainText("the context is full");
  await expect(panel(page).locator("dd").first()).toHaveText(/^[\d.]+$/);
  await expect(page.getByLabel("Message", { exact: true })).toBeEmpty();
});

test("an answer is made once more, and greedily it is the same", async ({ page }) => {
  await load(page, /babble/);
  await page.getByText("Sampling").click();
  await page.getByLabel("Most tokens").fill("6");
  await ask(page, "abcd");
  const first = await answers(page).locator(".text").textContent();
  expect(first).toMatch(/^\S{6}$/);
  await page.getByRole("button", { name: "Regenerate" }).click();
  await expect(answers(page)).toHaveCount(1);
  await expect(answers(page).locator(".text")).toHaveText(first ?? "");
  await ask(page, "efgh");
  await expect(answers(page)).toHaveCount(2);
  await expect(page.getByRole("button", { name: "Regenerate" })).toHaveCount(1);
  await page.getByRole("button", { name: "New chat" }).click();
  await expect(page.locator("article")).toHaveCount(0);
});

test("a full context is said, and a new chat goes on", async ({ page }) => {
  await load(page, /babble/);
  await page.getByText("Sampling").click();
  await page.getByLabel("Most tokens").fill("4");
  for (let i = 1; i <= 3; ++i) {
    await ask(page, "abcd");
    await expect(answers(page)).toHaveCount(i);
  }
  await ask(page, "abcd");
  await expect(page.getByRole("alert").filter({ hasText: "the model's context holds 32" })).toBeVisible();
  await expect(page.getByRole("button", { name: "Try again" })).toBeVisible();
  await page.getByRole("button", { name: "New chat" }).click();
  await ask(page, "abcd");
  await expect(answers(page)).toHaveCount(1);
  await expect(answers(page).locator(".text")).toHaveText(/^\S{4}$/);
});

test("a dropped program asks for its tokenizer, and chats once it has it", async ({ page }) => {
  await drop(page, { name: "own.pte", content: file("babble.pte") });
  await expect(panel(page)).toContainText("To chat, add tokenizer.json and tokenizer_config.json as well.");
  await drop(page, { name: "tokenizer_config.json", content: file("tokenizer_config.json") });
  await expect(panel(page)).toContainText("To chat, add tokenizer.json as well.");
  await drop(page, { name: "tokenizer.json", content: file("tokenizer.json") });
  await expect(panel(page)).not.toContainText("To chat, add");
  await page.getByRole("button", { name: "Load the model" }).click();
  await expect(page.getByRole("heading", { name: "Ask own" })).toBeVisible();
  await page.getByRole("button", { name: "Write a haiku about rain" }).click();
  await expect(answers(page)).toHaveCount(1);
});

test("another model takes the place of the first, again and again", async ({ page }) => {
  for (let i = 0; i < 3; ++i) {
    await load(page, /babble/);
    await ask(page, "abcd");
    await expect(answers(page)).toHaveCount(1);
    await page.getByRole("button", { name: "Choose another" }).click();
    await load(page, /colours/);
    await expect(page.getByRole("tabpanel", { name: "Images" })).toBeVisible();
    await page.getByRole("button", { name: "Choose another" }).click();
  }
});
