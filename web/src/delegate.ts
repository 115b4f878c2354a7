/** A delegate on its way to a device: planned for it first, its weights uploaded afterwards. */
import type { Core, CoreModel } from "./core.ts";
import { DelegateFile, type FileOptions, type ProgramFiles } from "./files.ts";
import type { ModelOptions, ProgramDelegate } from "./forms.ts";
import type { Gpu } from "./gpu.ts";
import type { PlannedPart, UploadOptions } from "./method.ts";
import { Runner } from "./runner.ts";
import { testedCapabilities } from "./self_test.ts";
import type { ByteSource, Notice } from "./source.ts";
import type { Place } from "./weights.ts";

export interface PlanOptions extends Pick<FileOptions, "signal"> {
  options?: ModelOptions;
  /**
   * Whether kernels are tried on the device before weights are fetched; unless it is given they are, but on software
   * adapters. What was tried once on an adapter, in a version of a browser, is known from then on.
   */
  selfTest?: boolean;
  /** Hears what a user may want to know; console.warn unless it is given. */
  onNotice?: Notice;
}

export class PlannedDelegate implements PlannedPart {
  readonly #gpu: Gpu;
  readonly #file: DelegateFile;
  #model: CoreModel | undefined; // until a runner has it

  private constructor(gpu: Gpu, file: DelegateFile, model: CoreModel) {
    this.#gpu = gpu;
    this.#file = file;
    this.#model = model;
  }

  static of(
    gpu: Gpu,
    files: ProgramFiles,
    delegate: ProgramDelegate,
    options: PlanOptions & Pick<FileOptions, "core">,
  ): Promise<PlannedDelegate> {
    const named = (key: string): Place => files.place(key);
    return PlannedDelegate.read(options.core, gpu, files.blob(delegate), named, options);
  }

  /** `named` finds constants that lie outside the blob. */
  static async read(
    core: Core,
    gpu: Gpu,
    blob: ByteSource,
    named: (key: string) => Place,
    { signal, options = {}, selfTest, onNotice = console.warn }: PlanOptions = {},
  ): Promise<PlannedDelegate> {
    const file = await DelegateFile.read(core, blob, named, signal);
    const isTested = selfTest ?? gpu.capabilities.adapter_class !== "software";
    const capabilities = isTested
      ? await testedCapabilities(file, gpu, options, onNotice, signal)
      : gpu.capabilities;
    return new PlannedDelegate(gpu, file, file.compile(capabilities, options));
  }

  /** Whether a call changes what the next ones see. */
  get keepsStates(): boolean {
    return (this.#model?.form.states.length ?? 0) > 0;
  }

  /** Once. */
  upload({ signal, onProgress }: UploadOptions = {}): Promise<Runner> {
    const model = this.#model!;
    this.#model = undefined;
    return Runner.create(model, this.#gpu, { places: (part) => this.#file.place(part), signal, onProgress });
  }

  /** Of one that was not uploaded. */
  dispose(): void {
    this.#model?.dispose();
    this.#model = undefined;
  }
}
