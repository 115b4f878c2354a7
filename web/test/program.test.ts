import { expect, test } from "vitest";
import { Program, Tensor } from "../src/index.ts";
import { loadCore, openGpu, sample } from "./support.ts";

const core = await loadCore();
const gpu = await openGpu();
const tokens = (count: number) =>
  Tensor.of(
    Array.from({ length: count }, (_, i) => i + 1),
    [1, count],
    "int64",
  );
const position = (at: number) => Tensor.of([at], [1], "int64");

test("a decoder's step after step is its prefill", async () => {
  const program = await Program.load(sample("decoder.pte"), { core, gpu });
  const forward = program.method("forward");
  expect(program.constants.get("get_max_seq_len")).toBe(32);
  const [whole] = await forward.execute([tokens(5), position(0)]);
  let last: Tensor | undefined;
  for (let i = 0; i < 5; ++i) {
    const [logits] = await forward.execute([Tensor.of([i + 1], [1, 1], "int64"), position(i)]);
    last = logits as Tensor;
  }
  expect(last?.sizes).toEqual([1, 64]);
  const expected = [...((whole as Tensor).data as Float32Array)];
  expect(expected.some((value) => Math.abs(value) > 1)).toBe(true);
  const most = Math.max(...expected.map(Math.abs));
  const worst = Math.max(...expected.map((value, i) => Math.abs(value - Number(last?.data[i]))));
  expect(worst).toBeLessThan(1e-5 * most);
  program.dispose();
});

test("an output kept on the GPU is read later", async () => {
  const program = await Program.load(sample("decoder.pte"), { core, gpu });
  const forward = program.method("forward");
  const [read] = await forward.execute([tokens(3), position(0)]);
  const [kept] = await forward.execute([tokens(3), position(0)], { keep: true });
  expect(() => (kept as Tensor).data).toThrow("read() fetches it");
  expect(await (kept as Tensor).read()).toEqual((read as Tensor).data);
  (kept as Tensor).dispose();
  program.dispose();
});

test("mistakes are sentences, and the next call works", async () => {
  const program = await Program.load(sample("decoder.pte"), { core, gpu });
  const forward = program.method("forward");
  await expect(forward.execute([tokens(5)])).rejects.toThrow("takes 2 inputs, but 1 were given");
  await expect(forward.execute([tokens(32), position(0)])).rejects.toThrow("32");
  await expect(forward.execute([Tensor.of([1.5], [1, 1]), position(0)])).rejects.toThrow(
    "do not fit its 2 inputs (int32 [1, 31], int32 [1])",
  );
  await expect(forward.execute([tokens(5), 0])).rejects.toThrow("input 1 must be a tensor");
  expect(() => program.method("backward")).toThrow("no method 'backward', but forward");
  const [logits] = await forward.execute([tokens(5), position(0)]);
  expect((logits as Tensor).sizes).toEqual([1, 64]);
  program.dispose();
});
