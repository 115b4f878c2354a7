/** Stands in for the library's helper, behind the same interface: the likeliest token, or a sampled one, by the host. */
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import { ModelError, type Program, Tensor } from "executorch-webgpu";
import type { Message } from "../protocol.ts";

interface Options {
  maxTokens?: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  seed?: number;
  signal?: AbortSignal;
}

export class LanguageModel {
  stats = { promptTokens: 0, newTokens: 0, firstTokenMs: 0, tokensPerSecond: 0 };
  readonly #program: Program;
  readonly #tokenizer: Tokenizer;
  readonly #config: Record<string, unknown>;
  readonly #template: Template;

  private constructor(program: Program, tokenizer: Tokenizer, config: Record<string, unknown>) {
    this.#program = program;
    this.#tokenizer = tokenizer;
    this.#config = config;
    if (typeof config.chat_template !== "string")
      throw new ModelError("the tokenizer's configuration has no chat_template");
    this.#template = new Template(config.chat_template);
  }

  static async load({
    program,
    tokenizer,
  }: {
    program: Program;
    tokenizer: { json: object; config: object };
  }): Promise<LanguageModel> {
    return new LanguageModel(
      program,
      new Tokenizer(tokenizer.json, tokenizer.config),
      tokenizer.config as Record<string, unknown>,
    );
  }

  reset(): void {}

  async *generate(messages: Message[], options: Options = {}): AsyncGenerator<string> {
    const since = performance.now();
    const prompt = this.#template.render({ messages, add_generation_prompt: true, ...this.#config });
    let ids = this.#tokenizer.encode(prompt, { add_special_tokens: false }).ids;
    const context = Number(this.#program.constants.get("get_max_seq_len"));
    if (ids.length >= context)
      throw new ModelError(`${ids.length} tokens do not fit into the model's context of ${context}`);
    this.stats = { promptTokens: ids.length, newTokens: 0, firstTokenMs: 0, tokensPerSecond: 0 };
    const eos = this.#tokenizer.token_to_id(String(this.#config.eos_token));
    const answer: number[] = [];
    let shown = "";
    for (let at = 0; at + ids.length < context; ) {
      options.signal?.throwIfAborted();
      const chunk = ids.slice(0, context - 1 - at);
      const [logits] = await this.#program
        .method("forward")
        .execute([Tensor.of(chunk, [1, chunk.length], "int64"), Tensor.of([at], [1], "int64")]);
      at += chunk.length;
      const data = (logits as Tensor).data as Float32Array;
      const token = choose(data, options);
      if (answer.length === 0) this.stats.firstTokenMs = performance.now() - since;
      if (token === eos) break;
      answer.push(token);
      ids = [token];
      const text = this.#tokenizer.decode(answer, { skip_special_tokens: true });
      this.stats.newTokens = answer.length;
      this.stats.tokensPerSecond =
        (1000 * (answer.length - 1)) / (performance.now() - since - this.stats.firstTokenMs || 1);
      if (!text.endsWith("\uFFFD")) {
        yield text.slice(shown.length);
        shown = text;
      }
      if (answer.length === options.maxTokens) break;
    }
  }
}

function choose(logits: Float32Array, { temperature = 0, topK = 40 }: Options): number {
  const order = [...logits.keys()].sort((a, b) => logits[b] - logits[a]).slice(0, topK || logits.length);
  if (temperature === 0) return order[0];
  const shares = order.map((i) => Math.exp((logits[i] - logits[order[0]]) / temperature));
  let left = Math.random() * shares.reduce((a, b) => a + b);
  return order[shares.findIndex((share) => (left -= share) <= 0)] ?? order[0];
}
