/** A WebGPU device as the planner sees it, and what its models share: pipelines and their layouts. */
import { DeviceLostError, errorText, ModelError, OutOfMemoryError } from "./errors.ts";
import type { Capabilities } from "./forms.ts";

export interface GpuOptions {
  /** A device that is there already; else one is asked of the adapter. */
  device?: GPUDevice;
  adapter?: GPUAdapter;
  /** Where adapters come from; navigator.gpu unless it is given. */
  entry?: GPU;
  powerPreference?: GPUPowerPreference;
  /** Overrides what the device is taken for; for tests. */
  capabilities?: Partial<Capabilities>;
}

// What is raised to the adapter's own. These, WebGPU's least, are enough to run.
const LIMITS = {
  maxBufferSize: 256 << 20,
  maxStorageBufferBindingSize: 128 << 20,
  maxUniformBufferBindingSize: 64 << 10,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupSizeZ: 64,
  maxComputeWorkgroupStorageSize: 16 << 10,
  maxComputeWorkgroupsPerDimension: 65535,
  minStorageBufferOffsetAlignment: 256,
  minUniformBufferOffsetAlignment: 256,
};
const LIMIT_NAMES = Object.keys(LIMITS) as (keyof typeof LIMITS)[];

// Chromium's matrix units, which are not standard yet.
const MATRICES = "chromium-experimental-subgroup-matrix" as GPUFeatureName;
const FEATURES: GPUFeatureName[] = ["subgroups", "shader-f16", "timestamp-query", MATRICES];

/** Sends what has been recorded, and gives the encoder for what comes behind it. */
export type NextEncoder = () => GPUCommandEncoder;

interface ScopeErrors {
  invalid: GPUError | null;
  full: GPUError | null;
}

export class Gpu {
  readonly device: GPUDevice;
  readonly info: GPUAdapterInfo | undefined;
  readonly capabilities: Capabilities;
  readonly #ownsDevice: boolean;
  #lost: string | undefined;
  readonly #options: GpuOptions;
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>();

  private constructor(
    device: GPUDevice,
    ownsDevice: boolean,
    info: GPUAdapterInfo | undefined,
    options: GpuOptions,
  ) {
    this.device = device;
    this.#ownsDevice = ownsDevice;
    this.info = info;
    this.#options = options;
    this.capabilities = { ...capabilitiesOf(device, info, options.entry), ...options.capabilities };
    device.lost.then(({ reason, message }) => {
      this.#lost = reason === "destroyed" ? "it was destroyed" : message || "the driver gave no reason";
    });
  }

  static async open(options: GpuOptions = {}): Promise<Gpu> {
    const { device: given } = options;
    if (given !== undefined)
      return new Gpu(given, false, given.adapterInfo ?? options.adapter?.info, options);
    const adapter = options.adapter ?? (await findAdapter(options));
    const device = await adapter.requestDevice({
      requiredFeatures: FEATURES.filter((feature) => adapter.features.has(feature)),
      requiredLimits: Object.fromEntries(LIMIT_NAMES.map((limit) => [limit, adapter.limits[limit]])),
    });
    return new Gpu(device, true, adapter.info, options);
  }

