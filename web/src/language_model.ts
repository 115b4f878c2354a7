/**
 * Chat with a program of tokens [1, S] and a position [1] whose first output is logits. Where that is one delegate's
 * graph, tokens stay on the GPU; else each step's logits come to the page.
 *
 *     const model = await LanguageModel.load({ program, tokenizer: { json, config } });
 *     for await (const text of model.generate([{ role: "user", content: "Hello!" }])) show(text);
 */
import { DECODER, type Decoder, decoderOf, findDecoder } from "./decoder.ts";
import { DeviceLostError, ModelError } from "./errors.ts";
import { type Generates, Generation } from "./generation.ts";
import type { Program } from "./program.ts";
import { type SamplingOptions, samplingDefaults } from "./sampling.ts";
import { Tensor } from "./tensor.ts";
import { ChatTokenizer, type Message, TextStream, type TokenizerFiles } from "./tokenizer.ts";

export interface GenerateOptions extends SamplingOptions {
  /** New tokens at most; as many as the context holds unless it is given. */
  maxTokens?: number;
  /** Texts that end the answer, and are not part of it. */
  stop?: readonly string[];
  signal?: AbortSignal;
}

export interface Stats {
  promptTokens: number;
  /** Of those, how many the cache had from the turn before. */
  cachedTokens: number;
  newTokens: number;
  firstTokenMs: number;
  /** After the first one. */
  tokensPerSecond: number;
  /** Why the answer ended. */
  end: "eos" | "stop" | "length" | "context" | "abort";
}

const MOST_CHUNK = 512;

export class LanguageModel {
  readonly tokenizer: ChatTokenizer;
  readonly context: number;
  #program: Program;
  #generation: Generates;
  readonly #decoder: Decoder;
  readonly #chunk: number;
  readonly #eos: ReadonlySet<number>;
  // What the cache holds, from its start.
  #fed: number[] = [];
  #stats: Stats | undefined;

  private constructor(program: Program, decoder: Decoder, generation: Generates, tokenizer: ChatTokenizer) {
    this.#program = program;
    this.#decoder = decoder;
    this.#generation = generation;
    this.tokenizer = tokenizer;
    this.#chunk = Math.min(decoder.longest, MOST_CHUNK);
    this.context = decoder.context;
    const eos = program.constants.get("get_eos_ids") ?? [];
    const named = tokenizer.eos;
    this.#eos = new Set(
      [...(Array.isArray(eos) ? eos : [eos]), ...(named === undefined ? [] : [named])].map(Number),
    );
  }

  /** Takes the program over. */
  static async load({
    program,
    tokenizer,
  }: {
    program: Program;
    tokenizer: TokenizerFiles;
  }): Promise<LanguageModel> {
    const decoder = decoderOf(program.method(DECODER).form, program.constants);
    const generation = await generationOf(program, decoder);
    return new LanguageModel(program, decoder, generation, new ChatTokenizer(tokenizer));
  }

  /** Whether there is a method that it can talk to. */
  static takes(program: Program): boolean {
    const forms = [...program.methods.values()].map(({ form }) => form);
    return findDecoder(forms, program.constants) !== undefined;
  }

  get program(): Program {
    return this.#program;
  }
  /** Of the last answer. */
  get stats(): Stats | undefined {
    return this.#stats;
  }

  /** Forgets the conversation. */
  reset(): void {
    this.#fed = [];
  }
  async dispose(): Promise<void> {
    this.#generation.dispose();
    await this.#program.dispose();
  }

  /** The answer's text, piece by piece. What the cache has of the conversation is not fed again. */
  async *generate(messages: readonly Message[], options: GenerateOptions = {}): AsyncGenerator<string, void> {
    const prompt = this.tokenizer.encode(this.tokenizer.render(messages));
    const stream = new TextStream(this.tokenizer);
    const stops = new StopTexts(options.stop ?? []);
    for await (const token of this.tokens(prompt, options)) {
      const text = stops.push(stream.push(token));
      if (text !== "") yield text;
      if (stops.found) {
        this.#stats!.end = "stop";
        return;
      }
    }
    const rest = stops.push(stream.finish()) + (stops.found ? "" : stops.rest());
    if (rest !== "") yield rest;
  }

  /** The same in tokens, without the one that ends an answer. */
  async *tokens(prompt: readonly number[], options: GenerateOptions = {}): AsyncGenerator<number, void> {
    if (prompt.length === 0) throw new ModelError("there is no token to continue");
    if (prompt.length >= this.context)
      throw new ModelError(
        `the conversation has ${prompt.length} tokens, but the model's context holds ${this.context}`,
      );
    const seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
    const sampling = { ...options, seed }; // the same after a lost device
    samplingDefaults(sampling); // refuses what is out of range before anything is fed
    const room = this.context - prompt.length;
    const most = options.maxTokens ?? Number.POSITIVE_INFINITY;
    const answer = new Answer(prompt.length, Math.min(most, room), most > room ? "context" : "length");
    this.#stats = answer.stats;
    const all = [...prompt];
    while (answer.isOpen) {
      try {
        for await (const token of this.#continue(all, answer, sampling)) {
          all.push(token);
          yield token;
        }
        return;
      } catch (error) {
        if (!(error instanceof DeviceLostError)) throw error;
        await this.#revive();
      }
    }
  }

  // From the cache's state on; after a lost device once more from the start.
  async *#continue(
    all: readonly number[],
    answer: Answer,
    options: GenerateOptions,
  ): AsyncGenerator<number, void> {
    const position = await this.#feedAllBut(all, answer, options.signal);
    const queue = new TokenQueue();
    const take = (token: number): boolean => {
      const goesOn = answer.take(token, this.#eos) && options.signal?.aborted !== true;
      if (answer.stats.end !== "eos") queue.push(token);
      return goesOn && !queue.isClosed;
    };
    this.#fed = [...all];
    const start = { tokens: all.slice(position), position, count: answer.left, sampling: options, text: all };
    const running = this.#generation.run(start, take);
    let hasFailed = false;
    const done = running.then(
      () => queue.end(),
      (error) => {
        hasFailed = true;
        queue.end(error);
      },
    );
    try {
      for await (const token of queue) {
        yield token;
        this.#fed.push(token);
      }
      if (options.signal?.aborted) answer.stats.end = "abort";
    } finally {
      queue.close();
      await done;
      // The last token has been given but not fed, unless an end came after it. Of what failed nobody knows how far it came.
      const { promptTokens, newTokens, end } = answer.stats;
      const fed = promptTokens + (end === "eos" ? newTokens : Math.max(newTokens - 1, 0));
      this.#fed.length = Math.min(this.#fed.length, hasFailed ? position : fed);
    }
  }

  // Feeds in chunks what the cache does not have, up to what one call takes; gives where that begins.
  async #feedAllBut(all: readonly number[], answer: Answer, signal?: AbortSignal): Promise<number> {
    if (!this.#decoder.hasCache) return 0;
    let position = 0;
    while (position < this.#fed.length && position < all.length - 1 && this.#fed[position] === all[position])
      ++position;
    answer.stats.cachedTokens = position;
    this.#fed.length = position;
    while (all.length - position > this.#chunk) {
      signal?.throwIfAborted();
      await this.#feed(all.slice(position, position + this.#chunk), position);
      position += this.#chunk;
      this.#fed = all.slice(0, position);
    }
    return position;
  }

  // Nobody reads what these give.
  async #feed(tokens: readonly number[], position: number): Promise<void> {
    const inputs = this.#decoder.inputs(tokens, position);
    const outputs = await this.#program.method(DECODER).execute(inputs, { keep: true });
    for (const output of outputs) if (output instanceof Tensor) output.dispose();
  }

  async #revive(): Promise<void> {
    this.#fed = [];
    this.#generation.dispose();
    this.#program = await this.#program.reload();
    this.#generation = await generationOf(this.#program, this.#decoder);
  }
}

