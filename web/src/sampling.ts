/** How the next token is chosen from logits; the GPU does it (src/kernels/sample_token.wgsl). */
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

/** The kernel's params (SamplingParams of src/kernels/token_choice.h). */
export function samplingParams(options: SamplingOptions): Uint8Array<ArrayBuffer> {
  for (const [name, [least, most]] of Object.entries(RANGES)) {
    const value = options[name as keyof typeof RANGES];
    if (value !== undefined && !(value >= least && value <= most))
      throw new ModelError(`${name} is ${value}, but must be from ${least} to ${most}`);
  }
  const bytes = new ArrayBuffer(32);
  const floats = new Float32Array(bytes);
  const words = new Uint32Array(bytes);
  floats[0] = options.temperature ?? 0;
  words[1] = options.topK ?? 40;
  floats[2] = options.topP ?? 1;
  floats[3] = options.minP ?? 0;
  floats[4] = options.repetitionPenalty ?? 1;
  words[5] = options.seed ?? Math.floor(Math.random() * 2 ** 32);
  return new Uint8Array(bytes);
}
