/** What is said of a program before any of its weights is fetched. */
import { afterAll, beforeEach, expect, test } from "vitest";
import { NO_CONSTANTS } from "../src/core.ts";
import { type Capabilities, type CheckOptions, Gpu, Program, Tensor } from "../src/index.ts";
import { sinkDevice } from "./counted_device.ts";
import { FileServer, MadeUpFile } from "./file_server.ts";
import { MemoryStore } from "./memory_store.ts";
import { expectProducts, products } from "./products.ts";
import { loadCore, openGpu, sample } from "./support.ts";

const core = await loadCore();
const gpu = await openGpu();
const server = await FileServer.start();
afterAll(() => server.stop());
beforeEach(() => server.takeSent());

const check = (from: string | Uint8Array | MadeUpFile, options: Partial<CheckOptions> = {}) =>
  Program.check(from, { core, gpu, onNotice: (text) => expect.unreachable(text), ...options });

test("memory is what the program takes when it runs with its largest inputs", async () => {
  for (const options of [{}, { kv_cache_dtype: "f16" }] as const) {
    const { memory, ...found } = await check(sample("decoder.pte"), { options });
    expect(found).toMatchObject({
      runs: true,
      methods: ["forward"],
      problems: [],
      warnings: [],
      missingOperators: [],
    });
    const program = await Program.load(sample("decoder.pte"), { core, gpu, options });
    expect(memory.constants + memory.states).toBe(program.gpuBytes);
    const tokens = Tensor.of(new Array(31).fill(1), [1, 31], "int64");
    await program.method("forward").execute([tokens, Tensor.of([0], [1], "int64")]);
    expect(memory.total).toBe(program.gpuBytes);
    expect(memory.activations).toBeGreaterThan(31 * 64 * 4);
    await program.dispose();
  }
});

test("only heads are read, and the bytes to fetch are told", async () => {
  const url = server.serve("products.pte", products);
  const found = await check(url);
  expect(found.weights.total).toBe(4 * (512 * 1024 + 1024 * 1100));
  // The first request has brought the first of them.
  expect(found.weights.total - found.weights.toFetch).toBeLessThan(65536);
  expect(server.takeSent()).toBe(65536);
  const cache = new MemoryStore();
  const program = await Program.load(url, { core, gpu, cache });
  await expectProducts(program);
  await program.dispose();
  const kept = await check(url, { cache });
  expect(kept.weights).toEqual({ total: found.weights.total, toFetch: 0 });
  expect(kept.sentences).toContain("Its weights are 6.60 MB, 6.60 MB of which are here already.");
});

test("all missing operators are named, and the kernels left outside", async () => {
  const found = await check(sample("unknown.pte"));
  expect(found).toMatchObject({
    runs: false,
    missingOperators: ["aten.unheard_of.default", "aten.unseen.out"],
    leftOutside: ["aten::grid_sampler_2d.out"],
  });
  expect(found.problems).toEqual([
    "method 'forward' has operators that are not supported: aten.unheard_of.default, aten.unseen.out",
    expect.stringMatching(
      /^method 'forward' leaves aten::grid_sampler_2d.out \(step 1\) to ExecuTorch's kernels, and .* export it with executorch_webgpu.lower/,
    ),
  ]);
  expect(found.sentences[0]).toBe("The program does not run here: it has method forward.");
  await expect(Program.load(sample("unknown.pte"), { core, gpu })).rejects.toThrow(
    "leaves aten::grid_sampler_2d.out (step 1)",
  );
  const { offset, size } = core.program(sample("unknown.pte"), sample("unknown.pte").byteLength).methods[0]
    .delegates[0];
  const blob = sample("unknown.pte").subarray(offset, offset + size);
  expect(() => core.delegate(blob, size).load(gpu, NO_CONSTANTS)).toThrow(
    /^operators that are not supported: aten\.unheard_of\.default \(call.*, aten\.unseen\.out \(call.*; export it again with/,
  );
});

test("a program of more than 4 GB is told in numbers", async () => {
  const file = new MadeUpFile("large.head", () => {});
  const found = await check(file);
  expect(found).toMatchObject({ runs: true, weights: { total: 18 * (256 << 20) } });
  expect(found.memory.constants).toBe(18 * (256 << 20));
  expect(file.bytesRead).toBeLessThan(200_000);
  const tight = await check(file, { memoryBudget: 4e9 });
  expect(tight.problems).toEqual(["it needs 4.83 GB of GPU memory, but 4.00 GB are allowed"]);
  expect(tight.runs).toBe(false);
});

test("limits that the program passes are problems, or reasons for smaller inputs", async () => {
  const { device } = gpu;
  const on = (from: string | Uint8Array | MadeUpFile, capabilities: Partial<Capabilities>) =>
    Program.check(from, { core, device, capabilities });
  const small = await on(new MadeUpFile("large.head", () => {}), { max_buffer_size: 128 << 20 });
  expect(small.problems).toEqual([
    "method 'forward' needs a buffer of 268 MB for constants, but this adapter's have at most 134 MB",
  ]);
  const smallerInputs =
    "method 'forward' passes this adapter's limits with its largest inputs: smaller ones run";
  for (const limits of [{ max_storage_binding: 4096 }, { max_workgroups_per_dimension: 2 }]) {
    const { runs, warnings } = await on(sample("decoder.pte"), limits);
    expect({ runs, warnings }).toEqual({ runs: true, warnings: [smallerInputs] });
  }
  const { runs, problems } = await on(sample("decoder.pte"), { max_storage_binding: 1024 });
  expect(runs).toBe(false);
  expect(problems).toEqual([
    expect.stringContaining("does not fit this device's storage binding of 1024 bytes"),
  ]);
});

test("features that the program would use are wished for", async () => {
  const device = sinkDevice(0, () => {}).device;
  const lacking = await check(sample("decoder.pte"), { gpu: await Gpu.open({ device }) });
  expect(lacking.wishes.map(({ feature }) => feature)).toEqual(["subgroups", "timestamp-query"]);
  expect(lacking.wishes[0].why).toMatch(/^[1-9]\d* of its kernels would use it/);
  expect(lacking.runs).toBe(true);
  const all = await check(sample("decoder.pte"), {
    gpu: await openGpu({ capabilities: { subgroups: true, f16: true, timestamps: true } }),
  });
  expect(all.wishes).toEqual([]);
});

test("without WebGPU a program is checked against its least, and that is the problem", async () => {
  const found = await Program.check(sample("decoder.pte"), { core });
  expect(found.problems).toEqual(["this browser has no WebGPU (navigator.gpu is missing)"]);
  expect(found.memory.total).toBeGreaterThan(0);
});

test("weights that no file has are a problem", async () => {
  const bytes = Uint8Array.from(products.subarray(0, 1360));
  const text = new TextDecoder("latin1").decode(bytes);
  bytes[text.indexOf("weight2")] = 0x57; // in the program's list of named data, or in the delegate
  const renamed = new MadeUpFile("products.head", () => {});
  const found = await check({ ...wrapped(renamed, bytes) } as unknown as MadeUpFile);
  expect(found.problems).toEqual([expect.stringContaining("weight 'weight2' is neither in")]);
});

function wrapped(file: MadeUpFile, head: Uint8Array) {
  return {
    name: file.name,
    size: file.size,
    version: "",
    async *stream(offset: number, length: number) {
      for await (const piece of file.stream(offset, length)) {
        const bytes = Uint8Array.from(piece);
        if (offset < head.byteLength) bytes.set(head.subarray(offset, offset + length));
        yield bytes;
      }
    },
  };
}