async function generationOf(program: Program, decoder: Decoder): Promise<Generates> {
  const method = program.method(DECODER);
  if (decoder.choosesOnGpu && method.runner !== undefined)
    return Generation.create(program.core, method.runner);
  const { HostGeneration } = await import("./cpu/generation.ts");
  return new HostGeneration(method, decoder);
}

/** Counts an answer's tokens and says when it is over. */
class Answer {
  readonly stats: Stats;
  readonly #most: number;
  readonly #began = performance.now();
  #first = 0;

  /** `full`: why it ends with the last of `most` tokens. */
  constructor(promptTokens: number, most: number, full: Stats["end"]) {
    this.#most = most;
    this.stats = {
      promptTokens,
      cachedTokens: 0,
      newTokens: 0,
      firstTokenMs: 0,
      tokensPerSecond: 0,
      end: full,
    };
  }

  get left(): number {
    return this.#most - this.stats.newTokens;
  }
  get isOpen(): boolean {
    return this.left > 0 && this.stats.end !== "eos";
  }

  /** False with the token that ends it. */
  take(token: number, eos: ReadonlySet<number>): boolean {
    const { stats } = this;
    const now = performance.now();
    if (stats.newTokens === 0) {
      this.#first = now;
      stats.firstTokenMs = now - this.#began;
    }
    if (eos.has(token)) {
      stats.end = "eos";
      return false;
    }
    ++stats.newTokens;
    if (stats.newTokens > 1) stats.tokensPerSecond = (1000 * (stats.newTokens - 1)) / (now - this.#first);
    return this.left > 0;
  }
}

/** Tokens between the loop that makes them and the one that reads them. */
class TokenQueue implements AsyncIterable<number> {
  readonly #tokens: number[] = [];
  #ended = false;
  #error: unknown;
  #wake: () => void = () => {};
  isClosed = false;

  push(token: number): void {
    this.#tokens.push(token);
    this.#wake();
  }
  end(error?: unknown): void {
    this.#ended = true;
    this.#error = error;
    this.#wake();
  }
  /** Nobody reads any more. */
  close(): void {
    this.isClosed = true;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<number, void> {
    for (;;) {
      while (this.#tokens.length > 0) yield this.#tokens.shift()!;
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** Holds back what may become one of the texts that end an answer. */
class StopTexts {
  readonly #texts: readonly string[];
  #held = "";
  found = false;

  constructor(texts: readonly string[]) {
    this.#texts = texts.filter((text) => text !== "");
  }

  /** What can be shown of the text so far. */
  push(text: string): string {
    this.#held += text;
    const places = this.#texts.map((stop) => this.#held.indexOf(stop)).filter((at) => at >= 0);
    this.found = places.length > 0;
    const show = this.found ? Math.min(...places) : this.#held.length - this.#pending();
    const shown = this.#held.slice(0, show);
    this.#held = this.#held.slice(show);
    return shown;
  }
  rest(): string {
    return this.#held;
  }

  // Characters at the end that begin a stop text.
  #pending(): number {
    let most = 0;
    for (const stop of this.#texts)
      for (let n = Math.min(stop.length - 1, this.#held.length); n > most; --n)
        if (this.#held.endsWith(stop.slice(0, n))) most = n;
    return most;
  }
}
