/** What a program would take, said before any of its weights is fetched: the preflight of Program.check. */
import type { CoreModel, LoadSettings } from "./core.ts";
import { findDecoder } from "./decoder.ts";
import { errorText, ModelError } from "./errors.ts";
import { type DelegateFile, type FileOptions, ProgramFiles, sharedStates } from "./files.ts";
import {
  type Capabilities,
  type ModelOptions,
  type PlanForm,
  type ProgramDelegate,
  type ProgramMethod,
  sourcesOf,
} from "./forms.ts";
import { capabilitiesOf, findAdapter, type Gpu, type GpuOptions } from "./gpu.ts";
import { type BufferSizes, bufferSizes } from "./memory.ts";
import { type Constants, chainFor, constantsOf, refusalsOf } from "./refusals.ts";
import type { SharedNumbers } from "./shared_states.ts";
import type { Source } from "./source.ts";
import { type Place, runs } from "./weights.ts";

export interface CheckOptions extends GpuOptions, FileOptions {
  gpu?: Gpu;
  options?: ModelOptions;
  /** As for a load. */
  sharedStates?: boolean;
  /** Methods to be loaded; all unless it is given. */
  methods?: string[];
  /** Bytes of GPU memory that the program may take. */
  memoryBudget?: number;
}

export interface Check {
  /** Whether it can be loaded here: there are no problems. */
  runs: boolean;
  methods: string[];
  /** What they take and give, as a loaded program's methods say it. */
  signatures: Pick<ProgramMethod, "name" | "inputs" | "outputs">[];
  constants: Constants;
  /** Bytes of weights. */
  weights: {
    /** In the program's files, each counted once. */
    total: number;
    /** Of these, what has to come over the network. */
    toFetch: number;
  };
  /** Bytes on the GPU; activations at the largest inputs. */
  memory: { constants: number; states: number; activations: number; total: number };
  missingOperators: string[];
  /** Kernels outside of delegates, which the page computes itself on the CPU where it has them. */
  leftOutside: string[];
  /** Where LanguageModel chooses tokens, if it can chat with it: from each step's logits where those come to the page. */
  chat?: "on the GPU" | "in the page";
  /** Why it cannot be loaded. */
  problems: string[];
  /** What is as well to know: inputs that are too large for this adapter. */
  warnings: string[];
  /** Features that this adapter lacks and the program would use. */
  wishes: { feature: GPUFeatureName; why: string }[];
  /** All of this for people. */
  sentences: string[];
}

export async function check(from: Source, options: CheckOptions): Promise<Check> {
  const files = await ProgramFiles.open(from, options);
  const methods = files.methods(options.methods);
  const { capabilities, problem } = await adapterOf(options);
  const out = new Findings(options, capabilities, problem);
  const read = await files.delegates(methods, options);
  out.addStates(methods, read);
  const chains = await chainFor(methods);
  for (const method of methods) {
    out.add(method, read);
    out.addChain(method, files, chains?.chainRefusals(method) ?? []);
  }
  const signatures = methods.map(({ name, inputs, outputs }) => ({ name, inputs, outputs }));
  const constants = constantsOf(files.form);
  const decoder = findDecoder(methods, constants);
  return {
    ...(await out.result(
      methods.map(({ name }) => name),
      decoder && (decoder.choosesOnGpu ? "on the GPU" : "in the page"),
    )),
    signatures,
    constants,
  };
}

// Without an adapter the program is checked against WebGPU's least.
async function adapterOf(options: CheckOptions): Promise<{ capabilities: Capabilities; problem?: string }> {
  const { gpu, device, adapter, entry, capabilities } = options;
  if (gpu !== undefined) return { capabilities: gpu.capabilities };
  try {
    const found = device ?? adapter ?? (await findAdapter(options));
    const info = "info" in found ? found.info : found.adapterInfo;
    return { capabilities: { ...capabilitiesOf(found, info, entry), ...capabilities } };
  } catch (error) {
    return { capabilities: { ...capabilitiesOf(), ...capabilities }, problem: errorText(error) };
  }
}

/** Features that kernels are chosen by: what says so in their text, and an adapter that has one. */
const WISHES = [
  {
    feature: "subgroups",
    capability: "subgroups",
    enable: "enable subgroups;",
    has: { subgroups: true, min_subgroup_size: 32, max_subgroup_size: 32 },
  },
  { feature: "shader-f16", capability: "f16", enable: "enable f16;", has: { f16: true } },
] as const;
type Wish = (typeof WISHES)[number];

