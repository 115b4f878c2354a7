/** What is kept of servers' files, over a store in memory. */
import { afterAll, beforeEach, expect, test } from "vitest";
import { cachedFiles, clearCache, openKept } from "../src/cache.ts";
import { type ByteSource, read } from "../src/source.ts";
import { expectBytes, FileServer } from "./file_server.ts";
import { MemoryStore } from "./memory_store.ts";

const server = await FileServer.start();
afterAll(() => server.stop());

const size = 20_000_000; // three pieces
const file = Uint8Array.from({ length: size }, (_, i) => (i * 7 + (i >> 8)) & 255);
let store: MemoryStore;
let url: string;
let notices: string[];
beforeEach(() => {
  store = new MemoryStore();
  notices = [];
  url = server.serve("file", file);
  server.hasRanges = true;
  server.fault = () => undefined;
  server.takeSent();
});

const open = (signal?: AbortSignal): Promise<ByteSource> =>
  openKept(url, { store, signal, notice: (text) => notices.push(text) });
async function expectFile(source: ByteSource, begin = 0, end = size): Promise<void> {
  expectBytes(await read(source, begin, end - begin), file.subarray(begin, end));
}

test("a second visit asks for the version only", async () => {
  await expectFile(await open());
  expect(server.takeSent()).toBe(size);
  const again = await open();
  expect(await again.missing?.(0, size)).toBe(0);
  await expectFile(again);
  await expectFile(again, 9_999_999, 10_000_001);
  expect(server.asked.length).toBe(1);
  expect(server.takeSent()).toBe(1);
  expect(notices).toEqual([]);
});

test("what was not streamed comes from the server", async () => {
  await expectFile(await open(), 5_000_000, 9_000_000);
  server.takeSent();
  const again = await open();
  expect(await again.missing?.(0, size)).toBe(size - 4_000_000 - 1);
  await expectFile(again, 4_999_000, 9_001_000);
  expect(server.takeSent()).toBe(1 + 2000);
});

test("an interrupted load goes on where it stopped", async () => {
  server.fault = ({ begin }) => (begin === 0 ? undefined : { dropAfter: 12_000_000 });
  const controller = new AbortController();
  const seen: number[] = [];
  const source = await open();
  await expect(async () => {
    for await (const piece of source.stream(0, size, controller.signal)) {
      seen.push(piece.byteLength);
      if (seen.reduce((sum, bytes) => sum + bytes) > 11_000_000) controller.abort(new Error("enough"));
    }
  }).rejects.toThrow("enough");
  const got = seen.reduce((sum, bytes) => sum + bytes);
  server.fault = () => undefined;
  server.takeSent();
  await expectFile(await open());
  expect(server.takeSent()).toBe(size - got + 1);
});

test("a reader who leaves early loses nothing of what came", async () => {
  let got = 0;
  for await (const piece of (await open()).stream(0, size)) {
    got += piece.byteLength;
    if (got > 9_000_000) break;
  }
  expect(await (await open()).missing?.(0, got)).toBe(0);
});

test("without network the copy is used, and said so", async () => {
  await expectFile(await open(), 0, 10_000_000);
  server.fault = () => ({ dropAfter: 0 });
  const offline = await open();
  await expectFile(offline, 0, 10_000_000);
  expect(notices.length).toBe(1);
  expect(notices[0]).toMatch(/^http.*file: .*; the copy that was fetched on .* is used$/);
  await expect(read(offline, 9_999_990, 100)).rejects.toThrow(
    /the copy that was kept lacks bytes \[10000000, 10000090\)/,
  );
});

test("without network and without a copy there is nothing", async () => {
  server.fault = () => ({ dropAfter: 0 });
  await expect(open()).rejects.toThrow(`${url}: the connection broke at byte 0`);
});

test("a file that is gone is no longer used, nor one that changed", async () => {
  await expectFile(await open());
  url = server.serve("file", file.subarray(100), '"2"');
  server.takeSent();
  const changed = await open();
  expect(store.contents.size).toBe(0);
  expectBytes(await read(changed, 0, size - 100), file.subarray(100));
  expect(await cachedFiles(store)).toMatchObject([{ url, size: size - 100, keptBytes: size - 100 }]);
  server.files.delete("/file");
  await expect(open()).rejects.toThrow("404");
});

test("a full store is no error: it goes on without, said once", async () => {
  store.room = 10_000_000;
  await expectFile(await open());
  expect(notices).toEqual([
    `${url}: not all of it is kept for the next time: the browser gives no more room`,
  ]);
  server.takeSent();
  await expectFile(await open());
  expect(server.takeSent()).toBeLessThan(size - 8_000_000);
});

