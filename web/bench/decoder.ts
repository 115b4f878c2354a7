/** What a user waits for in a system that runs a decoder; the same measurements for each. */
import { type DecodeOptions, medianOf } from "./decoding.ts";

export interface Decoder {
  /** Greedily `count` new tokens, whichever they are, after `prompt` others that no cache has. */
  generate(prompt: number, count: number): Promise<Times>;
  dispose(): Promise<unknown>;
}

/** Milliseconds to the first new token, and of each token after it. */
export interface Times {
  first: number;
  each: number;
}

export interface VisitTimes {
  /** Until it could be asked, and from there to the first token of all. */
  load_ms: number;
  first_token_ms: number;
  prefill_tokens_per_second: number;
  decode_tokens_per_second: number;
}

/** Tokens of a prompt that every system takes, none of them a special one. */
export const promptOf = (count: number): number[] => Array.from({ length: count }, (_, i) => 100 + (i % 100));

/** `generate` calls `tick` with its first token and its last, and may with those between them. */
export async function clocked(
  count: number,
  generate: (tick: () => void) => Promise<unknown>,
): Promise<Times> {
  const began = performance.now();
  let first = 0;
  let last = 0;
  await generate(() => {
    last = performance.now();
    if (first === 0) first = last;
  });
  return { first: first - began, each: (last - first) / (count - 1) };
}

/** From nothing to an answer, and then what prompts and tokens take. */
export async function visit(open: () => Promise<Decoder>, options: DecodeOptions): Promise<VisitTimes> {
  const began = performance.now();
  const decoder = await open();
  const loadMs = performance.now() - began;
  const { first } = await decoder.generate(options.at, 2); // the second with other kernels
  const rates = await steady(decoder, options, 1);
  await decoder.dispose();
  return { load_ms: Math.round(loadMs), first_token_ms: Math.round(first), ...rates };
}

/** Tokens per second from position `at` on and of a prompt, medians, of a decoder that has been at `at` before. */
export async function steady(
  decoder: Decoder,
  { tokens, at, prompt }: DecodeOptions,
  times: number,
): Promise<Pick<VisitTimes, "prefill_tokens_per_second" | "decode_tokens_per_second">> {
  const each = await medianOf(times, async () => (await decoder.generate(at, tokens)).each);
  if (prompt !== at) await decoder.generate(prompt, 1);
  const first = await medianOf(times, async () => (await decoder.generate(prompt, 1)).first);
  return {
    prefill_tokens_per_second: rounded((1000 * prompt) / first),
    decode_tokens_per_second: rounded(1000 / each),
  };
}

const rounded = (rate: number): number => Number(rate.toPrecision(4));