class Findings {
  readonly #capabilities: Capabilities;
  readonly #options: CheckOptions;
  readonly #problems = new Set<string>();
  readonly #warnings = new Set<string>();
  readonly #missing = new Set<string>();
  readonly #outside = new Set<string>();
  readonly #weights: Place[] = [];
  readonly #memory = { constants: 0, states: 0, activations: 0, total: 0 };
  readonly #wishes = new Map<Wish["feature"], number>();
  #shared: ReadonlyMap<ProgramDelegate, SharedNumbers> = new Map();
  readonly #counted = new Set<number>(); // buffers of states

  constructor(options: CheckOptions, capabilities: Capabilities, problem?: string) {
    this.#options = options;
    this.#capabilities = capabilities;
    if (problem !== undefined) this.#problems.add(problem);
  }

  addStates(methods: readonly ProgramMethod[], read: ReadonlyMap<ProgramDelegate, DelegateFile>): void {
    const { core, sharedStates: areShared = true } = this.#options;
    try {
      if (areShared) this.#shared = sharedStates(core, methods, read);
    } catch (error) {
      this.#problems.add(errorText(error));
    }
  }

  add(method: ProgramMethod, read: ReadonlyMap<ProgramDelegate, DelegateFile>): void {
    for (const kernel of method.kernels) this.#outside.add(kernel);
    for (const refusal of refusalsOf(method)) this.#problems.add(refusal);
    for (const delegate of method.delegates) {
      const file = read.get(delegate);
      if (file === undefined) continue;
      this.#addOperators(method, file);
      const shared = this.#shared.get(delegate) ?? new Map();
      if (file.form.missing_operators.length === 0) this.#addModel(method, file, shared);
    }
  }

  /** What a method computes outside of delegates. */
  addChain({ host }: ProgramMethod, files: ProgramFiles, refusals: readonly string[]): void {
    for (const refusal of refusals) this.#problems.add(refusal);
    for (const one of host?.contents ?? []) {
      try {
        this.#weights.push(files.contents(one));
      } catch (error) {
        this.#problems.add(errorText(error)); // no file has it
      }
    }
  }

