/**
 * Programs (.pte): their methods and how to call them.
 *
 *     const program = await Program.load("model.pte");
 *     const [logits] = await program.method("forward").execute([Tensor.of(image, [1, 3, 224, 224])]);
 */
import { type Check, type CheckOptions, check } from "./check.ts";
import type { Core } from "./core.ts";
import { PlannedDelegate, type PlanOptions } from "./delegate.ts";
import { ModelError, stoppable } from "./errors.ts";
import { type FileOptions, ProgramFiles, sharedStates } from "./files.ts";
import type { ProgramMethod } from "./forms.ts";
import { Gpu, type GpuOptions } from "./gpu.ts";
import { LoadedProgram, type Planner, type Progress } from "./loaded.ts";
import { chainFor, constantsOf, refusalsOf } from "./refusals.ts";
import type { Source } from "./source.ts";

export interface LoadOptions extends GpuOptions, FileOptions, PlanOptions {
  gpu?: Gpu;
  /** Methods to load; all unless it is given. */
  methods?: string[];
  onProgress?: (progress: Progress) => void;
}

/** Reads all delegates of the methods, to plan one after the other. */
async function planner(
  { gpu, states }: Pick<Program, "gpu" | "states">,
  files: ProgramFiles,
  methods: readonly ProgramMethod[],
  options: LoadOptions,
): Promise<Planner> {
  const { core, sharedStates: areShared = true } = options;
  const read = await files.delegates(methods, options);
  const numbers = areShared ? sharedStates(core, methods, read) : undefined;
  const chains = await chainFor(methods);
  // What no file has is told before the first weight is fetched.
  const places = new Map(
    methods.map((form) => [form, form.host?.contents.map((one) => files.contents(one))]),
  );
  return {
    part: ({ delegates }, number) => {
      const delegate = delegates[number];
      const own = numbers?.get(delegate);
      const shared = own && { buffers: states, numbers: own };
      return PlannedDelegate.of(gpu, read.get(delegate)!, options, shared);
    },
    chain: (form) => {
      const { host } = form;
      return (
        host && { upload: (upload) => chains!.CpuChain.create(form, host, places.get(form) ?? [], upload) }
      );
    },
  };
}

export class Program extends LoadedProgram {
  readonly core: Core;
  /** On a new device, after this one was lost: what was in states is gone. Disposes of this program. */
  readonly reload: () => Promise<Program>;

  private constructor(
    gpu: Gpu,
    ownsGpu: boolean,
    { core, constants, reload }: Pick<Program, "core" | "constants" | "reload">,
  ) {
    super(gpu, ownsGpu, constants);
    this.core = core;
    this.reload = reload;
  }

  /** Rejects with a StoppedError where `signal` stops it. */
  static load(from: Source, options: LoadOptions): Promise<Program> {
    return stoppable("loading the program", options.signal, () => Program.#load(from, options));
  }

  /** What loading it would take, and whether it can be; fetches no weights. */
  static check(from: Source, options: CheckOptions): Promise<Check> {
    return stoppable("checking the program", options.signal, () => check(from, options));
  }

  static async #load(from: Source, options: LoadOptions, reopen?: () => Promise<Gpu>): Promise<Program> {
    const files = await ProgramFiles.open(from, options);
    const forms = files.methods(options.methods);
    const chains = await chainFor(forms);
    const refusal = forms.flatMap((form) => [...refusalsOf(form), ...(chains?.chainRefusals(form) ?? [])])[0];
    if (refusal !== undefined) throw new ModelError(refusal);
    const given = reopen === undefined ? options.gpu : undefined;
    const gpu = given ?? (await (reopen?.() ?? Gpu.open(options)));
    const program: Program = new Program(gpu, given === undefined, {
      core: options.core,
      constants: constantsOf(files.form),
      reload: async () => {
        await program.dispose();
        const { signal: _, ...again } = options; // which may have fired since
        return Program.#load(from, again, () => gpu.reopen());
      },
    });
    await program.load(forms, () => planner(program, files, forms, options), options);
    options.onProgress?.({ stage: "kernels", done: 1, total: 1 });
    return program;
  }
}
