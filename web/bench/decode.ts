/**
 * Decode and prefill of a decoder without its weights (benchmarks/skeleton.py), in Node:
 *
 *     node bench/decode.ts etwebgpu.wasm SKELETON_FOLDER [--tokens 128] [--at 128] [--prompt 512] [--f16]
 *
 * The folder has the skeleton's blob and facts.json. Prints decoding.ts's medians as JSON.
 */
import { readFileSync } from "node:fs";
import { create, globals } from "webgpu";
import { Core } from "../src/core.ts";
import { Gpu } from "../src/gpu.ts";
import { type Facts, measure } from "./decoding.ts";
import { decodeArguments } from "./options.ts";

const { options, positionals } = decodeArguments();
const [wasm, folder] = positionals;
Object.assign(globalThis, globals);
const entry = create(["enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia"]);
const gpu = await Gpu.open({ entry });
const core = await Core.create(readFileSync(wasm));
const blob = new Uint8Array(readFileSync(`${folder}/blob`));
const facts = JSON.parse(readFileSync(`${folder}/facts.json`, "utf8")) as Facts;
const times = await measure(core, gpu, blob, facts, options);
console.log(JSON.stringify({ skeleton: folder, ...times }));
process.exit(0);
