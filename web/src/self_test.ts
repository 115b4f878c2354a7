/**
 * Drivers compile some kernels wrongly, and nobody can tell from what comes out. So a model's kernels are tried on
 * the device, on small made-up values, each against the one that uses no feature; the planner decides which, and
 * what follows (src/plan/kernel_tester.h).
 */
import type { CoreModel, CoreTest, LoadSettings } from "./core.ts";
import { ARRAYS, bytesOf, isFloating } from "./elements.ts";
import { errorText, ModelError, OutOfMemoryError } from "./errors.ts";
import type { DelegateFile } from "./files.ts";
import type { Capabilities, ConstantForm, DType } from "./forms.ts";
import type { Gpu } from "./gpu.ts";
import { Runner } from "./runner.ts";
import { type Notice, openLocal } from "./source.ts";
import { Tensor } from "./tensor.ts";

/**
 * What a model may use of the device once its kernels have been tried there. Verdicts are kept for the next time;
 * `notice` hears of kernels that are wrong. Rejects where the device is lost: the next time that kernel is known.
 */
export async function testedCapabilities(
  file: DelegateFile,
  gpu: Gpu,
  settings: LoadSettings,
  notice: Notice,
  signal?: AbortSignal,
): Promise<Capabilities> {
  const test = file.test(settings, await keptVerdicts(gpu));
  try {
    await tryAll(test, file, gpu, signal);
    const { capabilities, replaced } = test.found(gpu.name);
    for (const sentence of replaced) notice(sentence);
    return capabilities;
  } finally {
    await keepVerdicts(gpu, JSON.stringify(test.found(gpu.name).verdicts));
    test.dispose();
  }
}

async function tryAll(test: CoreTest, file: DelegateFile, gpu: Gpu, signal?: AbortSignal): Promise<void> {
  for (let model = test.next(); model !== undefined; model = test.next()) {
    signal?.throwIfAborted();
    const outputs = await run(model, test, file, gpu).catch((error: unknown) => {
      test.failed(failure(error, gpu), errorText(error));
    });
    if (outputs) test.gave(outputs);
  }
}

const failure = (error: unknown, gpu: Gpu): "failed" | "no memory" | "lost" =>
  gpu.isLost ? "lost" : error instanceof OutOfMemoryError ? "no memory" : "failed";

type Outputs = Map<number, { dtype: DType; bytes: Uint8Array }>;

async function run(model: CoreModel, test: CoreTest, file: DelegateFile, gpu: Gpu): Promise<Outputs> {
  const runner = await Runner.create(model, gpu, { places: (constant) => madeUp(constant, test, file) });
  try {
    const wanted = model.form.outputs.map(({ type }) => ({
      dtype: type !== undefined && isFloating(type) ? ("float32" as const) : type,
      keep: false,
    }));
    const outputs: Outputs = new Map();
    (await runner.execute(inputsOf(test), wanted)).forEach((output, i) => {
      if (output instanceof Tensor) outputs.set(i, { dtype: output.dtype, bytes: bytesOf(output.data) });
    });
    return outputs;
  } finally {
    await runner.dispose();
  }
}

function inputsOf(test: CoreTest): (Tensor | number)[] {
  return test.inputs().map((input, i) => {
    if ("scalar" in input) return input.scalar;
    const bytes = test.input(i);
    const data = new ARRAYS[input.dtype](bytes.buffer as ArrayBuffer);
    return Tensor.of(data, input.sizes, input.dtype);
  });
}

// A constant's contents are anybody's; it has the file's place and size.
function madeUp(wanted: ConstantForm, test: CoreTest, { form }: DelegateFile) {
  const index = form.constants.findIndex(
    ({ key, offset, length }) => key === wanted.key && offset === wanted.offset && length === wanted.length,
  );
  if (index < 0) throw new ModelError(`the delegate has no weight '${wanted.key}'`);
  const source = openLocal(test.constant(index));
  return { source, offset: 0, size: source.size };
}

// --- Kept verdicts: of one adapter in one version of a browser, which is all that a page knows of its driver ---

const STORE = "executorch-webgpu-self-test";
const NONE = "[]";

// Where there is no store, in Node or in a page that is not secure, as long as the page lives.
const latest = new Map<string, string>();

async function keptVerdicts(gpu: Gpu): Promise<string> {
  const address = addressOf(gpu);
  try {
    const found = latest.get(address) ?? (await (await (await store())?.match(address))?.text()) ?? NONE;
    return Array.isArray(JSON.parse(found)) ? found : NONE;
  } catch {
    return NONE;
  }
}

async function keepVerdicts(gpu: Gpu, verdicts: string): Promise<void> {
  const address = addressOf(gpu);
  if (latest.get(address) === verdicts) return;
  latest.set(address, verdicts);
  try {
    await (await store())?.put(address, new Response(verdicts));
  } catch {
    // A full store: they are found out again.
  }
}

const store = async (): Promise<Cache | undefined> => globalThis.caches?.open(STORE);

// Nothing is ever fetched from these addresses.
function addressOf({ info, capabilities }: Gpu): string {
  const { vendor = "", architecture = "", device = "", description = "" } = info ?? {};
  const browser = globalThis.navigator?.userAgent ?? "";
  const key = [browser, vendor, architecture, device, description, capabilities.dialect].join("/");
  return `${globalThis.origin ?? "http://localhost"}/${STORE}/${encodeURIComponent(key)}`;
}
