/** A device of Node's own (Dawn), the planner, and small valid files (tests/fuzz/make_corpus.cpp). */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { create, globals } from "webgpu";
import { Core } from "../src/core.ts";
import { Gpu, type GpuOptions } from "../src/gpu.ts";

Object.assign(globalThis, globals);

const root = new URL("../../", import.meta.url);
export const path = (name: string): string => fileURLToPath(new URL(name, root));
export const sample = (name: string): Uint8Array =>
  new Uint8Array(readFileSync(path(`build/wasm/samples/${name}`)));

export const loadCore = (): Promise<Core> => Core.create(readFileSync(path("build/wasm/etwebgpu.wasm")));

/** Kept: an adapter is gone when the object that gave it is. */
const entry = create([]);

export async function findAdapter(): Promise<GPUAdapter> {
  const adapter = await entry.requestAdapter();
  if (adapter === null) throw new Error("there is no adapter: is VK_ICD_FILENAMES set?");
  return adapter;
}

export const openGpu = (options: GpuOptions = {}): Promise<Gpu> => Gpu.open({ entry, ...options });

/** A device with WebGPU's least limits and no optional feature. */
export async function openPortableGpu(options: GpuOptions = {}): Promise<Gpu> {
  const adapter = await findAdapter();
  return Gpu.open({ entry, adapter, device: await adapter.requestDevice(), ...options });
}

/** Bytes of the heap that are still used once garbage is collected. */
export async function collectedHeap(): Promise<number> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  for (let i = 0; i < 3; ++i) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    collect();
  }
  return process.memoryUsage().heapUsed;
}
