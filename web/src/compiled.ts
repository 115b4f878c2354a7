/**
 * Programs that `executorch-webgpu compile` planned ahead of time (docs/compiled.md). Neither the planner nor the
 * program is needed:
 *
 *     import { CompiledProgram, Tensor } from "executorch-webgpu/compiled";
 *
 *     const program = await CompiledProgram.load("model.etwg");
 *     const [logits] = await program.method("forward").execute([Tensor.of(image, [1, 3, 224, 224])]);
 */
import { CompiledFile } from "./compiled_file.ts";
import { CompiledModel } from "./compiled_model.ts";
import { ModelError, stoppable } from "./errors.ts";
import type { Capabilities } from "./forms.ts";
import { Gpu, type GpuOptions } from "./gpu.ts";
import { LoadedProgram, type Progress } from "./loaded.ts";
import type { PlannedPart, UploadOptions } from "./method.ts";
import { type OpenOptions, opener } from "./open.ts";
import { constantsOf, methodsOf } from "./refusals.ts";
import { Runner } from "./runner.ts";
import type { Source } from "./source.ts";

export { ConnectionError, DeviceLostError, ModelError, StoppedError } from "./errors.ts";
export { Gpu } from "./gpu.ts";
export { Tensor } from "./tensor.ts";
export type { Progress };

export interface CompiledOptions extends GpuOptions, OpenOptions {
  gpu?: Gpu;
  /** Methods to load; all unless it is given. */
  methods?: string[];
  onProgress?: (progress: Progress) => void;
}

export class CompiledProgram extends LoadedProgram {
  /** On a new device, after this one was lost: what was in states is gone. Disposes of this program. */
  readonly reload: () => Promise<CompiledProgram>;

  private constructor(
    gpu: Gpu,
    ownsGpu: boolean,
    { constants, reload }: Pick<CompiledProgram, "constants" | "reload">,
  ) {
    super(gpu, ownsGpu, constants);
    this.reload = reload;
  }

  /** Rejects with a StoppedError where `signal` stops it. */
  static load(from: Source, options: CompiledOptions = {}): Promise<CompiledProgram> {
    return stoppable("loading the program", options.signal, () => CompiledProgram.#load(from, options));
  }

  static async #load(
    from: Source,
    options: CompiledOptions,
    reopen?: () => Promise<Gpu>,
  ): Promise<CompiledProgram> {
    const open = await opener(options);
    const file = await CompiledFile.open(await open(from), options.signal);
    const forms = methodsOf(file.form.methods, options.methods);
    const given = reopen === undefined ? options.gpu : undefined;
    const gpu = given ?? (await (reopen?.() ?? Gpu.open(options)));
    const program: CompiledProgram = new CompiledProgram(gpu, given === undefined, {
      constants: constantsOf(file.form),
      reload: async () => {
        await program.dispose();
        const { signal: _, ...again } = options; // which may have fired since
        return CompiledProgram.#load(from, again, () => gpu.reopen());
      },
    });
    await program.load(
      forms,
      async () => {
        checkDevice(file, gpu.capabilities);
        return { part: async ({ name }, number) => partOf(file, program, name, number) };
      },
      options,
    );
    options.onProgress?.({ stage: "kernels", done: 1, total: 1 });
    return program;
  }
}

function partOf(
  file: CompiledFile,
  { gpu, states }: Pick<CompiledProgram, "gpu" | "states">,
  method: string,
  number: number,
): PlannedPart {
  const found = file.form.delegates.find((one) => one.method === method && one.number === number);
  if (found === undefined)
    throw new ModelError(`${file.source.name} has no plans for delegate ${number} of method '${method}'`);
  return {
    upload: ({ signal, onProgress }: UploadOptions) =>
      Runner.create(new CompiledModel(found, file), gpu, {
        places: ({ offset, length }) => ({ source: file.source, offset, size: length }),
        shared: { buffers: states, numbers: new Map(found.shared_states) },
        signal,
        onProgress,
      }),
    dispose: () => {},
  };
}

const AT_LEAST = [
  "max_buffer_size",
  "max_storage_binding",
  "max_uniform_binding",
  "max_storage_buffers",
  "max_workgroup_invocations",
  "max_workgroup_storage",
  "max_workgroups_per_dimension",
] as const;
const AT_MOST = ["storage_alignment", "uniform_alignment"] as const;
const FEATURES = ["subgroups", "f16", "packed_products"] as const;

/** Fails for a device that has less than what the file was compiled for. */
function checkDevice({ source, form }: CompiledFile, device: Capabilities): void {
  const wanted = form.capabilities;
  const refuse = (what: string, than: unknown): never => {
    throw new ModelError(
      `${source.name} was compiled for devices with ${what}, but this one has ${than}: compile it with other --limits`,
    );
  };
  for (const name of AT_LEAST)
    if (!(device[name] >= wanted[name])) refuse(`a ${name} of ${wanted[name]}`, device[name]);
  for (const name of AT_MOST)
    if (!(device[name] <= wanted[name])) refuse(`a ${name} of ${wanted[name]}`, device[name]);
  if (!wanted.max_workgroup_size.every((most, d) => device.max_workgroup_size[d] >= most))
    refuse(`a max_workgroup_size of ${wanted.max_workgroup_size}`, device.max_workgroup_size);
  for (const name of FEATURES) if (wanted[name] && !device[name]) refuse(name, "none");
  if (wanted.matrix_size > 0 && wanted.matrix_size !== device.matrix_size)
    refuse(`a matrix_size of ${wanted.matrix_size}`, device.matrix_size);
  const subgroups = ({ min_subgroup_size, max_subgroup_size }: Capabilities): string =>
    `subgroups of ${min_subgroup_size} to ${max_subgroup_size}`;
  const fits =
    device.min_subgroup_size >= wanted.min_subgroup_size &&
    device.max_subgroup_size <= wanted.max_subgroup_size;
  if (wanted.subgroups && !fits) refuse(subgroups(wanted), subgroups(device));
}
