/** What can go wrong while a program is loaded: each ends in one sentence, leaves nothing on the GPU, and the next load works. */
import { afterAll, afterEach, beforeEach, expect, test } from "vitest";
import {
  DeviceLostError,
  Gpu,
  type LoadOptions,
  ModelError,
  Program,
  type Progress,
  StoppedError,
  Tensor,
} from "../src/index.ts";
import { counted, refuseNext, sinkDevice } from "./counted_device.ts";
import { FileServer } from "./file_server.ts";
import { MemoryStore } from "./memory_store.ts";
import { expectProducts, products } from "./products.ts";
import { collectedHeap, findAdapter, loadCore, sample } from "./support.ts";

const core = await loadCore();
/** A device whose buffers are counted. */
async function ownDevice() {
  const adapter = await findAdapter();
  const { device, count } = counted(await adapter.requestDevice());
  return { device, count, gpu: await Gpu.open({ device, adapter }) };
}
const { gpu, count } = await ownDevice();
const server = await FileServer.start();
afterAll(() => server.stop());

let url: string;
let notices: string[];
beforeEach(() => {
  notices = [];
  server.hasRanges = true;
  server.fault = () => undefined;
  url = server.serve("products.pte", products);
});
afterEach(() => count.expectNone());

const load = (options: Partial<LoadOptions> = {}, from: string | Uint8Array = url): Promise<Program> =>
  Program.load(from, { core, gpu, onNotice: (text) => notices.push(text), ...options });

async function expectWorks(options: Partial<LoadOptions> = {}): Promise<void> {
  const program = await load(options);
  await expectProducts(program);
  expect(program.gpuBytes).toBeGreaterThan(6_000_000);
  await program.dispose();
}

/** One sentence of ours, the GPU as it was, and a next load that works. */
async function expectFails(loading: Promise<Program>, sentence: string | RegExp): Promise<unknown> {
  const error = await loading.then(
    () => expect.unreachable("it should have failed"),
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(ModelError);
  expect((error as ModelError).message).toMatch(sentence);
  expect((error as ModelError).message).not.toMatch(/\n|undefined|\[object/);
  count.expectNone();
  server.fault = () => undefined;
  url = server.serve("products.pte", products);
  await expectWorks();
  return error;
}

const weights = ({ begin }: { begin: number | undefined }): boolean => (begin ?? 0) > 0;

// --- Files ---

test("a program comes from a server, and what it computes is right", async () => {
  await expectWorks();
  expect(notices).toEqual([]);
});

test("a server without ranges works, and it is said", async () => {
  server.hasRanges = false;
  await expectWorks();
  expect(notices).toEqual([`${url}: the server sends no ranges of a file, so all of it is fetched at once`]);
});

test.each([
  [
    "a page in its place",
    new TextEncoder().encode("\n<!DOCTYPE html><html>404</html>".padEnd(200)),
    "it is a web page (HTML): is the address right?",
  ],
  [
    "a picture",
    Uint8Array.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10, ...new Uint8Array(200)]),
    "it is a PNG image",
  ],
  [
    "a pointer of Git LFS",
    new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "it is a pointer of Git LFS",
  ],
  ["a data file", sample("weights.ptd"), "it is tensor data (.ptd)"],
  ["an empty file", new Uint8Array(), "no bytes from 0 on"],
  ["noise", Uint8Array.from({ length: 5000 }, (_, i) => (i * i) & 255), "expected 'ET12'"],
  ["a file that is cut short", products.subarray(0, 4_000_000), "(is it truncated?)"],
  ["a file without half of its head", products.subarray(0, 300), "(is it truncated?)"],
])("%s is no program", async (_, content, sentence) => {
  url = server.serve("products.pte", content);
  await expectFails(load(), sentence);
});

test("a program in a data file's place is named", async () => {
  const data = server.serve("weights.ptd", products);
  await expectFails(load({ data }), `${data} is no tensor data file (.ptd) that can be read: `);
});

test("a wrong file is not fetched as a whole", async () => {
  url = server.serve("products.pte", new Uint8Array(5_000_000).fill(60));
  server.takeSent();
  await load().catch(() => {});
  expect(server.takeSent()).toBeLessThan(70_000);
});

