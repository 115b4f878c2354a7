/** Recorded cases through the executor, on any device. */
import type { Core } from "../../src/core.ts";
import { PlannedDelegate } from "../../src/delegate.ts";
import { ModelError } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu.ts";
import type { Output } from "../../src/method.ts";
import { Program } from "../../src/program.ts";
import { openLocal } from "../../src/source.ts";
import { Tensor } from "../../src/tensor.ts";
import type { Place } from "../../src/weights.ts";
import { difference } from "./expected.ts";
import { bytesAt, type CallForm, type CaseForm, tensorAt } from "./files.ts";

/** Why a case says nothing about this device, if it does not. */
export function foreign({ options, matrices }: CaseForm, { capabilities }: Gpu): string | undefined {
  const hasMatrices = capabilities.matrix_size > 0 && capabilities.adapter_class !== "software";
  if (options.matmul_dtype !== "f16" || matrices === hasMatrices) return undefined;
  return `expects products in ${matrices ? "f16 of matrix units" : "f32, without matrix units"}`;
}

/** What a case calls. */
interface Loaded {
  execute(inputs: (Tensor | number)[]): Promise<Output[]>;
  dispose(): Promise<void>;
}
type Load = (core: Core, gpu: Gpu, form: CaseForm, binary: ArrayBuffer) => Promise<Loaded>;

/** A line for each disagreement. */
export async function disagreements(
  core: Core,
  gpu: Gpu,
  form: CaseForm,
  binary: ArrayBuffer,
  load: Load = delegate,
): Promise<string[]> {
  const found: string[] = [];
  const invalid = (event: Event): void => {
    found.push(`the device says: ${(event as GPUUncapturedErrorEvent).error.message}`);
  };
  gpu.device.addEventListener("uncapturederror", invalid);
  try {
    for await (const line of replay(load(core, gpu, form, binary), form, binary)) found.push(line);
    await gpu.device.queue.onSubmittedWorkDone();
  } finally {
    gpu.device.removeEventListener("uncapturederror", invalid);
  }
  return found;
}

async function* replay(
  loading: Promise<Loaded>,
  form: CaseForm,
  binary: ArrayBuffer,
): AsyncGenerator<string> {
  const { value: loaded, error } = await outcome(loading);
  const other = otherError(error, form.error);
  if (other !== undefined) yield `load: ${other}`;
  if (loaded === undefined) return;
  try {
    for (const [number, call] of form.calls.entries())
      for await (const line of differences(loaded, call, binary)) yield `call ${number}, ${line}`;
  } finally {
    await loaded.dispose();
  }
}

/** The method `forward` of a whole program. */
export async function program(core: Core, gpu: Gpu, form: CaseForm, binary: ArrayBuffer): Promise<Loaded> {
  const data = Object.values(form.data).map((range) => bytesAt(binary, range));
  const loaded = await Program.load(bytesAt(binary, form.blob), { core, gpu, data, selfTest: false });
  return {
    execute: (inputs) => loaded.method("forward").execute(inputs),
    dispose: () => loaded.dispose(),
  };
}

async function delegate(core: Core, gpu: Gpu, form: CaseForm, binary: ArrayBuffer): Promise<Loaded> {
  const file = openLocal(binary);
  const named = (key: string): Place => {
    const range = form.data[key];
    if (range === undefined)
      throw new ModelError(
        `weight '${key}': not among the ${Object.keys(form.data).length} named data given`,
      );
    return { source: file, offset: range[0], size: range[1] };
  };
  // Every program is taken for one that may be hostile here.
  const { trusted: _, ...options } = form.options;
  const blob = openLocal(bytesAt(binary, form.blob));
  const planned = await PlannedDelegate.read(core, gpu, blob, named, { options, selfTest: false });
  const runner = await planned.upload();
  return { execute: (inputs) => runner.execute(inputs, []), dispose: () => runner.dispose() };
}

async function* differences(loaded: Loaded, call: CallForm, binary: ArrayBuffer): AsyncGenerator<string> {
  const inputs = call.inputs.map((input) =>
    typeof input === "number" ? input : tensorAt(binary, input, input.range),
  );
  const { value: outputs, error } = await outcome(loaded.execute(inputs));
  const other = otherError(error, call.error);
  if (other !== undefined) yield other;
  if (outputs === undefined) return;
  for (const [index, expected] of call.outputs.entries()) {
    if (expected === null) continue;
    const output = outputs[index];
    const got = output instanceof Tensor ? output : Tensor.of([Number(output)], [], expected.dtype);
    const line = difference(got, expected, binary);
    if (line !== undefined) yield `output ${index} ${line}`;
  }
}

/** What came, or the sentence that says why not. */
async function outcome<T>(promise: Promise<T>): Promise<{ value?: T; error?: string }> {
  try {
    return { value: await promise };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { error: error.message };
  }
}

function otherError(got: string | undefined, native: string | null): string | undefined {
  const expected = native === null ? undefined : ownSentence(native);
  const agrees = expected instanceof RegExp ? expected.test(got ?? "") : got === expected;
  return agrees ? undefined : `got the error ${quoted(got)}, expected ${quoted(expected)}`;
}

/** What this executor says where the native host says something of its own arguments, if anything. */
function ownSentence(native: string): string | RegExp | undefined {
  // Nobody offers room for outputs here.
  if (/^output \d+ of sizes \[.*\] needs \d+ bytes, but there is room for \d+$/.test(native))
    return undefined;
  if (/^SymInt value \d+ would be -?\d+, which does not fit 32 bits$/.test(native))
    return /^input \d+: element \d+ is -?\d+, which does not fit int32$/;
  return native;
}

const quoted = (sentence: string | RegExp | undefined): string =>
  sentence === undefined ? "none" : `'${sentence}'`;
