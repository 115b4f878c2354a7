/** Chooses the next token from logits on the host. */
import { ModelError } from "./errors.ts";

export interface SamplingOptions {
  /** 0, as without it, takes the likeliest token; higher is more varied. */
  temperature?: number;
  /** Choose among so many likeliest tokens; 0 among all. */
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

export class Sampler {
  readonly #temperature: number;
  readonly #topK: number;
  readonly #topP: number;
  readonly #minP: number;
  readonly #penalty: number;
  readonly #seed: number;

  constructor(options: SamplingOptions) {
    this.#temperature = within("temperature", options.temperature ?? 0, 0, Number.MAX_VALUE);
    this.#topK = within("topK", options.topK ?? 40, 0, Number.MAX_SAFE_INTEGER);
    this.#topP = within("topP", options.topP ?? 1, 0, 1);
    this.#minP = within("minP", options.minP ?? 0, 0, 1);
    this.#penalty = within(
      "repetitionPenalty",
      options.repetitionPenalty ?? 1,
      Number.MIN_VALUE,
      Number.MAX_VALUE,
    );
    this.#seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
  }

  /** Whether it always takes the likeliest of the model's own logits. */
  get isGreedy(): boolean {
    return this.#temperature === 0 && this.#penalty === 1;
  }

  /** `seen`: the tokens before. The same seed chooses the same at the same place. */
  choose(logits: Float32Array, seen: readonly number[]): number {
    if (this.#penalty !== 1)
      for (const token of new Set(seen))
        if (token < logits.length) logits[token] *= logits[token] > 0 ? 1 / this.#penalty : this.#penalty;
    const order = likeliest(logits, this.#temperature === 0 ? 1 : this.#topK);
    if (order.length === 1) return order[0];
    const best = logits[order[0]];
    const weights = order.map((token) => Math.exp((logits[token] - best) / this.#temperature));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    let kept = 0;
    let sum = 0;
    while (kept < order.length && (kept === 0 || (sum < this.#topP * total && weights[kept] >= this.#minP)))
      sum += weights[kept++];
    let left = uniform(this.#seed, seen.length) * sum;
    for (let i = 0; i < kept; ++i) {
      left -= weights[i];
      if (left < 0) return order[i];
    }
    return order[kept - 1];
  }
}

function within(name: string, value: number, least: number, most: number): number {
  if (!(value >= least && value <= most))
    throw new ModelError(
      `${name} is ${value}, but must be ${least === Number.MIN_VALUE ? "above 0" : `from ${least}`}${most <= 1 ? ` to ${most}` : ""}`,
    );
  return value;
}

// The `count` likeliest tokens, all of them for 0, the likeliest first.
function likeliest(logits: Float32Array, count: number): number[] {
  if (count === 1) return [logits.reduce((best, value, i) => (value > logits[best] ? i : best), 0)];
  const order = Array.from(logits.keys());
  let tokens = order;
  if (count > 0 && count < logits.length) {
    const least = Float32Array.from(logits).sort()[logits.length - count];
    tokens = order.filter((i) => logits[i] >= least);
  }
  tokens.sort((a, b) => logits[b] - logits[a] || a - b);
  return count > 0 ? tokens.slice(0, count) : tokens;
}

// In [0, 1), by a hash of both (the finalizer of MurmurHash3).
function uniform(seed: number, place: number): number {
  let h = (seed ^ Math.imul(place + 1, 0x9e3779b1)) >>> 0;
  for (const factor of [0x85ebca6b, 0xc2b2ae35]) {
    h ^= h >>> 16;
    h = Math.imul(h, factor) >>> 0;
  }
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32;
}
