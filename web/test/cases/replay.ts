/** Recorded cases through the executor, on any device. */
import type { Core } from "../../src/core.ts";
import { ModelError } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu.ts";
import { delegateRunner } from "../../src/program.ts";
import type { Runner } from "../../src/runner.ts";
import { type ByteSource, openSource } from "../../src/source.ts";
import { Tensor } from "../../src/tensor.ts";
import type { Place } from "../../src/weights.ts";
import { difference } from "./expected.ts";
import { bytesAt, type CallForm, type CaseForm, tensorAt } from "./files.ts";

/** Why a case says nothing about this executor, if it does not: there are no matrix units in WebGPU. */
export function foreign(form: CaseForm): string | undefined {
  return form.options.matmul_dtype === "f16" && form.matrices
    ? "expects products in f16 of matrix units"
    : undefined;
}

/** A line for each disagreement. */
export async function disagreements(
  core: Core,
  gpu: Gpu,
  form: CaseForm,
  binary: ArrayBuffer,
): Promise<string[]> {
  const found: string[] = [];
  const invalid = (event: Event): void => {
    found.push(`the device says: ${(event as GPUUncapturedErrorEvent).error.message}`);
  };
  gpu.device.addEventListener("uncapturederror", invalid);
  try {
    for await (const line of replay(core, gpu, form, binary)) found.push(line);
    await gpu.device.queue.onSubmittedWorkDone();
  } finally {
    gpu.device.removeEventListener("uncapturederror", invalid);
  }
  return found;
}

async function* replay(core: Core, gpu: Gpu, form: CaseForm, binary: ArrayBuffer): AsyncGenerator<string> {
  let runner: Runner;
  try {
    runner = await load(core, gpu, form, binary);
  } catch (error) {
    const line = otherError(error, form.error);
    if (line !== undefined) yield `load: ${line}`;
    return;
  }
  try {
    if (form.error !== null) yield `load: got no error, expected '${form.error}'`;
    for (const [number, call] of form.calls.entries())
      for await (const line of differences(runner, call, binary)) yield `call ${number}, ${line}`;
  } finally {
    runner.dispose();
  }
}

async function load(core: Core, gpu: Gpu, form: CaseForm, binary: ArrayBuffer): Promise<Runner> {
  const data = new Map<string, ByteSource>();
  for (const [key, range] of Object.entries(form.data))
    data.set(key, await openSource(bytesAt(binary, range)));
  const named = (key: string): Place => {
    const source = data.get(key);
    if (source === undefined)
      throw new ModelError(`weight '${key}': not among the ${data.size} named data given`);
    return { source, offset: 0, size: source.size };
  };
  // Every program is taken for one that may be hostile here.
  const { trusted: _, ...options } = form.options;
  return delegateRunner(core, gpu, await openSource(bytesAt(binary, form.blob)), named, { options });
}

async function* differences(runner: Runner, call: CallForm, binary: ArrayBuffer): AsyncGenerator<string> {
  let outputs: (Tensor | number)[];
  try {
    const inputs = call.inputs.map((input) =>
      typeof input === "number" ? input : tensorAt(binary, input, input.range),
    );
    outputs = await runner.execute(inputs, []);
  } catch (error) {
    const line = otherError(error, call.error);
    if (line !== undefined) yield line;
    return;
  }
  if (call.error !== null) yield `got no error, expected '${call.error}'`;
  for (const [index, expected] of call.outputs.entries()) {
    if (expected === null) continue;
    const output = outputs[index];
    const got = output instanceof Tensor ? output : Tensor.of([output], [], "int64");
    const line = difference(got, expected, binary);
    if (line !== undefined) yield `output ${index} ${line}`;
  }
}

function otherError(error: unknown, expected: string | null): string | undefined {
  if (!(error instanceof ModelError)) throw error;
  if (error.message === expected) return undefined;
  return `got the error '${error.message}', expected ${expected === null ? "none" : `'${expected}'`}`;
}
