/** Kernels are tried on the device: one that is wrong there is replaced, named and remembered. */
import { expect, test } from "vitest";
import { type LoadOptions, Program, Tensor } from "../src/index.ts";
import { findAdapter, loadCore, openGpu, sample } from "./support.ts";

const core = await loadCore();

const inputs = [Tensor.of([1, 2, 3], [1, 3], "int64"), Tensor.of([0], [1], "int64")];

async function run(program: Program): Promise<number[]> {
  const [logits] = await program.method("forward").execute(inputs);
  return [...((logits as Tensor).data as Float32Array)];
}

const right = await (async () => {
  const program = await Program.load(sample("decoder.pte"), { core, gpu: await openGpu() });
  return run(program);
})();

function expectRight(logits: readonly number[]): void {
  const most = Math.max(...right.map(Math.abs));
  expect(Math.max(...right.map((value, i) => Math.abs(value - logits[i])))).toBeLessThan(1e-4 * most);
}

/** A device with a name of its own, for verdicts are kept by that; `compile` hears of each, and may give it another text. */
async function open(
  name: string,
  compile: (kernel: string, code: string) => string | undefined = () => undefined,
): Promise<LoadOptions & { compiled: string[]; notices: string[] }> {
  const adapter = await findAdapter();
  const device = await adapter.requestDevice({
    requiredFeatures: adapter.features.has("subgroups") ? ["subgroups"] : [],
  });
  const compiled: string[] = [];
  const notices: string[] = [];
  const create = device.createShaderModule.bind(device);
  device.createShaderModule = (descriptor) => {
    const kernel = descriptor.label?.match(/^\w+/)?.[0] ?? "";
    compiled.push(kernel);
    return create({ ...descriptor, code: compile(kernel, descriptor.code) ?? descriptor.code });
  };
  const { vendor, architecture } = adapter.info;
  const named = new Proxy(device, {
    get(target, key) {
      if (key === "adapterInfo")
        return {
          vendor,
          architecture,
          description: name,
          subgroupMinSize: adapter.info.subgroupMinSize,
          subgroupMaxSize: adapter.info.subgroupMaxSize,
        };
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const gpu = await openGpu({ device: named, capabilities: { adapter_class: "software" } });
  return { core, gpu, selfTest: true, compiled, notices, onNotice: (text) => notices.push(text) };
}

const wrong = (kernel: string, code: string): string | undefined =>
  kernel === "gemm_lanes" ? code.replace("value += added;", "value += added + F4(0.5);") : undefined;

test("where all kernels are right, nothing is given up, and they are tried once", async () => {
  const options = await open("a right one");
  const program = await Program.load(sample("decoder.pte"), options);
  expectRight(await run(program));
  expect(options.notices).toEqual([]);
  expect(options.compiled).toContain("gemm_lanes");
  expect(options.compiled).toContain("gemm_slices"); // which it was compared with

  const again = await open("a right one");
  await Program.load(sample("decoder.pte"), again);
  expect(again.compiled).toEqual([]);
});

test("a wrong kernel is named, and the model does without it, then and later", async () => {
  for (const isTried of [true, false]) {
    const options = await open("a wrong one", wrong);
    const program = await Program.load(sample("decoder.pte"), options);
    expect(options.notices.length).toBeGreaterThan(0);
    expect(options.notices[0]).toMatch(
      /^self test: the kernel gemm_lanes is wrong on a wrong one, and the model does without .*: call \d+ .*: output/,
    );
    expect(options.compiled.includes("gemm_lanes")).toBe(isTried);
    expectRight(await run(program));
  }
});

test("without trials the wrong kernel is used", async () => {
  const options = await open("an untried one", wrong);
  const program = await Program.load(sample("decoder.pte"), { ...options, selfTest: false });
  expect(() => expectRight([])).toThrow();
  const logits = await run(program);
  expect(() => expectRight(logits)).toThrow();
});

test("a kernel that does not compile is wrong", async () => {
  const options = await open("one that refuses", (kernel) =>
    kernel === "gemm_lanes" ? "no WGSL" : undefined,
  );
  const program = await Program.load(sample("decoder.pte"), options);
  expect(options.notices[0]).toContain("the kernel gemm_lanes is wrong on one that refuses");
  expectRight(await run(program));
});

test("a kernel that loses the device fails that load, and is known at the next", async () => {
  const options = await open("one that dies", (kernel) => {
    if (kernel === "gemm_lanes") options.gpu!.device.destroy();
    return undefined;
  });
  await expect(Program.load(sample("decoder.pte"), options)).rejects.toThrow(
    /trial of kernels of call .*the GPU device was lost/,
  );
  const next = await open("one that dies");
  const program = await Program.load(sample("decoder.pte"), next);
  expect(next.compiled).not.toContain("gemm_lanes");
  expectRight(await run(program));
});
