/** Whole programs of delegates and kernels on the CPU, recorded by tests/python/web/test_mixed.py. */
import { afterAll, expect, test } from "vitest";
import { DeviceLostError, Program, Tensor } from "../src/index.ts";
import { disagreements, program } from "./cases/replay.ts";
import { FileServer } from "./file_server.ts";
import { MemoryStore } from "./memory_store.ts";
import { programs, recorded } from "./recorded_programs.ts";
import { loadCore, openGpu } from "./support.ts";

const core = await loadCore();
const gpu = await openGpu();
const server = await FileServer.start();
afterAll(() => {
  server.stop();
  gpu.device.destroy();
});

test.each(programs)("$name agrees with eager", async ({ form, binary }) => {
  expect(await disagreements(core, gpu, form, binary, program)).toEqual([]);
});

const load = async (name: string) => {
  const { file, ...rest } = recorded(name);
  return { ...rest, program: await Program.load(file, { core, gpu }) };
};
const dataOf = (output: unknown) => (output as Tensor).data;

/** What the device is asked for while `work` runs. */
async function watched(work: () => Promise<unknown>): Promise<{ reads: number; kept: number; left: number }> {
  const { device } = gpu;
  const create = device.createBuffer;
  const found = { reads: 0, kept: 0, left: 0 };
  device.createBuffer = (descriptor) => {
    const buffer = create.call(device, descriptor);
    if (descriptor.label === "a kept output") {
      ++found.kept;
      ++found.left;
      const destroy = buffer.destroy;
      let isGone = false;
      buffer.destroy = () => {
        found.left -= isGone ? 0 : 1;
        isGone = true;
        destroy.call(buffer);
      };
    }
    if (descriptor.label === "staging for a tensor") ++found.reads;
    return buffer;
  };
  try {
    await work();
  } finally {
    device.createBuffer = create;
  }
  return found;
}

test("what only delegates use stays on the GPU, and goes when it was used", async () => {
  const { program, calls } = await load("encoder");
  const { reads, kept, left } = await watched(() => program.method("forward").execute(calls[0]));
  expect(kept).toBeGreaterThan(2);
  // What a kernel needs comes with the delegate's own outputs.
  expect({ reads, left }).toEqual({ reads: 0, left: 0 });
  await program.dispose();
});

test("a state that delegates make and read stays on the GPU, until the program goes", async () => {
  const { program, calls } = await load("running");
  const forward = program.method("forward");
  const { reads, left } = await watched(async () => {
    for (const inputs of calls) await forward.execute(inputs);
  });
  expect({ reads, left }).toEqual({ reads: 0, left: 1 });
  const after = await watched(async () => {
    await forward.execute(calls[0]);
    await program.dispose();
  });
  expect(after.left).toBe(0);
});

test("a call that fails leaves states as they were, and the next works", async () => {
  const { program, calls, expected } = await load("cache");
  const forward = program.method("forward");
  await forward.execute(calls[0]);
  for (const at of [16, -17, 2 ** 40]) {
    const found = await watched(() =>
      expect(forward.execute([calls[1][0], Tensor.of([at], [1], "int64")])).rejects.toThrow(
        new RegExp(
          `^method 'forward', step \\d+, aten::index.Tensor_out: index ${at} is out of range of dimension 0, whose size is 16$`,
        ),
      ),
    );
    expect(found.left).toBe(0);
  }
  const [logits] = await forward.execute(calls[1]);
  const got = dataOf(logits) as Float32Array;
  got.forEach((value, i) => {
    expect(Math.abs(value - Number(expected[1][0][i]))).toBeLessThan(1e-4);
  });
  await program.dispose();
});

test("wrong inputs are told in a sentence", async () => {
  const { program, calls } = await load("cache");
  const forward = program.method("forward");
  const [token, position] = calls[0];
  for (const [inputs, sentence] of [
    [
      [Tensor.of([1, 2], [1, 2], "int64"), position],
      "input 0: it would have sizes [1,2], but the program has [1,1]",
    ],
    [[Tensor.of([1.5], [1, 1]), position], "input 0: it is float32, but the program takes int64"],
    [[token, 3], "input 1: it must be a tensor of int64, not 3"],
  ] as const)
    await expect(forward.execute(inputs)).rejects.toThrow(`method 'forward', ${sentence}`);
  // Integers of another width are the same numbers.
  const narrow = await forward.execute([Tensor.of([5], [1, 1], "int32"), Tensor.of([0], [1], "int32")]);
  await program.dispose();
  const again = await load("cache");
  expect(dataOf(narrow[0])).toEqual(dataOf((await again.program.method("forward").execute(calls[0]))[0]));
  await again.program.dispose();
  await expect(again.program.method("forward").execute(calls[0])).rejects.toThrow("disposed of");
});

