/** How the next token is chosen from logits, on the GPU (src/kernels/sample_token.wgsl) or here (cpu/sampler.ts). */
import { ModelError } from "./errors.ts";

export interface SamplingOptions {
  /** 0, as without it, takes the likeliest token; higher is more varied. */
  temperature?: number;
  /** Choose among so many likeliest tokens, 40 unless it is given; 0 among all. */
  topK?: number;
  /** Choose among the fewest likeliest tokens that have this probability together. */
  topP?: number;
  /** Choose among tokens with this share of the likeliest one's probability. */
  minP?: number;
  /** Above 1, tokens that are there already become less likely. */
  repetitionPenalty?: number;
  /** For repeatable choices. */
  seed?: number;
}

/** Whether that takes the likeliest of the model's own logits. */
export const isGreedy = ({ temperature = 0, repetitionPenalty = 1 }: SamplingOptions): boolean =>
  temperature === 0 && repetitionPenalty === 1;

// Of each option: its least and most value.
const RANGES = {
  temperature: [0, 1e6],
  topK: [0, 2 ** 31],
  topP: [0, 1],
  minP: [0, 1],
  repetitionPenalty: [1e-6, 1e6],
} as const;

/** All of them; throws where one is out of range. */
export function samplingDefaults(options: SamplingOptions): Required<SamplingOptions> {
  for (const [name, [least, most]] of Object.entries(RANGES)) {
    const value = options[name as keyof typeof RANGES];
    if (value !== undefined && !(value >= least && value <= most))
      throw new ModelError(`${name} is ${value}, but must be from ${least} to ${most}`);
  }
  return {
    temperature: options.temperature ?? 0,
    topK: Math.floor(options.topK ?? 40),
    topP: options.topP ?? 1,
    minP: options.minP ?? 0,
    repetitionPenalty: options.repetitionPenalty ?? 1,
    seed: options.seed ?? Math.floor(Math.random() * 2 ** 32),
  };
}

/** The kernel's params (SamplingParams of src/kernels/token_choice.h). */
export function samplingParams(options: SamplingOptions): Uint8Array<ArrayBuffer> {
  const { temperature, topK, topP, minP, repetitionPenalty, seed } = samplingDefaults(options);
  const bytes = new ArrayBuffer(32);
  const floats = new Float32Array(bytes);
  const words = new Uint32Array(bytes);
  floats[0] = temperature;
  words[1] = topK;
  floats[2] = topP;
  floats[3] = minP;
  floats[4] = repetitionPenalty;
  words[5] = seed;
  return new Uint8Array(bytes);
}
