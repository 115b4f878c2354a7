/** What Chromium keeps of servers' files: OPFS in pages and workers, Cache Storage where it is missing. */
import { createHash } from "node:crypto";
import { type BrowserContext, chromium, type Page } from "@playwright/test";
import { createServer } from "vite";
import { afterAll, afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Seen, Visit } from "./browser/visit.ts";
import { FileServer } from "./file_server.ts";
import { path } from "./support.ts";

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium" });
const vite = await createServer({
  root: path("web"),
  configFile: false,
  logLevel: "error",
  server: { port: 0, host: "127.0.0.1" },
});
await vite.listen();
const site = vite.resolvedUrls!.local[0];
const files = await FileServer.start();
afterAll(() => Promise.all([browser.close(), vite.close(), files.stop()]));

vi.setConfig({ testTimeout: 180_000 }); // each has several pages

const size = 20_000_000;
const file = Uint8Array.from({ length: size }, (_, i) => (i * 7 + (i >> 8)) & 255);
const digest = createHash("sha256").update(file).digest("hex");
const whole = { begin: 0, end: size };

let context: BrowserContext;
let url: string;
beforeEach(async () => {
  context = await browser.newContext();
  url = files.serve("file", file);
  files.fault = () => undefined;
  files.takeSent();
});
afterEach(() => context.close());

async function open(): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${site}test/browser/visit.html`);
  return page;
}

type Driven = { visit: (what: Visit) => Promise<Seen> };

const inPage = (page: Page, visit: Visit): Promise<Seen> =>
  page.evaluate((visit) => (globalThis as unknown as Driven).visit(visit), visit);

const inWorker = (page: Page, visit: Visit): Promise<Seen> =>
  page.evaluate(
    (visit) =>
      new Promise<Seen>((resolve, reject) => {
        const worker = new Worker("/test/browser/visit_worker.ts", { type: "module" });
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.onmessage = ({ data }) => {
          worker.terminate();
          if (data.seen === undefined) reject(new Error(data.error));
          else resolve(data.seen);
        };
        worker.postMessage(visit);
      }),
    visit,
  );

// As Safari was for long: files of OPFS could not be written in pages.
const withoutWritables = (page: Page): Promise<void> =>
  page.evaluate(() => {
    delete (FileSystemFileHandle.prototype as Partial<FileSystemFileHandle>).createWritable;
  });

test.each([
  ["a page", "OpfsStore", inPage],
  ["a worker", "OpfsStore", inWorker],
  [
    "a page without OPFS",
    "PageCacheStore",
    async (page: Page, visit: Visit) => {
      await withoutWritables(page);
      return inPage(page, visit);
    },
  ],
])("what %s has fetched is there in another", async (_, store, visit) => {
  const first = await visit(await open(), { url, begin: 0, end: 9_000_000 });
  expect(first).toMatchObject({ store, notices: [], keptBytes: [9_000_000] });
  expect(files.takeSent()).toBe(9_000_000);
  const second = await visit(await open(), { url, ...whole });
  expect(second).toMatchObject({ store, digest, notices: [], keptBytes: [size] });
  expect(files.takeSent()).toBe(1 + size - 9_000_000);
  const third = await visit(await open(), { url, ...whole });
  expect(third).toMatchObject({ digest, notices: [] });
  expect(files.takeSent()).toBe(1);
  const cleared = await visit(await open(), { url, begin: 0, end: 1000, clear: true });
  expect(cleared.keptBytes).toEqual([1000]);
});

test("a page and its worker have the same files", async () => {
  const page = await open();
  await inWorker(page, { url, ...whole });
  files.takeSent();
  expect(await inPage(page, { url, ...whole })).toMatchObject({ digest, notices: [] });
  expect(files.takeSent()).toBe(1);
});

test("without network the second visit works", async () => {
  await inPage(await open(), { url, ...whole });
  files.fault = () => ({ dropAfter: 0 });
  const { digest: read, notices } = await inPage(await open(), { url, ...whole });
  expect(read).toBe(digest);
  expect(notices).toEqual([expect.stringMatching(/the copy that was fetched on .* is used$/)]);
});

test("of tabs at once one fetches the file, and the others have what it keeps", async () => {
  const pages = await Promise.all([open(), open(), open()]);
  const visits = [
    inPage(pages[0], { url, ...whole }),
    inPage(pages[1], { url, ...whole }),
    inWorker(pages[2], { url, ...whole }),
  ];
  for (const seen of await Promise.all(visits)) expect(seen).toMatchObject({ digest, notices: [] });
  expect(files.takeSent()).toBeLessThan(size + 3 * 65536);
  expect(await inPage(await open(), { url, ...whole })).toMatchObject({ digest, keptBytes: [size] });
  expect(files.takeSent()).toBe(1);
});

test.each([
  ["a page", inPage],
  ["a worker", inWorker],
])("%s goes on where the browser gives no more room", async (_, visit) => {
  const page = await open();
  const session = await context.newCDPSession(page);
  await session.send("Storage.overrideQuotaForOrigin", {
    origin: new URL(site).origin,
    quotaSize: 12_000_000,
  });
  const seen = await visit(page, { url, ...whole });
  expect(seen.digest).toBe(digest);
  expect(seen.notices).toEqual([
    `${url}: not all of it is kept for the next time: the browser gives no more room`,
  ]);
  files.takeSent();
  expect(await visit(page, { url, ...whole })).toMatchObject({ digest });
  expect(files.takeSent()).toBeLessThan(size - 8_000_000);
});
