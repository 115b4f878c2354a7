/** What the page and its worker say to each other: calls that take a while, report on the way and can be stopped. */

/** Where a file is: an address, or a file the visitor chose. */
export type FilePlace = string | File;

export interface ModelFiles {
  name: string;
  program: FilePlace;
  data: FilePlace[];
  tokenizer?: { json: FilePlace; config: FilePlace };
  labels?: FilePlace;
}

export type ModelKind = "chat" | "image" | "other";

export interface Preflight {
  kind: ModelKind;
  /** Why it does not run here; empty if it does. */
  problems: string[];
  /** What is as well to know. */
  warnings: string[];
  /** Bytes of weights, and of these those that are not here yet. */
  weights: { total: number; toFetch: number };
  /** Bytes on the GPU, activations at the largest inputs. */
  memory: { constants: number; states: number; activations: number };
  context?: number;
  picture?: PictureForm;
}

/** An image model's input, in pixels, and the number of its classes. */
export interface PictureForm {
  channels: number;
  height: number;
  width: number;
  classes: number;
}

export interface Adapter {
  name: string;
  kind: "discrete" | "integrated" | "software";
  features: string[];
}

export interface Loaded {
  kind: ModelKind;
  gpuBytes: number;
  seconds: number;
  adapter: Adapter;
  context?: number;
  picture?: PictureForm;
  labels: string[];
  /** What is as well to know: a server that sends whole files only. */
  notices: string[];
}

export interface LoadProgress {
  stage: "reading" | "weights" | "kernels";
  done: number;
  total: number;
}

export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface Sampling {
  maxTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  seed?: number;
}

export interface AnswerStats {
  promptTokens: number;
  cachedTokens: number;
  newTokens: number;
  firstTokenMs: number;
  tokensPerSecond: number;
  end: "eos" | "stop" | "length" | "context" | "abort";
  gpuBytes: number;
}

/** How bytes become what the model was trained on. */
export type Normalization = "imagenet" | "unit" | "signed";

export interface Classes {
  /** The likeliest first. */
  top: { index: number; share: number }[];
  milliseconds: number;
}

export interface GraphNode {
  call: string;
  kernel: string;
  grid: [number, number, number];
  /** Names of the weights it reads, and their bytes on the GPU. */
  weights: string[];
  weightBytes: number;
  /** Nodes whose results it reads. */
  reads: number[];
  /** A kernel that the page computes, which is no dispatch. */
  onCpu: boolean;
  milliseconds?: number;
}

export interface Graph {
  method: string;
  inputs: string[];
  nodes: GraphNode[];
  /** Of a whole step, where it was measured. */
  stepMilliseconds?: number;
}

/** By name: what a call takes, reports while it runs, and gives. */
export interface Calls {
  adapter: { takes: undefined; reports: never; gives: Adapter };
  check: { takes: ModelFiles; reports: never; gives: Preflight };
  load: { takes: ModelFiles; reports: LoadProgress; gives: Loaded };
  /** Bytes of files that the browser keeps for the next visit. */
  kept: { takes: undefined; reports: never; gives: number };
  forget: { takes: undefined; reports: never; gives: undefined };
  unload: { takes: undefined; reports: never; gives: undefined };
  generate: {
    takes: { messages: Message[]; sampling: Sampling };
    reports: string;
    gives: AnswerStats;
  };
  graph: { takes: { measure: boolean; position: number }; reports: never; gives: Graph };
  classify: {
    takes: { picture: ImageBitmap; normalization: Normalization };
    reports: never;
    gives: Classes;
  };
}

type Name = keyof Calls;
type Request = { id: number; name: Name; takes: unknown } | { id: number; stop: true };
type Answer =
  | { id: number; report: unknown }
  | { id: number; gives: unknown }
  | { id: number; error: { name: string; message: string } };

// --- The page's side ---

export interface CallOptions<N extends Name> {
  onReport?: (report: Calls[N]["reports"]) => void;
  signal?: AbortSignal;
  transfer?: Transferable[];
}

/** What went wrong in the worker, under the error's own name. */
export class WorkerError extends Error {
  constructor(name: string, message: string) {
    super(message);
    this.name = name;
  }
}

interface Pending {
  onReport: ((report: never) => void) | undefined;
  resolve: (value: never) => void;
  reject: (error: Error) => void;
}

export class Client {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #last = 0;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<Answer>) => this.#hear(data);
    worker.onerror = (event) => {
      event.preventDefault();
      const error = new WorkerError(
        "Error",
        `the model's worker failed: ${event.message || "it did not start"}`,
      );
      for (const { reject } of this.#pending.values()) reject(error);
      this.#pending.clear();
    };
  }

  call<N extends Name>(
    name: N,
    takes: Calls[N]["takes"],
    options: CallOptions<N> = {},
  ): Promise<Calls[N]["gives"]> {
    const id = ++this.#last;
    const stop = (): void => this.#worker.postMessage({ id, stop: true } satisfies Request);
    options.signal?.addEventListener("abort", stop);
    const answer = new Promise<Calls[N]["gives"]>((resolve, reject) => {
      this.#pending.set(id, { onReport: options.onReport, resolve, reject });
    });
    this.#worker.postMessage({ id, name, takes } satisfies Request, options.transfer ?? []);
    if (options.signal?.aborted) stop();
    return answer.finally(() => options.signal?.removeEventListener("abort", stop));
  }

  #hear(answer: Answer): void {
    const pending = this.#pending.get(answer.id);
    if (pending === undefined) return;
    if ("report" in answer) {
      pending.onReport?.(answer.report as never);
      return;
    }
    this.#pending.delete(answer.id);
    if ("error" in answer) pending.reject(new WorkerError(answer.error.name, answer.error.message));
    else pending.resolve(answer.gives as never);
  }
}

// --- The worker's side ---

export type Handlers = {
  [N in Name]: (
    takes: Calls[N]["takes"],
    context: { report: (report: Calls[N]["reports"]) => void; signal: AbortSignal },
  ) => Promise<Calls[N]["gives"]>;
};

export function listen(handlers: Handlers): void {
  const running = new Map<number, AbortController>();
  const say = (answer: Answer): void => self.postMessage(answer);

  self.onmessage = async ({ data }: MessageEvent<Request>) => {
    const { id } = data;
    if ("stop" in data) {
      running.get(id)?.abort();
      return;
    }
    const stopper = new AbortController();
    running.set(id, stopper);
    const context = { report: (report: unknown) => say({ id, report }), signal: stopper.signal };
    try {
      const handle = handlers[data.name] as (takes: unknown, context: unknown) => Promise<unknown>;
      say({ id, gives: await handle(data.takes, context) });
    } catch (error) {
      const { name, message } = error instanceof Error ? error : { name: "Error", message: String(error) };
      say({ id, error: { name, message } });
    } finally {
      running.delete(id);
    }
  };
}
