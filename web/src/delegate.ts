/** A delegate on its way to a device: planned for it first, its weights uploaded afterwards. */
import type { Core, CoreModel } from "./core.ts";
import { DelegateFile, type FileOptions } from "./files.ts";
import type { ConstantForm, ModelOptions } from "./forms.ts";
import type { Gpu } from "./gpu.ts";
import type { PlannedPart, UploadOptions } from "./method.ts";
import { Runner } from "./runner.ts";
import { testedCapabilities } from "./self_test.ts";
import type { SharedStates } from "./shared_states.ts";
import type { ByteSource, Notice } from "./source.ts";
import type { Place } from "./weights.ts";

export interface PlanOptions extends Pick<FileOptions, "signal"> {
  options?: ModelOptions;
  /** Whether methods that use one mutable buffer of the program see one state; they do unless it is false. */
  sharedStates?: boolean;
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
  readonly #shared: SharedStates | undefined;
  #model: CoreModel | undefined; // until a runner has it

  private constructor(gpu: Gpu, file: DelegateFile, shared: SharedStates | undefined, model: CoreModel) {
    this.#gpu = gpu;
    this.#file = file;
    this.#shared = shared;
    this.#model = model;
  }

  /** One that shares no states; `named` finds constants that lie outside the blob. */
  static async read(
    core: Core,
    gpu: Gpu,
    blob: ByteSource,
    named: (key: string) => Place,
    options: PlanOptions = {},
  ): Promise<PlannedDelegate> {
    return PlannedDelegate.of(gpu, await DelegateFile.read(core, blob, named, options.signal), options);
  }

  static async of(
    gpu: Gpu,
    file: DelegateFile,
    { signal, options = {}, selfTest, onNotice = console.warn }: PlanOptions,
    shared?: SharedStates,
  ): Promise<PlannedDelegate> {
    const settings = { capabilities: gpu.capabilities, options, shared: [...(shared?.numbers.keys() ?? [])] };
    if (selfTest ?? gpu.capabilities.adapter_class !== "software")
      settings.capabilities = await testedCapabilities(file, gpu, settings, onNotice, signal);
    return new PlannedDelegate(gpu, file, shared, file.compile(settings));
  }

  /** Once. */
  upload({ signal, onProgress }: UploadOptions = {}): Promise<Runner> {
    const model = this.#model!;
    this.#model = undefined;
    const places = (constant: ConstantForm): Place => this.#file.place(constant);
    return Runner.create(model, this.#gpu, { places, shared: this.#shared, signal, onProgress });
  }

  /** Of one that was not uploaded. */
  dispose(): void {
    this.#model?.dispose();
    this.#model = undefined;
  }
}
