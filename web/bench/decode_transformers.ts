/**
 * What transformers.js takes in Node, where ONNX Runtime has WebGPU through Dawn, too:
 *
 *     npm install --prefix FOLDER --ignore-scripts @huggingface/transformers@4.3.2
 *     python ../benchmarks/made_up_onnx.py 135m FOLDER/models/smollm2
 *     node bench/decode_transformers.ts FOLDER smollm2 [as decode.ts]
 */
import { resolve } from "node:path";
import { steady } from "./decoder.ts";
import { decodeArguments } from "./options.ts";
import { openTransformers, type Transformers } from "./transformers.ts";

const { options, positionals } = decodeArguments();
const [folder, name] = [resolve(positionals[0]), positionals[1]];
const module = `${folder}/node_modules/@huggingface/transformers/dist/transformers.node.mjs`;
const found = (await import(module)) as Transformers;
Object.assign(found.env, { allowRemoteModels: false, localModelPath: `${folder}/models/` });
const decoder = await openTransformers(found, name, "webgpu");
await decoder.generate(options.at, options.tokens);
console.log(
  JSON.stringify({ system: `transformers.js ${found.env.version}`, ...(await steady(decoder, options, 3)) }),
);
await decoder.dispose();
process.exit(0);
