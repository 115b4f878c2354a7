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
import { type FileOptions, ProgramFiles } from "./files.ts";
import { Gpu, type GpuOptions } from "./gpu.ts";
import { LoadedProgram, type Progress } from "./loaded.ts";
import { constantsOf, refusalsOf } from "./refusals.ts";
import type { Source } from "./source.ts";

export interface LoadOptions extends GpuOptions, FileOptions, PlanOptions {
  gpu?: Gpu;
  /** Methods to load; all unless it is given. */
  methods?: string[];
  onProgress?: (progress: Progress) => void;
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
    const refusal = forms.flatMap(refusalsOf)[0];
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
    await program.load(
      forms,
      ({ delegates }, number) => PlannedDelegate.of(gpu, files, delegates[number], options),
      options,
    );
    options.onProgress?.({ stage: "kernels", done: 1, total: 1 });
    return program;
  }
}