test("a file that is not there", async () => {
  server.files.delete("/products.pte");
  await expectFails(load(), "the server answered 404 Not Found");
});

test("a file that changes on the server between two ranges", async () => {
  server.fault = (asked) => {
    if (weights(asked)) server.serve("products.pte", products, '"2"');
    return undefined;
  };
  await expectFails(load(), "the file has changed on the server since its beginning was read");
});

// --- Connections ---

test("a connection that breaks is taken up again", async () => {
  let drops = 3;
  server.fault = (asked) => (weights(asked) && drops-- > 0 ? { dropAfter: 1_000_000 } : undefined);
  await expectWorks();
  expect(drops).toBeLessThan(0);
});

test("a connection that breaks whenever it is taken up", async () => {
  server.fault = (asked) => (weights(asked) ? { dropAfter: 0 } : undefined);
  await expectFails(load(), /the connection broke at byte \d+/);
});

test("a server that fails in the middle", async () => {
  server.fault = (asked) => (weights(asked) ? { status: 500 } : undefined);
  await expectFails(load(), "the server answered 500 Internal Server Error");
});

test("a download that is stopped", async () => {
  const controller = new AbortController();
  server.fault = (asked) =>
    weights(asked) ? { at: { bytes: 2_000_000, do: () => controller.abort() } } : undefined;
  const error = await expectFails(load({ signal: controller.signal }), "loading the program was stopped: ");
  expect(error).toBeInstanceOf(StoppedError);
  expect((error as StoppedError).name).toBe("AbortError");
  expect((error as StoppedError).cause).toBe(controller.signal.reason);
  await expectFails(load({ signal: controller.signal }), "loading the program was stopped: ");
});

test("a download that is stopped goes on from what is kept", async () => {
  const cache = new MemoryStore();
  const controller = new AbortController();
  const onProgress = ({ done }: Progress) => done > 2_000_000 && controller.abort();
  await expect(load({ cache, onProgress, signal: controller.signal })).rejects.toThrow("was stopped");
  const kept = cache.bytes;
  expect(kept).toBeGreaterThan(2_000_000);
  server.fault = () => undefined;
  server.takeSent();
  await expectWorks({ cache });
  expect(server.takeSent()).toBeLessThan(products.byteLength - kept + 1000);
  await expectWorks({ cache });
  expect(server.takeSent()).toBe(1);
});

// --- The GPU ---

test("a GPU without memory enough", async () => {
  for (const room of [0, 3_000_000]) {
    const sink = sinkDevice(room, () => {});
    await expectFails(
      load({ gpu: await Gpu.open({ device: sink.device }) }),
      /the GPU has no memory for constants 0 to 1 of \d+ bytes/,
    );
    sink.count.expectNone();
  }
});

test("activations that do not fit leave a program that takes smaller inputs", async () => {
  const own = await ownDevice();
  const program = await load({ gpu: own.gpu });
  await expectProducts(program, 0, 1);
  own.count.before = (label) => {
    if (label?.startsWith("activation memory")) throw new Error("createBuffer failed");
  };
  await expect(expectProducts(program)).rejects.toThrow("createBuffer failed");
  own.count.before = () => {};
  await expectProducts(program, 1, 2);
  await expectProducts(program);
  await program.dispose();
  own.count.expectNone();
});

test("outputs that were to stay on the GPU go when a call fails", async () => {
  const program = await load();
  const before = count.live.size;
  count.before = (label) => {
    if (label === "staging for outputs") throw new Error("createBuffer failed");
  };
  const x = Tensor.of(new Float32Array(4 * 512), [4, 512]);
  await expect(program.method("forward").execute([x], { keep: true })).rejects.toThrow("createBuffer failed");
  count.before = () => {};
  expect([...count.live].slice(before).map(({ label }) => label)).not.toContain("a kept output");
  await expectProducts(program);
  await program.dispose();
});

