/** Decoding with programs that are more than one delegate: each step's logits come here, and a token is chosen. */
import type { Decoder } from "../decoder.ts";
import { ModelError } from "../errors.ts";
import type { Generates, Start } from "../generation.ts";
import type { Method } from "../method.ts";
import { Tensor } from "../tensor.ts";
import { cast } from "./dtypes.ts";
import { Sampler } from "./sampler.ts";

export class HostGeneration implements Generates {
  readonly #method: Method;
  readonly #decoder: Decoder;

  constructor(method: Method, decoder: Decoder) {
    this.#method = method;
    this.#decoder = decoder;
  }

  async run(start: Start, take: (token: number) => boolean): Promise<void> {
    const { tokens, count, sampling = {}, text = tokens } = start;
    const sampler = new Sampler(sampling, text);
    let fed = tokens;
    let position = start.position;
    for (let chosen = 0; chosen < count; ++chosen) {
      const token = sampler.next(await this.#logits(fed, position));
      if (!take(token)) return;
      if (this.#decoder.hasCache) position += fed.length;
      fed = this.#decoder.hasCache ? [token] : [...fed, token];
    }
  }

  /** After the last of these tokens. */
  async #logits(tokens: readonly number[], position: number): Promise<Float32Array> {
    const [output, ...others] = await this.#method.execute(this.#decoder.inputs(tokens, position));
    for (const other of others) if (other instanceof Tensor) other.dispose();
    const width = output instanceof Tensor ? (output.sizes.at(-1) ?? 0) : 0;
    if (!(output instanceof Tensor) || output.data.length === 0)
      throw new ModelError("the program's first output is not logits");
    return cast(output.data.slice(-width), output.dtype, "float32") as Float32Array;
  }

  dispose(): void {}
}
