/** Reading from servers: few requests, and more of them where connections break. */
import { afterAll, beforeEach, expect, test } from "vitest";
import { openUrl } from "../src/http.ts";
import { read } from "../src/source.ts";
import { type Asked, expectBytes, FileServer } from "./file_server.ts";

const server = await FileServer.start();
afterAll(() => server.stop());
beforeEach(() => {
  server.asked.length = 0;
  server.hasRanges = true;
  server.fault = () => undefined;
});

const file = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) & 255);
const url = server.serve("file", file);
const silent = { notice: (text: string) => expect.unreachable(text) };
const part = (offset: number, length: number): Uint8Array => file.subarray(offset, offset + length);

test("the first request brings the first bytes", async () => {
  const source = await openUrl(url, silent);
  expect(source.size).toBe(file.byteLength);
  expectBytes(await read(source, 10, 50_000), part(10, 50_000));
  expect(server.asked.length).toBe(1);
  expectBytes(await read(source, 60_000, 200_000), part(60_000, 200_000));
  expect(server.asked.map(({ begin, end }) => [begin, end])).toEqual([
    [0, 65536],
    [65536, 260_000],
  ]);
  expect(await source.missing?.(60_000, 10_000)).toBe(60_000 + 10_000 - 65_536);
});

test("a server without ranges sends all at once", async () => {
  server.hasRanges = false;
  const notices: string[] = [];
  const source = await openUrl(url, { notice: (text) => notices.push(text) });
  expect(notices).toEqual([`${url}: the server sends no ranges of a file, so all of it is fetched at once`]);
  expectBytes(await read(source, 100, 200_000), part(100, 200_000));
  expect(server.asked.length).toBe(1);
});

const rest = ({ begin }: Asked): boolean => (begin ?? 0) > 0;

test("a connection that breaks is taken up where it broke", async () => {
  const source = await openUrl(url, silent);
  let drops = 7; // more than are allowed without a byte between
  server.fault = (asked) => (rest(asked) && drops-- > 0 ? { dropAfter: 32768 } : undefined);
  expectBytes(await read(source, 0, file.byteLength), file);
  // What had arrived is not asked for again.
  const begins = server.asked.map(({ begin }) => begin ?? 0);
  expect(begins.length).toBe(9);
  expect([...begins].sort((a, b) => a - b)).toEqual(begins);
  expect(begins.at(-1)).toBeGreaterThan(200_000);
});

test("a server without ranges is asked for all again when it breaks off", async () => {
  server.hasRanges = false;
  let drops = 2;
  server.fault = () => (drops-- > 0 ? { dropAfter: 131072 } : undefined);
  const source = await openUrl(url, { notice: () => {} });
  expectBytes(await read(source, 0, file.byteLength), file);
  expect(server.asked.length).toBe(3);
});

test("a server that is out of order for a moment is asked again", async () => {
  const source = await openUrl(url, silent);
  let failures = 2;
  server.fault = () => (failures-- > 0 ? { status: 503 } : undefined);
  expectBytes(await read(source, 70_000, 1000), part(70_000, 1000));
  expect(server.asked.length).toBe(4);
});

test("a server that stays out of order is given up with its answer", async () => {
  const source = await openUrl(url, silent);
  server.fault = () => ({ status: 500 });
  await expect(read(source, 70_000, 1000)).rejects.toThrow(
    `${url}: the server answered 500 Internal Server Error`,
  );
  expect(server.asked.length).toBe(6);
});

test("what is not there is not asked for again", async () => {
  const nowhere = new URL("/nowhere", url).href;
  await expect(openUrl(nowhere, silent)).rejects.toThrow(`${nowhere}: the server answered 404 Not Found`);
  expect(server.asked.length).toBe(1);
});

test("a server that is not there cannot be reached", async () => {
  const gone = await FileServer.start();
  const address = gone.serve("file", file);
  await gone.stop();
  await expect(openUrl(address, silent)).rejects.toThrow(
    /file: the server cannot be reached: .*ECONNREFUSED/,
  );
});

test("an empty file is said to be cut short", async () => {
  await expect(openUrl(server.serve("empty", new Uint8Array()), silent)).rejects.toThrow(
    "no bytes from 0 on",
  );
});

test("a file that changes between two ranges is noticed", async () => {
  const changing = server.serve("changing", file);
  const source = await openUrl(changing, silent);
  server.serve("changing", file, '"2"');
  const sentence = `${changing}: the file has changed on the server since its beginning was read`;
  await expect(read(source, 70_000, 1000)).rejects.toThrow(sentence);
  // Without a version, its size tells.
  server.files.set("/changing", { content: file });
  const unversioned = await openUrl(changing, silent);
  server.files.set("/changing", { content: file.subarray(1) });
  await expect(read(unversioned, 70_000, 1000)).rejects.toThrow(sentence);
});

test("a file that changes while a connection is taken up is noticed", async () => {
  const changing = server.serve("changing", file);
  const source = await openUrl(changing, silent);
  server.fault = () => {
    server.fault = () => undefined;
    return { dropAfter: 65536, at: { bytes: 65536, do: () => server.serve("changing", file, '"2"') } };
  };
  await expect(read(source, 70_000, 200_000)).rejects.toThrow("has changed on the server");
});

test("a signal stops waiting for another attempt, too", async () => {
  const source = await openUrl(url, silent);
  server.fault = () => ({ status: 503 });
  const controller = new AbortController();
  const reading = read(source, 70_000, 1000, controller.signal);
  setTimeout(() => controller.abort(new Error("enough")), 100);
  await expect(reading).rejects.toThrow("enough");
  expect(server.asked.length).toBe(2);
});