test("a call that the GPU refuses fails, and the next one is right", async () => {
  const program = await load();
  await expectProducts(program, 0, 2);
  refuseNext(gpu.device);
  await expect(expectProducts(program)).rejects.toThrow(/^the GPU refused a call: /);
  await expectProducts(program);
  const forward = program.method("forward");
  const x = Tensor.of(new Float32Array(512).fill(1), [1, 512]);
  refuseNext(gpu.device);
  await expect(forward.execute([x], { keep: true })).rejects.toThrow(/^the GPU refused a call: /);
  const [kept] = (await forward.execute([x], { keep: true })) as [Tensor];
  const [expected] = (await forward.execute([x])) as [Tensor];
  refuseNext(gpu.device);
  await expect(kept.read()).rejects.toThrow(/^the GPU refused the copy of a tensor: /);
  expect(await kept.read()).toEqual(expected.data);
  kept.dispose();
  await program.dispose();
});

test("a device that is destroyed while a program is loaded", async () => {
  const own = await ownDevice();
  server.fault = (asked) =>
    weights(asked) ? { at: { bytes: 1_000_000, do: () => own.device.destroy() } } : undefined;
  const loading = load({ gpu: own.gpu });
  expect(await expectFails(loading, "the GPU device was lost: it was destroyed")).toBeInstanceOf(
    DeviceLostError,
  );
  own.count.expectNone();
});

test("a device that is destroyed before", async () => {
  const own = await ownDevice();
  own.device.destroy();
  await expectFails(load({ gpu: own.gpu }), "the GPU device was lost: it was destroyed");
  own.count.expectNone();
});

// --- More than one ---

test("two loads at once do not disturb each other", async () => {
  const cache = new MemoryStore();
  const decoder = server.serve("decoder.pte", sample("decoder.pte"));
  const programs = await Promise.all([load({ cache }), load({ cache }), load({}, decoder)]);
  await Promise.all(programs.slice(0, 2).map((program) => expectProducts(program)));
  await programs[0].dispose();
  await expectProducts(programs[1]);
  await Promise.all(programs.map((program) => program.dispose()));
});

test("of two loads at once one may fail", async () => {
  const png = server.serve("picture.pte", Uint8Array.from([0x89, 0x50, 0x4e, 0x47, ...new Uint8Array(200)]));
  const [good, bad] = await Promise.allSettled([load(), load({}, png)]);
  expect(bad.status).toBe("rejected");
  if (good.status === "rejected") throw good.reason;
  await expectProducts(good.value);
  await good.value.dispose();
});

test("a program that is disposed of while it is called ends its calls first", async () => {
  const program = await load();
  const calls = [expectProducts(program), expectProducts(program)];
  await Promise.all([program.dispose(), ...calls]);
  count.expectNone();
  await expect(expectProducts(program)).rejects.toThrow("the program has been disposed of");
  await program.dispose();
  await expectWorks();
});

test("a device of the program's own goes with it", async () => {
  const program = await Program.load(products, { core, adapter: await findAdapter() });
  await expectProducts(program);
  await program.dispose();
  expect((await program.gpu.device.lost).reason).toBe("destroyed");
});

test("a device that was there stays", async () => {
  const program = await Program.load(products, { core, device: gpu.device });
  await program.dispose();
  await expectWorks();
});

test("the number of weights that were read is told", async () => {
  const heard: Progress[] = [];
  await expectWorks({ onProgress: (progress) => heard.push({ ...progress }) });
  const told = heard.filter(({ stage }) => stage === "weights");
  expect(told.at(-1)?.done).toBe(told.at(-1)?.total);
  expect(told.at(-1)?.total).toBeGreaterThan(6_000_000);
  expect(told.every(({ done }, i) => i === 0 || done >= told[i - 1].done)).toBe(true);
});

test("fifty loads leave the memory as it was", async () => {
  const used = async (): Promise<{ js: number; wasm: number }> => ({
    js: await collectedHeap(),
    wasm: core.heapBytes,
  });
  const cycle = async (): Promise<void> => {
    const program = await load({}, products);
    await expectProducts(program);
    await program.dispose();
    count.expectNone();
  };
  for (let i = 0; i < 5; ++i) await cycle();
  const before = await used();
  for (let i = 0; i < 50; ++i) await cycle();
  const after = await used();
  expect(after.wasm).toBe(before.wasm);
  expect(after.wasm).toBeLessThan(64 << 20);
  expect(after.js - before.js).toBeLessThan(1_000_000);
});
