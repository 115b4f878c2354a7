/** The model that the page has loaded: what kind it is, and what is done with it. */
import {
  type Capabilities,
  type Core,
  DeviceLostError,
  type Gpu,
  type Input,
  LanguageModel,
  type Method,
  ModelError,
  Program,
  type ProgramValue,
  planOf,
  profile,
  Tensor,
} from "executorch-webgpu";
import type {
  Adapter,
  AnswerStats,
  Classes,
  FilePlace,
  Graph,
  Loaded,
  LoadProgress,
  Message,
  ModelFiles,
  ModelKind,
  Normalization,
  PictureForm,
  Sampling,
} from "../protocol.ts";
import { pixels } from "./picture.ts";

/** What the page needs to know of a method, before or after it is loaded. */
export interface MethodForm {
  name: string;
  inputs: readonly ProgramValue[];
  outputs: readonly ProgramValue[];
}

const isFloat = (value: ProgramValue | undefined): boolean => value?.dtype?.startsWith("float") ?? false;
/** The picture that a method takes, if that is what its one input looks like: [1, channels, height, width]. */
export function pictureOf({ inputs, outputs }: MethodForm): PictureForm | undefined {
  const [batch, channels, height, width] = inputs[0]?.sizes ?? [];
  const fits = inputs.length === 1 && isFloat(inputs[0]) && inputs[0].sizes?.length === 4 && batch === 1;
  if (!fits || (channels !== 1 && channels !== 3) || !isFloat(outputs[0])) return undefined;
  return { channels, height, width, classes: outputs[0].sizes?.at(-1) ?? 0 };
}

/** Chats go through the method `forward`. */
export function kindOf(
  methods: readonly MethodForm[],
  chats: boolean,
): { kind: ModelKind; method: MethodForm | undefined } {
  if (chats) return { kind: "chat", method: methods.find(({ name }) => name === "forward") };
  const image = methods.find((method) => pictureOf(method) !== undefined);
  return image === undefined ? { kind: "other", method: methods[0] } : { kind: "image", method: image };
}

export function describeAdapter(gpu: Gpu): Adapter {
  const { adapter_class, subgroups, f16, packed_products }: Capabilities = gpu.capabilities;
  const features = { subgroups, f16, "packed products": packed_products };
  return {
    name: gpu.name,
    kind: adapter_class,
    features: Object.entries(features).flatMap(([name, has]) => (has ? [name] : [])),
  };
}

export class LoadedModel {
  #loaded: Program;
  readonly #name: string;
  readonly #language: LanguageModel | undefined;
  readonly #notices: string[];
  readonly kind: ModelKind;

  private constructor(
    program: Program,
    method: string,
    kind: ModelKind,
    notices: string[],
    language?: LanguageModel,
  ) {
    this.#loaded = program;
    this.#name = method;
    this.#language = language;
    this.#notices = notices;
    this.kind = kind;
  }

