/** What the tests in browsers share: an opened page, visitors' files, and pages of the sources themselves. */
import { test as base, expect, type Page } from "@playwright/test";
import { createServer } from "vite";
import { REPOSITORY } from "./paths.ts";

export const MODELS = "test-results/models";

/** Serves the sources, and files of some folders. */
export interface SourceServer {
  core: string;
  page(folder: string): string;
  file(path: string): string;
  close(): Promise<void>;
}

export async function sourceServer(...folders: string[]): Promise<SourceServer> {
  const server = await createServer({
    root: `${REPOSITORY}/web`,
    configFile: false,
    logLevel: "warn",
    server: { port: 0, fs: { allow: [REPOSITORY, ...folders] } },
  });
  await server.listen();
  const file = (path: string): string => `/@fs${path}`;
  return {
    core: file(`${REPOSITORY}/build/wasm/etwebgpu.wasm`),
    page: (folder) => `${server.resolvedUrls?.local[0]}e2e/${folder}/index.html`,
    file,
    close: () => server.close(),
  };
}

/** A page that fails its test where it logs an error or an exception escapes. */
export const test = base.extend<{ page: Page }>({
  page: async ({ page }, use) => {
    const wrong: string[] = [];
    page.on("pageerror", (error) => wrong.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error") wrong.push(message.text());
    });
    await page.goto("/");
    await expect(page.locator("#adapter")).not.toBeEmpty();
    await use(page);
    expect(wrong).toEqual([]);
  },
});

export async function load(page: Page, name: string | RegExp): Promise<void> {
  await page.getByRole("button", { name }).click();
  await page.getByRole("button", { name: "Load the model" }).click();
  await expect(page.getByText("GPU memory")).toBeAttached({ timeout: 100_000 });
}

export const panel = (page: Page) => page.getByRole("complementary", { name: "Model" });
export const answers = (page: Page) => page.locator("article.answer:not(.writing)");

export async function ask(page: Page, text: string): Promise<void> {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

interface Dropped {
  name: string;
  type?: string;
  content: Uint8Array | string;
}

/** Drops files onto the page as a file manager does. */
export async function drop(page: Page, ...files: Dropped[]): Promise<void> {
  const plain = files.map(({ name, type = "", content }) => ({
    name,
    type,
    bytes: Buffer.from(content).toString("base64"),
  }));
  const transfer = await page.evaluateHandle((dropped) => {
    const made = new DataTransfer();
    for (const { name, type, bytes } of dropped) {
      const content = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
      made.items.add(new File([content], name, { type }));
    }
    return made;
  }, plain);
  for (const type of ["dragenter", "dragover", "drop"])
    await page.dispatchEvent("body", type, { dataTransfer: transfer });
}

/** A picture of one colour, as PNG. */
export async function picture(page: Page, colour: string, name = "picture.png"): Promise<Dropped> {
  const url = await page.evaluate((fill) => {
    const canvas = document.createElement("canvas");
    canvas.width = 200;
    canvas.height = 120;
    const context = canvas.getContext("2d")!;
    context.fillStyle = fill;
    context.fillRect(0, 0, 200, 120);
    return canvas.toDataURL("image/png");
  }, colour);
  return { name, type: "image/png", content: Buffer.from(url.split(",")[1], "base64") };
}
