/** Times decoding in a page: bench/chromium.ts calls this. */
import wasm from "../../../build/wasm/etwebgpu.wasm?url";
import { Core } from "../../src/core.ts";
import { Gpu } from "../../src/gpu.ts";
import { type DecodeOptions, type DecodeTimes, measure } from "../decoding.ts";
import { measureTransformers, type PeerTimes, type Transformers } from "../transformers.ts";

async function bench(skeleton: string, options: DecodeOptions): Promise<DecodeTimes> {
  const core = await Core.create(await fetch(wasm));
  const gpu = await Gpu.open();
  const blob = new Uint8Array(await (await fetch(`${skeleton}/blob`)).arrayBuffer());
  const facts = await (await fetch(`${skeleton}/facts.json`)).json();
  return measure(core, gpu, blob, facts, options);
}

/** `modules` is a folder that npm installed into; `folder` and `name` are where the model is. */
async function benchTransformers(
  modules: string,
  folder: string,
  name: string,
  options: DecodeOptions,
): Promise<PeerTimes> {
  const base = `${new URL(modules, document.baseURI)}`;
  const module = `${base}/@huggingface/transformers/dist/transformers.min.js`;
  const found = (await import(/* @vite-ignore */ module)) as Transformers;
  found.env.backends.onnx.wasm!.wasmPaths = `${base}/onnxruntime-web/dist/`;
  return measureTransformers(found, `${new URL(folder, document.baseURI)}`, name, options);
}

declare global {
  interface Window {
    bench: typeof bench;
    benchTransformers: typeof benchTransformers;
  }
}
window.bench = bench;
window.benchTransformers = benchTransformers;
