/** The times of decoding.ts in transformers.js, which runs a decoder by ONNX Runtime on WebGPU, in any engine. */
import { type DecodeOptions, medianOf } from "./decoding.ts";

export interface PeerTimes {
  system: string;
  load_ms: number;
  decode_at: number;
  decode_tokens_per_second: number;
  prefill_tokens: number;
  prefill_tokens_per_second: number;
}

/** As much of the package as is used here. */
export interface Transformers {
  env: {
    version: string;
    allowRemoteModels: boolean;
    allowLocalModels: boolean;
    localModelPath: string;
    backends: { onnx: { wasm?: { wasmPaths: string } } };
  };
  AutoModelForCausalLM: { from_pretrained(name: string, options: object): Promise<Model> };
  Tensor: new (type: string, data: BigInt64Array, sizes: number[]) => unknown;
}
interface Model {
  generate(options: object): Promise<unknown>;
  dispose(): Promise<unknown>;
}

/** Of the model `name` in `folder`. */
export async function measureTransformers(
  { env, AutoModelForCausalLM, Tensor }: Transformers,
  folder: string,
  name: string,
  { tokens, at, prompt }: DecodeOptions,
): Promise<PeerTimes> {
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = folder;
  const began = performance.now();
  const model = await AutoModelForCausalLM.from_pretrained(name, { dtype: "q4", device: "webgpu" });
  const loadMs = performance.now() - began;

  // Gives the milliseconds to the first new token, and of each token after it.
  const generate = async (fed: number, count: number): Promise<{ first: number; each: number }> => {
    const ids = BigInt64Array.from({ length: fed }, (_, i) => BigInt(3 + (i % 100)));
    const ones = new BigInt64Array(fed).fill(1n);
    const times: number[] = [];
    const since = performance.now();
    await model.generate({
      input_ids: new Tensor("int64", ids, [1, fed]),
      attention_mask: new Tensor("int64", ones, [1, fed]),
      max_new_tokens: count,
      min_new_tokens: count,
      do_sample: false,
      streamer: { put: () => times.push(performance.now()), end: () => {} },
    });
    const fresh = times.slice(-count); // the prompt is told, too
    return { first: fresh[0] - since, each: (fresh[count - 1] - fresh[0]) / (count - 1) };
  };
  for (let i = 0; i < 2; ++i) await generate(at, tokens);
  const step = await medianOf(3, async () => (await generate(at, tokens)).each);
  await generate(prompt, 2);
  const prefill = await medianOf(5, async () => (await generate(prompt, 2)).first);
  await model.dispose();
  return {
    system: `transformers.js ${env.version}`,
    load_ms: Math.round(loadMs),
    decode_at: at,
    decode_tokens_per_second: Math.round(1000 / step),
    prefill_tokens: prompt,
    prefill_tokens_per_second: Math.round((1000 * prompt) / prefill),
  };
}
