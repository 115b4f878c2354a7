/** Times decoding in a page: bench/chromium.ts calls this. */
import wasm from "../../../build/wasm/etwebgpu.wasm?url";
import { Core } from "../../src/core.ts";
import { Gpu } from "../../src/gpu.ts";
import { type DecodeOptions, type DecodeTimes, measure } from "../decoding.ts";
import { benchTransformers } from "./transformers.ts";

async function bench(skeleton: string, options: DecodeOptions): Promise<DecodeTimes> {
  const core = await Core.create(await fetch(wasm));
  const gpu = await Gpu.open();
  const blob = new Uint8Array(await (await fetch(`${skeleton}/blob`)).arrayBuffer());
  const facts = await (await fetch(`${skeleton}/facts.json`)).json();
  return measure(core, gpu, blob, facts, options);
}

declare global {
  interface Window {
    bench: typeof bench;
    benchTransformers: typeof benchTransformers;
  }
}
window.bench = bench;
window.benchTransformers = benchTransformers;
