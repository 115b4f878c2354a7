/** Times decoders in a page, for bench/chromium.ts and bench/peers.ts. */
import wasm from "../../../build/wasm/etwebgpu.wasm?url";
import { Core } from "../../src/core.ts";
import { Generation } from "../../src/generation.ts";
import { Gpu } from "../../src/gpu.ts";
import { Program } from "../../src/program.ts";
import { ChatTokenizer } from "../../src/tokenizer.ts";
import { clocked, type Decoder, promptOf, type VisitTimes, visit } from "../decoder.ts";
import { type DecodeOptions, type DecodeTimes, measure } from "../decoding.ts";
import { openTransformers, type Transformers } from "../transformers.ts";
import { openWllama, type WllamaModule, type WllamaOptions } from "../wllama.ts";

async function bench(skeleton: string, options: DecodeOptions): Promise<DecodeTimes> {
  const core = await Core.create(await fetch(wasm));
  const gpu = await Gpu.open();
  const blob = new Uint8Array(await (await fetch(`${skeleton}/blob`)).arrayBuffer());
  const facts = await (await fetch(`${skeleton}/facts.json`)).json();
  return measure(core, gpu, blob, facts, options);
}

const at = (path: string): string => `${new URL(path, document.baseURI)}`;
const json = (path: string): Promise<object> => fetch(path).then((answer) => answer.json());
const fromNpm = async <T>(path: string): Promise<T> =>
  (await import(/* @vite-ignore */ at(`node_modules/${path}`))) as T;

async function ours(model: string): Promise<Decoder> {
  const core = await Core.create(await fetch(wasm));
  const program = await Program.load(`models/${model}/model.pte`, { core });
  new ChatTokenizer({
    json: await json(`models/${model}/tokenizer.json`),
    config: await json(`models/${model}/tokenizer_config.json`),
  });
  const generation = await Generation.create(core, program.method("forward").runner!);
  const generate = (fed: number, count: number) =>
    clocked(count, (tick) =>
      generation.run({ tokens: promptOf(fed), position: 0, count }, () => {
        tick();
        return true;
      }),
    );
  return { generate, dispose: () => program.dispose() };
}

async function transformers(model: string, device: "webgpu" | "wasm"): Promise<Decoder> {
  const found = await fromNpm<Transformers>("@huggingface/transformers/dist/transformers.min.js");
  const { env } = found;
  env.backends.onnx.wasm!.wasmPaths = at("node_modules/onnxruntime-web/dist/");
  // As models from a server, which it keeps in the browser's cache.
  Object.assign(env, { allowLocalModels: false, remoteHost: at("models/"), remotePathTemplate: "{model}/" });
  await found.AutoTokenizer.from_pretrained(model);
  return openTransformers(found, model, device);
}

async function wllama(model: string, options: WllamaOptions): Promise<Decoder> {
  const found = await fromNpm<WllamaModule>("@wllama/wllama/esm/index.js");
  const core = at("node_modules/@wllama/wllama/esm/wasm/wllama.wasm");
  return openWllama(found, core, at(`models/${model}/model.gguf`), options);
}

// The names are peers.ts's.
const SYSTEMS: Record<string, (model: string) => Promise<Decoder>> = {
  ours,
  "transformers-webgpu": (model) => transformers(model, "webgpu"),
  "transformers-wasm": (model) => transformers(model, "wasm"),
  "wllama-webgpu": (model) => wllama(model, {}),
  "wllama-threads": (model) => wllama(model, { n_gpu_layers: 0, n_threads: navigator.hardwareConcurrency }),
  "wllama-thread": (model) => wllama(model, { n_gpu_layers: 0, n_threads: 1 }),
};

async function adapter(): Promise<string> {
  const gpu = await Gpu.open();
  gpu.dispose();
  return gpu.name;
}

const page = {
  adapter,
  bench,
  /** `model`: its folder among the models. */
  visit: (system: string, model: string, options: DecodeOptions): Promise<VisitTimes> =>
    visit(() => SYSTEMS[system](model), options),
};
declare global {
  interface Window {
    decoders: typeof page;
  }
}
window.decoders = page;
