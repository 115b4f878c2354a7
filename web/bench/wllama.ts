/** A decoder in wllama, which is llama.cpp in WebAssembly, in a page. */
import { clocked, type Decoder } from "./decoder.ts";

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

interface Chunk {
  timings?: { prompt_n: number };
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
    throw new Error("llama.cpp found no WebGPU that is enough for it: adapters without shader-f16 are not");
  const generate = (fed: number, count: number) =>
    clocked(count, async (tick) => {
      let found = 0;
      await wllama.createCompletion({
        prompt: WORD.repeat(fed),
        max_tokens: count,
        temperature: 0,
        ignore_eos: true,
        cache_prompt: false,
        timings_per_token: true,
        stream: true,
        onData: ({ timings }: Chunk) => {
          if (timings !== undefined) found = timings.prompt_n;
          tick();
        },
      });
      if (found !== fed) throw new Error(`wllama read ${found} tokens instead of ${fed}`);
    });
  return { generate, dispose: () => wllama.exit() };
}