  #addOperators({ name }: ProgramMethod, { form }: DelegateFile): void {
    const missing = form.missing_operators;
    for (const operator of missing) this.#missing.add(operator);
    if (missing.length > 0)
      this.#problems.add(`method '${name}' has operators that are not supported: ${missing.join(", ")}`);
  }

  #addModel(method: ProgramMethod, file: DelegateFile, shared: SharedNumbers): void {
    const { options = {} } = this.#options;
    const settings = { capabilities: this.#capabilities, options, shared: [...shared.keys()] };
    let model: CoreModel;
    try {
      model = file.compile(settings);
    } catch (error) {
      this.#problems.add(`method '${method.name}': ${errorText(error)}`);
      return;
    }
    try {
      this.#addMemory(method, model, shared);
      this.#addWeights(model, file);
    } finally {
      model.dispose();
    }
    for (const wish of WISHES)
      if (!this.#capabilities[wish.capability]) this.#addWish(wish, method, file, settings);
  }

  #addWeights({ form }: CoreModel, file: DelegateFile): void {
    for (const { parts } of [...form.constants, ...form.states])
      for (const constant of parts.flatMap(sourcesOf)) {
        try {
          this.#weights.push({ ...file.place(constant), size: constant.bytes });
        } catch (error) {
          this.#problems.add(errorText(error)); // no file has it
        }
      }
  }

  #addMemory(method: ProgramMethod, model: CoreModel, shared: SharedNumbers): void {
    const plan = model.boundPlan();
    const states = model.form.states.filter(({ value }) => !this.#counted.has(shared.get(value) ?? -1));
    for (const number of shared.values()) this.#counted.add(number);
    const buffers = bufferSizes({ ...model.form, states }, plan.slots, this.#capabilities);
    for (const part of ["constants", "states", "activations"] as const) {
      const bytes = buffers[part].reduce((sum, size) => sum + size, 0);
      this.#memory[part] += bytes;
      this.#memory.total += bytes;
    }
    this.#checkSizes(method, buffers, plan);
  }

  #checkSizes({ name, inputs }: ProgramMethod, buffers: BufferSizes, plan: PlanForm): void {
    const { max_buffer_size: most, max_storage_binding: widest } = this.#capabilities;
    for (const part of ["constants", "states"] as const) {
      const largest = Math.max(0, ...buffers[part]);
      if (largest > most)
        this.#problems.add(
          `method '${name}' needs a buffer of ${bytesText(largest)} for ${part}, but this adapter's have at most ${bytesText(most)}`,
        );
    }
    const bound = plan.dispatches.flatMap(({ bindings }) =>
      bindings.filter(({ space }) => space === "slot").map(({ size }) => size),
    );
    const tooLarge = Math.max(...buffers.activations, 0) > most || Math.max(...bound, 0) > widest;
    const tooMany = plan.dispatches.some(
      ({ grid }) => Math.max(...grid) > this.#capabilities.max_workgroups_per_dimension,
    );
    if (!tooLarge && !tooMany) return;
    const what = `method '${name}' passes this adapter's limits with its largest inputs`;
    if (inputs.some(({ dynamic }) => dynamic)) this.#warnings.add(`${what}: smaller ones run`);
    else this.#problems.add(`${what}, which are the only ones that it takes`);
  }

  // Features whose kernels the planner would choose. Kernels for few rows are where they count most.
  #addWish(
    { feature, enable, has }: Wish,
    { inputs }: ProgramMethod,
    file: DelegateFile,
    settings: LoadSettings,
  ): void {
    const model = file.compile({ ...settings, capabilities: { ...this.#capabilities, ...has } });
    try {
      if (inputs.some(({ dynamic }) => dynamic)) prepareSmallest(model);
      let using = 0;
      for (let i = 0; i < model.kernelCount; ++i) if (model.kernel(i, "tint").includes(enable)) ++using;
      this.#wishes.set(feature, (this.#wishes.get(feature) ?? 0) + using);
    } finally {
      model.dispose();
    }
  }

  async result(methods: string[], chat?: Check["chat"]): Promise<Omit<Check, "signatures" | "constants">> {
    const total = this.#memory.total;
    const { memoryBudget = Number.POSITIVE_INFINITY } = this.#options;
    if (total > memoryBudget)
      this.#problems.add(
        `it needs ${bytesText(total)} of GPU memory, but ${bytesText(memoryBudget)} are allowed`,
      );
    const found = {
      runs: this.#problems.size === 0,
      methods,
      weights: await weightsOf(this.#weights),
      memory: this.#memory,
      missingOperators: [...this.#missing],
      leftOutside: [...this.#outside],
      ...(chat && { chat }),
      problems: [...this.#problems],
      warnings: [...this.#warnings],
      wishes: this.#wishesFound(),
    };
    return { ...found, sentences: sentencesOf(found) };
  }

  #wishesFound(): Check["wishes"] {
    const out: Check["wishes"] = [...this.#wishes]
      .filter(([, kernels]) => kernels > 0)
      .map(([feature, kernels]) => ({
        feature,
        why: `${kernels} of its kernels would use it, which are faster than those that run without`,
      }));
    if (!this.#capabilities.timestamps)
      out.push({ feature: "timestamp-query", why: "profiles would tell the time of each kernel" });
    return out;
  }
}

// The plan for one token, say; of inputs that cannot be so small there is only the plan for the largest.
function prepareSmallest(model: CoreModel): void {
  const inputs = model.form.inputs.map(({ sizes = [], wants_host_data }) => ({
    sizes: sizes.map(() => 1),
    scalar: 0,
    ...(wants_host_data && { elements: Int32Array.of(0) }),
  }));
  try {
    model.prepare(inputs, true);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
  }
}

async function weightsOf(places: readonly Place[]): Promise<Check["weights"]> {
  const out = { total: 0, toFetch: 0 };
  for (const { source, begin, end } of runs(places, 0)) {
    out.total += end - begin;
    out.toFetch += (await source.missing?.(begin, end - begin)) ?? 0;
  }
  return out;
}

function sentencesOf(found: Omit<Check, "sentences" | "signatures" | "constants">): string[] {
  const { runs, methods, weights, memory, chat, problems, warnings, wishes } = found;
  const kept = weights.total - weights.toFetch;
  const here = kept > 0 ? `, ${bytesText(kept)} of which are here already` : "";
  return [
    `The program ${runs ? "runs" : "does not run"} here: it has ${methods.length === 1 ? "method" : "methods"} ${methods.join(", ")}.`,
    `Its weights are ${bytesText(weights.total)}${here}.`,
    `It takes ${bytesText(memory.total)} of GPU memory: ${bytesText(memory.constants)} for constants, ` +
      `${bytesText(memory.states)} for states and, with the largest inputs, ${bytesText(memory.activations)} for activations.`,
    ...(runs && chat ? [CHATS[chat]] : []),
    ...[...problems, ...warnings].map(sentence),
    ...wishes.map(({ feature, why }) => `This adapter lacks ${feature}: ${why}.`),
  ];
}

const CHATS: Record<NonNullable<Check["chat"]>, string> = {
  "on the GPU": "It chats, and its tokens stay on the GPU.",
  "in the page":
    "It chats, less quickly than one delegate with a cache: each step's logits come to the page, which chooses the token.",
};

const sentence = (text: string): string => `${text[0].toUpperCase()}${text.slice(1)}.`;

function bytesText(bytes: number): string {
  const units = ["bytes", "KB", "MB", "GB"];
  let unit = 0;
  let value = bytes;
  for (; value >= 1000 && unit + 1 < units.length; ++unit) value /= 1000;
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
}
