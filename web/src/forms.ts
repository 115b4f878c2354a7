/**
 * The core's JSON forms: src/wasm has those of files and of tests, src/plan/plan_json.h those of models and
 * plans, and src/base/capabilities_json.h those of devices.
 */

export type DType = "bool" | "uint8" | "int8" | "int32" | "float16" | "float32" | "float64" | "int64";

/** An input of a kernel's trial. */
export type TrialInput = { dtype: DType; sizes: number[] } | { scalar: number };

/** What trials of kernels found (src/wasm/trial_exports.h). */
export interface TestFindings {
  /** Of the device, less what was given up. */
  capabilities: Capabilities;
  /** A sentence for each kernel that is wrong here. */
  replaced: string[];
  verdicts: { text: string; kernel: string; outcome: string; why?: string; given_up?: string[] }[];
}

/** How elements lie in the GPU's memory (src/base/storage.h). */
export type Storage = "f32" | "i32" | "i64" | "half-pairs" | "bytes";

export interface NamedData {
  key: string;
  offset: number;
  size: number;
}

/** A tensor has `dtype`, `sizes` and `dynamic`; anything else `value`. */
export interface ProgramValue {
  id: number;
  dtype?: string;
  sizes?: number[];
  dynamic?: boolean;
  value?: number | boolean | string | null;
}

export interface ProgramDelegate {
  backend: string;
  offset: number;
  size: number;
  aliased: boolean;
  /** What our exporter says of its states (src/format/state_names.h). */
  states: string;
}

export interface ProgramMethod {
  name: string;
  kernel_calls: number;
  kernels: string[];
  inputs: ProgramValue[];
  outputs: ProgramValue[];
  delegates: ProgramDelegate[];
  calls: { delegate: number; values: ProgramValue[] }[];
  /** Where more is to be done than to call delegates. */
  host?: HostForm;
}

/** One of what a method does: `index` is the kernel's, the call's, or that of the step to jump to. */
export interface HostStep {
  do: "kernel" | "call" | "move" | "jump" | "free";
  index: number;
  ids: number[];
}

/** A value as the program begins with it; numbers are texts, which hold all of them. */
export interface HostValue {
  dtype?: string;
  sizes?: number[];
  dynamic?: boolean;
  contiguous?: false;
  /** Of a list: the values in it, -1 for none. */
  ids?: number[];
  int?: string;
  double?: string;
  doubles?: string[];
  bools?: boolean[];
  value?: string | boolean;
}

/** A tensor's elements before the first call: in the program or, if it has a key, in a data file. */
export interface HostContents {
  id: number;
  key: string;
  offset: number;
  size: number;
}

/** A method as a host without ExecuTorch runs it (src/format/program.h). */
export interface HostForm {
  steps: HostStep[];
  values: HostValue[];
  contents: HostContents[];
  /** Tensors with memory of the method's own. */
  planned: number[];
}

export interface ProgramForm {
  methods: ProgramMethod[];
  named_data: NamedData[];
}

export interface DelegateForm {
  constants_at: number;
  /** `read`: plans may depend on its elements; `zeros`: on whether all of them are zero. */
  constants: { key: string; offset: number; length: number; read: boolean; zeros: boolean }[];
  missing_operators: string[];
}

/** A constant of the file, and how many of its bytes are needed. */
export interface ConstantForm {
  key: string;
  offset: number;
  length: number;
  bytes: number;
}

/** One that is not in the file is `made_of` others, once; of none where all elements are one number. */
export interface PartForm extends ConstantForm {
  type: DType;
  sizes: number[];
  made_of?: ConstantForm[];
}

export interface PackedForm {
  packing: string;
  bytes: number;
  parts: PartForm[];
}

/** A state's first content; `value` is its number in the graph. */
export interface StateForm extends PackedForm {
  value: number;
}

/** The constants of the file that a part is made of. */
export const sourcesOf = (part: PartForm): readonly ConstantForm[] => part.made_of ?? [part];

/** An input or output of a delegate's graph; without a type it is an integer. */
export interface Edge {
  value: number;
  type?: DType;
  host_type?: DType;
  sizes?: number[];
}

export interface ModelForm {
  version: number;
  inputs: (Edge & { wants_host_data: boolean })[];
  outputs: Edge[];
  constants: PackedForm[];
  states: StateForm[];
  scalars: number;
  scalar_values: number[];
  calls: number;
}

export type Space = "slot" | "constant" | "state" | "uniforms" | "scalars";

export interface PlannedTensor {
  position: number;
  type: DType;
  storage: Storage;
  sizes: number[];
  space: Space;
  index: number;
  on_device: boolean;
}

export interface Binding {
  space: Space;
  index: number;
  write: boolean;
  offset: number;
  size: number;
}

export interface Dispatch {
  call: string;
  kernel: string;
  kernel_index: number;
  grid: [number, number, number];
  live?: { scalar: number; add: number; divide: number };
  bindings: Binding[];
}

export interface PlanForm {
  version: number;
  inputs: PlannedTensor[];
  outputs: PlannedTensor[];
  slots: number[];
  slot_bytes: number;
  uniform_bytes: number;
  dispatches: Dispatch[];
}

export interface Match {
  inputs: number[][];
  first_output: number;
  outputs: number[];
}

export interface Capabilities {
  version: 1;
  adapter_class: "discrete" | "integrated" | "software";
  dialect: "tint" | "naga";
  max_buffer_size: number;
  max_storage_binding: number;
  max_uniform_binding: number;
  max_storage_buffers: number;
  max_workgroup_invocations: number;
  max_workgroup_size: [number, number, number];
  max_workgroup_storage: number;
  max_workgroups_per_dimension: number;
  storage_alignment: number;
  uniform_alignment: number;
  subgroups: boolean;
  min_subgroup_size: number;
  max_subgroup_size: number;
  f16: boolean;
  matrix_size: number;
  matrix_products_from?: number;
  few_rows_from?: number;
  byte_products_from: number;
  packed_products: boolean;
  timestamps: boolean;
}

export interface ModelOptions {
  kv_cache_dtype?: "f32" | "f16";
  matmul_dtype?: "f32" | "f16";
}