  /** Gives the device back, unless it was there already. */
  dispose(): void {
    if (this.#ownsDevice) this.device.destroy();
  }

  /** Another device of the same kind, after this one was lost. Adapters give one device only. */
  async reopen(): Promise<Gpu> {
    if (this.#options.device !== undefined) this.check();
    const { adapter: _, ...options } = this.#options;
    return Gpu.open(options);
  }

  /** For people: "nvidia (ampere)". */
  get name(): string {
    const { vendor, architecture, description } = this.info ?? {
      vendor: "",
      architecture: "",
      description: "",
    };
    return description || [vendor, architecture].filter(Boolean).join(" ") || "an unnamed adapter";
  }
  get isLost(): boolean {
    return this.#lost !== undefined;
  }
  check(): void {
    if (this.#lost !== undefined) throw new DeviceLostError(`the GPU device was lost: ${this.#lost}`);
  }

  /** A buffer, or an error that says what it was for. */
  async buffer(what: string, size: number, usage: GPUBufferUsageFlags): Promise<GPUBuffer> {
    this.check();
    const most = this.device.limits.maxBufferSize;
    if (size > most)
      throw new OutOfMemoryError(
        `${what} needs ${size} bytes, but this device's buffers have at most ${most}`,
      );
    const { result: buffer, errors } = this.#scoped(() =>
      this.device.createBuffer({ label: what, size, usage }),
    );
    try {
      this.#refuse(await errors, `${what} of ${size} bytes`);
      return buffer;
    } catch (error) {
      buffer.destroy();
      throw error;
    }
  }

  /**
   * Submits what `record` encodes, without a wait in it, in pieces where it asks for the `next` encoder. Rejects where
   * any of that was not valid or found no memory: the GPU has then done nothing of that piece.
   */
  async submit(what: string, record: (encoder: GPUCommandEncoder, next: NextEncoder) => void): Promise<void> {
    this.check();
    const { errors } = this.#scoped(() => {
      let encoder = this.device.createCommandEncoder();
      const send = (): void => this.device.queue.submit([encoder.finish()]);
      record(encoder, () => {
        send();
        encoder = this.device.createCommandEncoder();
        return encoder;
      });
      send();
    });
    this.#refuse(await errors, what);
  }

  // Scopes are left before anybody waits: others may be entering theirs.
  #scoped<T>(call: () => T): { result: T; errors: Promise<ScopeErrors> } {
    this.device.pushErrorScope("out-of-memory");
    this.device.pushErrorScope("validation");
    try {
      return { result: call(), errors: this.#popped() };
    } catch (error) {
      this.#popped().catch(() => {}); // what `call` threw says it all
      throw error;
    }
  }
  async #popped(): Promise<ScopeErrors> {
    const [invalid, full] = [this.device.popErrorScope(), this.device.popErrorScope()];
    return { invalid: await invalid, full: await full };
  }

  #refuse({ invalid, full }: ScopeErrors, what: string): void {
    if (invalid === null && full === null) return;
    this.check();
    if (full !== null) throw new OutOfMemoryError(`the GPU has no memory for ${what}`);
    throw new ModelError(`the GPU refused ${what}: ${invalid?.message}`);
  }

  /** One letter a binding: r and w for storage buffers, u for uniforms. */
  layout(signature: string): GPUBindGroupLayout {
    let layout = this.#layouts.get(signature);
    if (layout === undefined) {
      layout = this.device.createBindGroupLayout({
        entries: [...signature].map((letter, binding) => ({
          binding,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { type: letter === "u" ? "uniform" : letter === "r" ? "read-only-storage" : "storage" },
        })),
      });
      this.#layouts.set(signature, layout);
    }
    return layout;
  }

  /** Compiles in the background; the same text is compiled once. */
  pipeline(name: string, code: string, signature: string): Promise<GPUComputePipeline> {
    const key = `${signature} ${code}`;
    let pipeline = this.#pipelines.get(key);
    if (pipeline === undefined) {
      pipeline = this.#compile(name, code, signature);
      this.#pipelines.set(key, pipeline);
      pipeline.catch(() => this.#pipelines.delete(key));
    }
    return pipeline;
  }

  async #compile(label: string, code: string, signature: string): Promise<GPUComputePipeline> {
    const layout = this.device.createPipelineLayout({ bindGroupLayouts: [this.layout(signature)] });
    const module = this.device.createShaderModule({ label, code });
    try {
      return await this.device.createComputePipelineAsync({
        label,
        layout,
        compute: { module, entryPoint: "main" },
      });
    } catch (error) {
      this.check();
      const { messages } = await module.getCompilationInfo();
      const first = messages.find(({ type }) => type === "error");
      const why = first === undefined ? errorText(error) : `line ${first.lineNum}: ${first.message}`;
      throw new ModelError(`kernel ${label}: ${why}`, { cause: error });
    }
  }
}