test("sizes past what the program has room for are refused", async () => {
  const { program, calls } = await load("lengths");
  const forward = program.method("forward");
  await expect(forward.execute([Tensor.of(new Float32Array(80), [10, 8])])).rejects.toThrow(
    "input 0: it would have sizes [10,8], but the program has room for [9,8]",
  );
  const [output] = await forward.execute(calls[1]);
  expect((output as Tensor).sizes).toEqual([28, 4]);
  await program.dispose();
});

test("outputs and inputs are the caller's, states the program's", async () => {
  const { program, calls, expected } = await load("counter");
  const forward = program.method("forward");
  for (const [i, [x]] of calls.entries()) {
    const [count, sum, before] = await forward.execute([x]);
    expect([count, sum, before].map(dataOf)).toEqual(expected[i]);
    (dataOf(count) as BigInt64Array).fill(99n);
    (dataOf(x) as Float32Array).fill(77);
    // What the caller wrote must not be what the program remembers.
    if (i + 1 < calls.length) expect(dataOf(before)).not.toContain(77);
  }
  await program.dispose();
});

test("calls take turns", async () => {
  const { program, calls, expected } = await load("counter");
  const forward = program.method("forward");
  const outputs = await Promise.all(calls.map((inputs) => forward.execute(inputs)));
  expect(outputs.map((output) => output.map(dataOf))).toEqual(expected);
  await program.dispose();
});

test("constants in a data file that is missing are named before anything is loaded", async () => {
  const { file } = recorded("weights apart");
  const sentence = /^weight '[^']+' is neither in .* nor in a data file$/;
  await expect(Program.load(file, { core, gpu })).rejects.toThrow(sentence);
  const { problems } = await Program.check(file, { core, gpu });
  expect(problems[0]).toMatch(sentence);
});

test("a lost device is told as such, and a reloaded program begins anew", async () => {
  const { file, calls, expected } = recorded("cache");
  const own = await openGpu();
  const program = await Program.load(file, { core, gpu: own });
  await program.method("forward").execute(calls[3]);
  own.device.destroy();
  await expect(program.method("forward").execute(calls[0])).rejects.toBeInstanceOf(DeviceLostError);
  const again = await program.reload();
  const [logits] = await again.method("forward").execute(calls[0]);
  (dataOf(logits) as Float32Array).forEach((value, i) => {
    expect(Math.abs(value - Number(expected[0][0][i]))).toBeLessThan(1e-4);
  });
  await again.dispose();
});

test("outputs can be kept: where they were computed", async () => {
  const { program, calls, expected } = await load("encoder");
  const [kept] = await program.method("forward").execute(calls[0], { keep: true });
  const data = await (kept as Tensor).read();
  data.forEach((value: number | bigint, i: number) => {
    expect(Math.abs(Number(value) - Number(expected[0][0][i]))).toBeLessThan(1e-5);
  });
  (kept as Tensor).dispose();
  await program.dispose();
});

test("constants of kernels are weights: counted by a check, fetched by ranges, kept", async () => {
  const { file, calls } = recorded("weights");
  const url = server.serve("weights.pte", file);
  const cache = new MemoryStore();
  const found = await Program.check(url, { core, gpu, cache });
  expect(found).toMatchObject({ runs: true, problems: [], missingOperators: [] });
  expect(found.leftOutside).toContain("aten::_to_copy.out");
  expect(found.weights.total).toBeGreaterThanOrEqual(6 * 8 + 8 * 6);
  const stages: number[] = [];
  const onProgress = ({ stage, done, total }: { stage: string; done: number; total: number }) => {
    if (stage === "weights" && done === total) stages.push(total);
  };
  const program = await Program.load(url, { core, gpu, cache, onProgress });
  await program.method("forward").execute(calls[0]);
  expect(stages[0]).toBeGreaterThanOrEqual(6 * 8);
  await program.dispose();
});