test("a full store forgets what has not been opened for longest", async () => {
  const [old, recent] = ["old", "recent"].map((name) => server.serve(name, file));
  const keep = async (from: string): Promise<void> => {
    const source = await openKept(from, { store, notice: (text) => notices.push(text) });
    await expectFile(source);
  };
  await keep(old);
  await keep(recent);
  store.room = 45_000_000;
  // All have just been opened, and may be needed by the same program.
  await keep(url);
  expect(notices).toEqual([
    `${url}: not all of it is kept for the next time: the browser gives no more room`,
  ]);
  await clearCache(url, store);

  const HOURS = 3_600_000;
  await pretendLastOpened(old, Date.now() - 3 * HOURS);
  await pretendLastOpened(recent, Date.now() - 2 * HOURS);
  notices = [];
  await keep(url);
  expect(notices).toEqual([`${old} is no longer kept: ${url} needed the room`]);
  expect((await cachedFiles(store)).map(({ url: kept, keptBytes }) => [kept, keptBytes])).toEqual([
    [recent, size],
    [url, size],
  ]);
  // To open a file counts as a use.
  await pretendLastOpened(url, Date.now() - 4 * HOURS);
  await keep(url);
  await keep(old);
  expect((await cachedFiles(store)).map(({ url: kept }) => kept)).toEqual([url, old]);
});

async function pretendLastOpened(from: string, used: number): Promise<void> {
  for (const files of store.contents.values()) {
    const about = JSON.parse(await files.get("about.json")!.text());
    if (about.url !== from) continue;
    files.set("about.json", new Blob([JSON.stringify({ ...about, used })]));
  }
}

test("a store that does not work is no error", async () => {
  store.folders = () => Promise.reject(new Error("the disk is on fire"));
  await expectFile(await open());
  expect(notices).toEqual([
    `${url}: it is not kept, for the browser's store does not work: the disk is on fire`,
  ]);
});

test("what was cleared, or cut short by a crash, is fetched again", async () => {
  const source = await open();
  await expectFile(source, 0, 10_000_000);
  for (const files of store.contents.values())
    for (const [name, blob] of files) if (blob.size > 1_000_000) files.set(name, blob.slice(0, -1));
  await expectFile(source, 0, 10_000_000);
  expect(await source.missing?.(0, 10_000_000)).toBe(0);
  await clearCache(url, store);
  await expectFile(source, 0, 10_000_000);
  expect(notices).toEqual([]);
  // And is kept again.
  server.takeSent();
  await expectFile(await open(), 0, 10_000_000);
  expect(server.takeSent()).toBe(1);
});

test("what is kept can be listed, and forgotten", async () => {
  await expectFile(await open(), 1_000_000, 3_000_000);
  const first = url;
  url = server.serve("other", file);
  await expectFile(await open(), 0, 1000);
  const kept = await cachedFiles(store);
  expect(kept).toMatchObject([
    { url: first, size, keptBytes: 2_000_000 },
    { url, size, keptBytes: 1000 },
  ]);
  expect(Date.now() - kept[0].since.getTime()).toBeLessThan(60_000);
  await clearCache(`${first}#fragment`, store);
  expect((await cachedFiles(store)).map((one) => one.url)).toEqual([url]);
  await clearCache(undefined, store);
  expect(store.contents.size).toBe(0);
});

test("a server without ranges is asked for nothing on a second visit", async () => {
  server.hasRanges = false;
  await expectFile(await open());
  expect(notices).toEqual([`${url}: the server sends no ranges of a file, so all of it is fetched at once`]);
  server.takeSent();
  await expectFile(await open());
  // It begins to send all of it, and is stopped.
  expect(server.takeSent()).toBeLessThan(size / 2);
  expect(notices.length).toBe(1);
});

test("a file without a version is not kept", async () => {
  server.files.set("/file", { content: file });
  await expectFile(await open(), 0, 1000);
  expect(store.contents.size).toBe(0);
  expect(notices[0]).toContain("the server says no version of it");
});

test("of two loads at once one fetches and keeps the file", async () => {
  const sources = await Promise.all([open(), open()]);
  await Promise.all(sources.map((source) => expectFile(source)));
  expect(server.takeSent()).toBeLessThan(size + 2 * 65536 + 1);
  expect(store.writes).toBe(1 + Math.ceil(size / (8 << 20)));
  expect(await (await open()).missing?.(0, size)).toBe(0);
});

test("where the one that fetches is stopped, the other goes on", async () => {
  const [first, second] = await Promise.all([open(), open()]);
  const stopped = first.stream(0, size)[Symbol.asyncIterator]();
  await stopped.next();
  const whole = expectFile(second);
  await new Promise((resolve) => setTimeout(resolve, 300));
  await stopped.return?.(undefined);
  await whole;
  expect(await (await open()).missing?.(0, size)).toBe(0);
});

test("waiting for another load can be stopped", async () => {
  const [first, second] = await Promise.all([open(), open()]);
  const stream = first.stream(0, size)[Symbol.asyncIterator]();
  await stream.next();
  await stream.next();
  await expect(read(second, 0, size, AbortSignal.timeout(300))).rejects.toThrow(/timeout|aborted/i);
  await stream.return?.(undefined);
});