export async function findAdapter({
  entry,
  powerPreference = "high-performance",
}: GpuOptions): Promise<GPUAdapter> {
  const gpu = entry ?? globalThis.navigator?.gpu;
  if (gpu === undefined) throw new ModelError("this browser has no WebGPU (navigator.gpu is missing)");
  const adapter = await gpu.requestAdapter({ powerPreference });
  if (adapter === null)
    throw new ModelError("WebGPU is there, but it has no adapter: the GPU or its driver may be blocked");
  return adapter;
}

/** Of a device, or of an adapter, whose devices are opened with all it has; else WebGPU's least. */
export function capabilitiesOf(
  from?: GPUDevice | GPUAdapter,
  info?: GPUAdapterInfo,
  entry: GPU | undefined = globalThis.navigator?.gpu,
): Capabilities {
  const kind = adapterClass(info);
  const limits = from?.limits ?? LIMITS;
  const features: ReadonlySet<string> = from?.features ?? new Set();
  return {
    version: 1,
    adapter_class: kind,
    dialect: dialect(),
    max_buffer_size: limits.maxBufferSize,
    max_storage_binding: limits.maxStorageBufferBindingSize,
    max_uniform_binding: limits.maxUniformBufferBindingSize,
    max_storage_buffers: limits.maxStorageBuffersPerShaderStage,
    max_workgroup_invocations: limits.maxComputeInvocationsPerWorkgroup,
    max_workgroup_size: [
      limits.maxComputeWorkgroupSizeX,
      limits.maxComputeWorkgroupSizeY,
      limits.maxComputeWorkgroupSizeZ,
    ],
    max_workgroup_storage: limits.maxComputeWorkgroupStorageSize,
    max_workgroups_per_dimension: limits.maxComputeWorkgroupsPerDimension,
    storage_alignment: limits.minStorageBufferOffsetAlignment,
    uniform_alignment: limits.minUniformBufferOffsetAlignment,
    // Kernels with subgroups need to know their sizes.
    subgroups: features.has("subgroups") && (info?.subgroupMinSize ?? 0) > 0,
    min_subgroup_size: info?.subgroupMinSize || 4,
    max_subgroup_size: info?.subgroupMaxSize || 128,
    f16: features.has("shader-f16"),
    matrix_size: features.has(MATRICES) ? matrixSize(info) : 0,
    // Nobody says whether products of bytes are one instruction: on Apple's GPUs and older integrated ones they are not.
    byte_products_from: kind === "discrete" ? WORTH_BYTE_PRODUCTS : Number.MAX_SAFE_INTEGER,
    packed_products: entry?.wgslLanguageFeatures?.has("packed_4x8_integer_dot_product") ?? true,
    timestamps: features.has("timestamp-query"),
  };
}

const WORTH_BYTE_PRODUCTS = 4_000_000; // as src/webgpu/device.cpp has it

interface MatrixConfig {
  componentType: string;
  resultComponentType: string;
  M: number;
  N: number;
  K: number;
}

// Of square f16 matrices with f32 sums.
function matrixSize(info: GPUAdapterInfo | undefined): number {
  const { subgroupMatrixConfigs = [] } = (info ?? {}) as { subgroupMatrixConfigs?: Iterable<MatrixConfig> };
  for (const { componentType, resultComponentType, M, N, K } of subgroupMatrixConfigs)
    if (componentType === "f16" && resultComponentType === "f32" && M === N && N === K) return M;
  return 0;
}

// Firefox's front end is Naga; everyone else's takes "enable subgroups;", as the specification has it.
function dialect(): Capabilities["dialect"] {
  return /firefox/i.test(globalThis.navigator?.userAgent ?? "") ? "naga" : "tint";
}

const SOFTWARE = /swiftshader|llvmpipe|lavapipe|warp|basic render/i;
const INTEGRATED = /apple|intel|qualcomm|arm|imagination|samsung|broadcom/i;

// WebGPU does not say it, but who made an adapter nearly does.
function adapterClass(info: GPUAdapterInfo | undefined): Capabilities["adapter_class"] {
  if (info === undefined) return "integrated";
  const text = [info.vendor, info.architecture, info.device, info.description].join(" ");
  if (info.isFallbackAdapter || SOFTWARE.test(text)) return "software";
  return INTEGRATED.test(info.vendor) ? "integrated" : "discrete";
}
