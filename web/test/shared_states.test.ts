/** Methods of one program that share mutable buffers. */
import { expect, test } from "vitest";
import { CompiledProgram } from "../src/compiled.ts";
import { type LoadOptions, Program, Tensor } from "../src/index.ts";
import { loadCore, openGpu, sample } from "./support.ts";

const core = await loadCore();
const gpu = await openGpu();

// Each adds x to its states, all of which begin as zeros, and gives x and the states' sum; "get" only reads one.
const file = sample("states.pte");

const load = (methods: string[], options: Partial<LoadOptions> = {}): Promise<Program> =>
  Program.load(file, { core, gpu, methods, ...options });

async function call(program: Program | CompiledProgram, name: string, x: number): Promise<number> {
  const [y] = await program.method(name).execute([Tensor.of(new Float32Array(4).fill(x), [4])]);
  const values = [...((y as Tensor).data as Float32Array)];
  expect(new Set(values).size).toBe(1);
  return values[0];
}

test.each([[["add", "get"]], [["get", "add"]]])(
  "one method writes and another reads: %o",
  async (methods) => {
    const program = await load(methods);
    expect(await call(program, "get", 0.5)).toBe(0.5);
    expect(await call(program, "add", 2)).toBe(2 + 2);
    expect(await call(program, "get", 0.5)).toBe(2.5);
    expect(await call(program, "add", 3)).toBe(3 + 5);
    expect(await call(program, "get", 0)).toBe(5);
    await program.dispose();
  },
);

test("so it is in a file that was compiled ahead of time", async () => {
  const program = await CompiledProgram.load(sample("states.etwg"), { gpu });
  expect(await call(program, "add", 2)).toBe(2 + 2);
  expect(await call(program, "get", 0.5)).toBe(2.5);
  await program.dispose();
});

test("names tell which of several states are one", async () => {
  const program = await load(["named_both", "named_add"]);
  expect(await call(program, "named_both", 1)).toBe(1 + 1 + 1);
  expect(await call(program, "named_add", 10)).toBe(10 + 11); // "b" alone
  expect(await call(program, "named_both", 1)).toBe(1 + 2 + 12);
  await program.dispose();
});

test("what cannot be told apart is refused, by a check too, and can be kept apart", async () => {
  const methods = ["both", "add"];
  const sentence = /'both' shares states with 'add'.*float32 \[4\].*executorch_webgpu\.lowering/;
  await expect(load(methods)).rejects.toThrow(sentence);
  const found = await Program.check(file, { core, gpu, methods });
  expect(found.problems).toEqual([expect.stringMatching(sentence)]);
  const program = await load(methods, { sharedStates: false });
  expect(await call(program, "both", 1)).toBe(3);
  expect(await call(program, "add", 1)).toBe(2);
  await program.dispose();
  expect((await Program.check(file, { core, gpu, methods, sharedStates: false })).runs).toBe(true);
});

test("a shared state is one buffer, which goes with the program", async () => {
  const methods = ["add", "get"];
  const { memory } = await Program.check(file, { core, gpu, methods });
  const program = await load(methods);
  const buffers = methods.map((name) => program.method(name).runner!.memory.at("state", 0).buffer);
  expect(buffers[0]).toBe(buffers[1]);
  expect(memory.states).toBe(16);
  expect(memory.constants + memory.states).toBe(program.gpuBytes);
  let destroyed = 0;
  const destroy = buffers[0].destroy.bind(buffers[0]);
  buffers[0].destroy = () => {
    ++destroyed;
    return destroy();
  };
  await program.dispose();
  expect(destroyed).toBe(1);
});

test("two loads of one program keep to themselves, and a load again begins anew", async () => {
  const [first, second] = [await load(["add", "get"]), await load(["add", "get"])];
  await call(first, "add", 3);
  await call(second, "add", 1);
  expect(await call(first, "get", 0)).toBe(3);
  expect(await call(second, "get", 0)).toBe(1);
  await second.dispose();
  const again = await first.reload();
  expect(await call(again, "get", 0)).toBe(0);
  await call(again, "add", 1);
  expect(await call(again, "get", 0)).toBe(1);
  await again.dispose();
});
