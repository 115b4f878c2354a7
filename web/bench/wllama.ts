/** A decoder in wllama, which is llama.cpp in WebAssembly, in a page. */
import { clocked, type Decoder, type Times } from "./decoder.ts";

/** As much of the package as is used here. */
export interface WllamaModule {
  Wllama: new (paths: { default: string }, config: object) => Wllama;
}
interface Wllama {
  loadModelFromUrl(url: string, params: object): Promise<void>;
  createCompletion(options: object): Promise<unknown>;
  exit(): Promise<void>;
}

export interface WllamaOptions {
  /** Threads on the processor; half of the cores unless it is given. */
  n_threads?: number;
  /** 0 for a decoder on the processor; all unless it is given. */
  n_gpu_layers?: number;
}

interface Timings {
  prompt_n: number;
  predicted_n: number;
  predicted_ms: number;
}
interface Chunk {
  /** With the last one. */
  timings?: Timings;
}

const WORD = " the"; // one token, also after itself: wllama takes text only
/** The GGUF file at `url`, with the module's wasm at `wasm`. */
export async function openWllama(
  { Wllama }: WllamaModule,
  wasm: string,
  url: string,
  options: WllamaOptions,
): Promise<Decoder> {
  const said: string[] = [];
  const log = (...words: unknown[]): number => said.push(words.join(" "));
  const wllama = new Wllama(
    { default: wasm },
    { logger: { debug: log, log, warn: log, error: console.error } },
  );
  await wllama.loadModelFromUrl(url, { n_ctx: 2048, n_parallel: 1, ...options });
  // Without a word it takes the processor where an adapter is not enough for it.
  if (options.n_gpu_layers !== 0 && !said.some((line) => /WebGPU.* model buffer size/.test(line)))
    throw new Error("llama.cpp found no WebGPU device that it takes; it asks for shader-f16");
  const generate = async (fed: number, count: number): Promise<Times> => {
    let last: Timings | undefined;
    const { first } = await clocked(count, (tick) =>
      wllama.createCompletion({
        prompt: WORD.repeat(fed),
        max_tokens: count,
        temperature: 0,
        ignore_eos: true,
        cache_prompt: false,
        stream: true,
        onData: ({ timings }: Chunk) => {
          last = timings;
          tick();
        },
      }),
    );
    if (last?.prompt_n !== fed || last.predicted_n !== count)
      throw new Error(`wllama was to read ${fed} tokens and write ${count}: ${JSON.stringify(last)}`);
    // By its own clock, from the first token to the last one: it may hand over several at once.
    return { first, each: last.predicted_ms / (count - 1) };
  };
  return { generate, dispose: () => wllama.exit() };
}
