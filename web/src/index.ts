export { type CachedFile, cachedFiles, clearCache } from "./cache.ts";
export type { Check, CheckOptions } from "./check.ts";
export { Core } from "./core.ts";
export type { TypedArray } from "./elements.ts";
export { ConnectionError, DeviceLostError, ModelError, StoppedError } from "./errors.ts";
export type { Capabilities, DType, ModelOptions, ProgramValue } from "./forms.ts";
export { Gpu, type GpuOptions } from "./gpu.ts";
export { type GenerateOptions, LanguageModel, type Stats } from "./language_model.ts";
export { type PlannedDispatch, type Profile, planOf, profile } from "./profile.ts";
export {
  type ExecuteOptions,
  type Input,
  type LoadOptions,
  Method,
  type Output,
  Program,
  type Progress,
} from "./program.ts";
export type { ByteSource, Source } from "./source.ts";
export type { CacheStore } from "./stores.ts";
export { Tensor } from "./tensor.ts";
export type { Message, TokenizerFiles } from "./tokenizer.ts";