  // A conversation makes another one when the device is lost.
  get #program(): Program {
    return this.#language?.program ?? this.#loaded;
  }
  get #method(): Method {
    return this.#program.method(this.#name);
  }
  get gpu(): Gpu {
    return this.#program.gpu;
  }

  static async load(
    core: Core,
    gpu: Gpu,
    files: ModelFiles,
    report: (progress: LoadProgress) => void,
    signal: AbortSignal,
  ): Promise<LoadedModel> {
    const tokenizer = await readTokenizer(files);
    const notices: string[] = [];
    const program = await Program.load(files.program, {
      core,
      gpu,
      data: files.data,
      signal,
      onProgress: report,
      onNotice: (text) => notices.push(text),
    });
    try {
      const { kind, method: form } = kindOf([...program.methods.values()], LanguageModel.takes(program));
      if (form === undefined) throw new ModelError(`${files.name} has no method that runs`);
      const method = program.method(form.name);
      await method.runner?.prepare(stepInputs(method, kind, 0), (done, total) =>
        report({ stage: "kernels", done, total }),
      );
      signal.throwIfAborted();
      const language =
        kind === "chat" && tokenizer !== undefined
          ? await LanguageModel.load({ program, tokenizer })
          : undefined;
      return new LoadedModel(program, method.name, kind, notices, language);
    } catch (error) {
      await program.dispose();
      throw error;
    }
  }

  get gpuBytes(): number {
    return this.#program.gpuBytes;
  }

  describe(seconds: number, labels: string[]): Loaded {
    const context = this.#program.constants.get("get_max_seq_len");
    const picture = pictureOf(this.#method);
    return {
      kind: this.kind,
      gpuBytes: this.gpuBytes,
      seconds,
      adapter: describeAdapter(this.gpu),
      labels,
      notices: this.#notices,
      ...(typeof context === "number" && { context }),
      ...(picture && { picture }),
    };
  }

  async generate(
    messages: Message[],
    sampling: Sampling,
    report: (text: string) => void,
    signal: AbortSignal,
  ): Promise<AnswerStats> {
    if (this.#language === undefined)
      throw new ModelError(
        "this model cannot chat here: it came without tokenizer.json and tokenizer_config.json",
      );
    try {
      for await (const text of this.#language.generate(messages, { ...sampling, signal })) report(text);
    } catch (error) {
      if (!signal.aborted) throw error; // stopped: what there is stays
    }
    const { stats } = this.#language;
    if (stats === undefined) throw new ModelError("the answer was stopped before it began");
    return { ...stats, gpuBytes: this.gpuBytes };
  }

  async graph(measure: boolean, position: number): Promise<Graph> {
    return this.#surviving(() => this.#graph(measure, position));
  }

  async #graph(measure: boolean, position: number): Promise<Graph> {
    const method = this.#method;
    const inputs = stepInputs(method, this.kind, position);
    const nodes = (await planOf(method, inputs)).map(
      ({ call, kernel, grid, weights, weightBytes, after, onCpu = false }) => ({
        call,
        kernel,
        grid,
        weights,
        weightBytes,
        reads: after,
        onCpu,
      }),
    );
    if (method.runner === undefined) this.#language?.reset(); // its cache has another token now
    const graph: Graph = { method: method.name, inputs: inputs.map(describeInput), nodes };
    if (!measure) return graph;
    const { milliseconds, kernels } = await profile(method, inputs);
    this.#language?.reset(); // what its cache held is gone
    const times = new Map(
      kernels.flatMap(({ dispatches, milliseconds }) =>
        dispatches.map((i) => [i, milliseconds / dispatches.length] as const),
      ),
    );
    return {
      ...graph,
      nodes: nodes.map((node, i) => ({ ...node, milliseconds: times.get(i) ?? 0 })),
      stepMilliseconds: milliseconds,
    };
  }

  async classify(picture: ImageBitmap, normalization: Normalization): Promise<Classes> {
    const form = pictureOf(this.#method);
    if (form === undefined) throw new ModelError("this model takes no picture");
    const input = pixels(picture, form, normalization);
    const tensor = Tensor.of(input, [1, form.channels, form.height, form.width], "float32");
    return this.#surviving(async () => {
      const since = performance.now();
      const [output] = await this.#method.execute([tensor]);
      const milliseconds = performance.now() - since;
      return { top: topOf((output as Tensor).data as Float32Array), milliseconds };
    });
  }

  // Once more on another device where this one is lost meanwhile; an answer has its own way.
  async #surviving<T>(use: () => Promise<T>): Promise<T> {
    try {
      return await use();
    } catch (error) {
      if (!(error instanceof DeviceLostError) || this.#language !== undefined) throw error;
      this.#loaded = await this.#loaded.reload();
      return use();
    }
  }

  async dispose(): Promise<void> {
    await (this.#language ?? this.#loaded).dispose();
  }
}

/** Inputs of one step: a token at a position, or zeros of the program's sizes. */
function stepInputs(method: Method, kind: ModelKind, position: number): Input[] {
  const decodes = kind === "chat";
  return method.inputs.map(({ dtype, sizes, value }, i) => {
    if (dtype === undefined || sizes === undefined) return Number(value ?? 0);
    const own = decodes ? sizes.map(() => 1) : sizes;
    const count = own.reduce((product, size) => product * size, 1);
    const fill = decodes && i === 1 ? position : 0;
    return Tensor.of(new Array<number>(count).fill(fill), own, dtype as Tensor["dtype"]);
  });
}

const describeInput = (input: Input): string =>
  input instanceof Tensor ? `${input.dtype} [${input.sizes.join(", ")}]` : String(input);

// Shares of the five likeliest: softmax, unless the outputs are shares already.
function topOf(outputs: Float32Array, count = 5): Classes["top"] {
  const sum = outputs.reduce((a, b) => a + b, 0);
  const areShares = outputs.every((value) => value >= 0) && Math.abs(sum - 1) < 1e-3;
  const most = outputs.reduce((a, b) => Math.max(a, b), -Infinity);
  const shares = areShares ? outputs : outputs.map((value) => Math.exp(value - most));
  const all = areShares ? 1 : shares.reduce((a, b) => a + b, 0);
  const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]).slice(0, count);
  return order.map((index) => ({ index, share: shares[index] / all }));
}

async function readTokenizer(files: ModelFiles): Promise<{ json: object; config: object } | undefined> {
  if (files.tokenizer === undefined) return undefined;
  const { json, config } = files.tokenizer;
  return { json: await readJson(json), config: await readJson(config) };
}

async function readJson(place: FilePlace): Promise<object> {
  const name = place instanceof File ? place.name : place;
  try {
    const value: unknown = JSON.parse(await readText(place));
    if (typeof value === "object" && value !== null) return value;
  } catch (error) {
    if (error instanceof ModelError) throw error;
  }
  throw new ModelError(`${name} is not the JSON of a tokenizer`);
}

export async function readText(place: FilePlace): Promise<string> {
  if (place instanceof File) return place.text();
  const answer = await fetch(place);
  if (!answer.ok) throw new ModelError(`${place}: the server answered ${answer.status} ${answer.statusText}`);
  return answer.text();
}
