/** A decoder in transformers.js, which runs it by ONNX Runtime, in any engine. */
import { clocked, type Decoder, promptOf } from "./decoder.ts";

/** As much of the package as is used here. */
export interface Transformers {
  env: {
    version: string;
    allowRemoteModels: boolean;
    allowLocalModels: boolean;
    localModelPath: string;
    remoteHost: string;
    remotePathTemplate: string;
    backends: { onnx: { wasm?: { wasmPaths: string } } };
  };
  AutoModelForCausalLM: { from_pretrained(name: string, options: object): Promise<Model> };
  AutoTokenizer: { from_pretrained(name: string): Promise<unknown> };
  Tensor: new (type: string, data: BigInt64Array, sizes: number[]) => unknown;
}
interface Model {
  generate(options: object): Promise<unknown>;
  dispose(): Promise<unknown>;
}

/** The model `name` of where `env` says that models are. */
export async function openTransformers(
  { AutoModelForCausalLM, Tensor }: Transformers,
  name: string,
  device: "webgpu" | "wasm",
): Promise<Decoder> {
  const model = await AutoModelForCausalLM.from_pretrained(name, { dtype: "q4", device });
  const generate = (fed: number, count: number) =>
    clocked(count, (tick) => {
      let isPrompt = true; // which is told first
      const put = (): void => {
        if (!isPrompt) tick();
        isPrompt = false;
      };
      return model.generate({
        input_ids: new Tensor("int64", BigInt64Array.from(promptOf(fed), BigInt), [1, fed]),
        attention_mask: new Tensor("int64", new BigInt64Array(fed).fill(1n), [1, fed]),
        max_new_tokens: count,
        min_new_tokens: count,
        do_sample: false,
        streamer: { put, end: () => {} },
      });
    });
  return { generate, dispose: () => model.dispose() };
}
