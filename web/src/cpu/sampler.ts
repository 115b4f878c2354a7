/**
 * Chooses the next token from logits as the GPU does (src/kernels/sample_token.wgsl): the same one for the same
 * seed, but where two are alike to rounding.
 */
import { ModelError } from "../errors.ts";
import { isGreedy, type SamplingOptions, samplingDefaults } from "../sampling.ts";

const LOWEST = -3.4028234663852886e38;

export class Sampler {
  readonly #options: Required<SamplingOptions>;
  readonly #isGreedy: boolean;
  readonly #seen: Set<number>;
  #place: number;

  /** `text`: all tokens so far. */
  constructor(options: SamplingOptions, text: readonly number[]) {
    this.#options = samplingDefaults(options);
    this.#isGreedy = isGreedy(options);
    this.#seen = new Set(text);
    this.#place = text.length;
  }

  /** The next token of the text. */
  next(logits: Float32Array): number {
    if (logits.some(Number.isNaN)) throw new ModelError("the model's logits are no numbers (NaN)");
    const token = this.#isGreedy ? largest(logits) : this.#drawn(this.#values(logits));
    this.#seen.add(token);
    ++this.#place;
    return token;
  }

  // Over the temperature; tokens that are there already are less likely.
  #values(logits: Float32Array): Float32Array {
    const { temperature, repetitionPenalty } = this.#options;
    const out = logits.slice();
    const penalty = Math.fround(repetitionPenalty);
    for (const token of this.#seen)
      if (token < out.length) out[token] = out[token] > 0 ? out[token] / penalty : out[token] * penalty;
    const divisor = Math.fround(temperature) || 1;
    for (let i = 0; i < out.length; ++i) out[i] /= divisor;
    return out;
  }

  #drawn(values: Float32Array): number {
    const { temperature, seed } = this.#options;
    const least = this.#least(values);
    const salt = hash(hash(seed >>> 0) ^ this.#place);
    let [best, found] = [LOWEST, values.length - 1];
    for (let i = 0; i < values.length; ++i) {
      if (values[i] < least) continue;
      const score = temperature === 0 ? values[i] : Math.fround(values[i] + noise(hash(salt ^ i)));
      if (score > best) [best, found] = [score, i];
    }
    return found;
  }

  /** What tokens that take part have at least. */
  #least(values: Float32Array): number {
    const { topK, topP, minP } = this.#options;
    const most = values[largest(values)];
    let least = Number.NEGATIVE_INFINITY;
    if ((topK > 0 && topK < values.length) || topP < 1) {
      const falling = values.slice().sort().reverse();
      if (topK > 0 && topK < falling.length) least = falling[topK - 1];
      if (topP < 1) least = leastOfShare(falling, least, most, topP);
    }
    return minP > 0 ? Math.max(least, Math.fround(most + Math.log(minP))) : least;
  }
}

/** The largest of which, with those above it, `share` of the probability is. */
function leastOfShare(falling: Float32Array, least: number, most: number, share: number): number {
  const sums: number[] = [];
  let sum = 0;
  for (const value of falling) {
    if (value < least) break;
    sum += Math.exp(value - most);
    sums.push(sum);
  }
  return falling[sums.findIndex((part) => part >= share * sum)];
}

/** The place of the largest, the first of equals. */
function largest(values: Float32Array): number {
  let [best, found] = [LOWEST, values.length - 1];
  for (let i = 0; i < values.length; ++i) if (values[i] > best) [best, found] = [values[i], i];
  return found;
}

function hash(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Of Gumbel's distribution: with it the largest of logits is each one with its probability. */
const noise = (bits: number): number => -Math.log(-Math.log(((bits >>> 9) + 0.5) * 2 ** -23));
