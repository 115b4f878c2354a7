/** Where a file's bytes come from: a server, a File or memory. */
import { errorText, ModelError } from "./errors.ts";

export interface ByteSource {
  /** For messages. */
  readonly name: string;
  readonly size: number;
  /** Changes when the content does, if that is known. */
  readonly version: string;
  /** Bytes [offset, offset + length) in order, in pieces as they come. */
  stream(offset: number, length: number, signal?: AbortSignal): AsyncIterable<Uint8Array>;
}

export type Source = string | URL | Blob | ArrayBuffer | Uint8Array | ByteSource;

/** `notice` hears what a user may want to know: that a server sends whole files only. */
export async function openSource(
  from: Source,
  signal?: AbortSignal,
  notice: (text: string) => void = console.warn,
): Promise<ByteSource> {
  if (typeof from === "string" || from instanceof URL) return openUrl(from, notice, signal);
  if (from instanceof Blob) return new BlobSource("name" in from ? String(from.name) : "the blob", from);
  if (from instanceof ArrayBuffer) return new MemorySource(new Uint8Array(from));
  if (from instanceof Uint8Array) return new MemorySource(from);
  return from;
}

/** All of a range at once. */
export async function read(
  source: ByteSource,
  offset: number,
  length: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const out = new Uint8Array(length);
  let at = 0;
  for await (const piece of source.stream(offset, length, signal)) {
    out.set(piece, at);
    at += piece.byteLength;
  }
  return out;
}

/** The first `wanted` bytes, or the whole file. */
export function readHead(source: ByteSource, wanted: number, signal?: AbortSignal): Promise<Uint8Array> {
  return read(source, 0, Math.min(wanted, source.size), signal);
}

class MemorySource implements ByteSource {
  readonly name = "the buffer";
  readonly version = "";
  readonly #bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }
  get size() {
    return this.#bytes.byteLength;
  }
  async *stream(offset: number, length: number, signal?: AbortSignal) {
    signal?.throwIfAborted();
    checkRange(this, offset, length);
    yield this.#bytes.subarray(offset, offset + length);
  }
}

class BlobSource implements ByteSource {
  readonly version: string;
  readonly name: string;
  readonly #blob: Blob;
  constructor(name: string, blob: Blob) {
    this.name = name;
    this.#blob = blob;
    this.version = blob instanceof File ? `${blob.size} ${blob.lastModified}` : "";
  }
  get size() {
    return this.#blob.size;
  }
  async *stream(offset: number, length: number, signal?: AbortSignal) {
    checkRange(this, offset, length);
    yield* pieces(this.#blob.slice(offset, offset + length).stream(), this.name, offset, length, signal);
  }
}

function checkRange(source: ByteSource, offset: number, length: number): void {
  if (offset + length > source.size)
    throw new ModelError(
      `${source.name}: bytes [${offset}, ${offset + length}) lie outside its ${source.size} (is it truncated?)`,
    );
}

// What a body brings, which must be `length` bytes.
async function* pieces(
  body: ReadableStream<Uint8Array>,
  name: string,
  offset: number,
  length: number,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  let left = length;
  try {
    while (left > 0) {
      signal?.throwIfAborted();
      const { value, done } = await reader.read();
      if (done) break;
      left -= value.byteLength;
      yield left < 0 ? value.subarray(0, value.byteLength + left) : value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
  if (left > 0) throw new ModelError(`${name}: ended ${left} bytes before byte ${offset + length} was there`);
}

// --- HTTP ---

interface RangeAnswer {
  size: number;
  version: string;
}

async function openUrl(
  from: string | URL,
  notice: (text: string) => void,
  signal?: AbortSignal,
): Promise<ByteSource> {
  const url = String(from);
  const answer = await request(url, 0, 1, signal);
  if (answer.status === 206) {
    await answer.body?.cancel();
    return new UrlSource(url, rangeOf(answer, url));
  }
  notice(`${url}: the server sends no ranges of a file, so all of it is fetched at once`);
  const expected = Number(answer.headers.get("Content-Length") ?? Number.NaN);
  const blob = await answer.blob();
  const isCoded = answer.headers.has("Content-Encoding");
  if (!isCoded && Number.isFinite(expected) && blob.size !== expected)
    throw new ModelError(`${url}: ended after ${blob.size} of ${expected} bytes`);
  return new BlobSource(url, blob);
}

async function request(url: string, offset: number, length: number, signal?: AbortSignal): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(url, {
      headers: { Range: `bytes=${offset}-${offset + length - 1}` },
      ...(signal && { signal }),
    });
  } catch (error) {
    signal?.throwIfAborted();
    throw new ModelError(`${url}: the request failed: ${errorText(error)}`, {
      cause: error,
    });
  }
  if (!answer.ok) {
    await answer.body?.cancel();
    throw new ModelError(`${url}: the server answered ${answer.status} ${answer.statusText}`.trimEnd());
  }
  return answer;
}

function rangeOf(answer: Response, url: string): RangeAnswer {
  const range = answer.headers.get("Content-Range");
  const size = Number(range?.match(/\/(\d+)$/)?.[1] ?? Number.NaN);
  if (!Number.isFinite(size))
    throw new ModelError(
      `${url}: the answer to a range does not say the file's size (Content-Range: ${range})`,
    );
  const version = answer.headers.get("ETag") ?? answer.headers.get("Last-Modified") ?? "";
  return { size, version };
}

class UrlSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly version: string;
  constructor(url: string, { size, version }: RangeAnswer) {
    this.name = url;
    this.size = size;
    this.version = version;
  }
  async *stream(offset: number, length: number, signal?: AbortSignal) {
    checkRange(this, offset, length);
    if (length === 0) return;
    const answer = await request(this.name, offset, length, signal);
    const now = answer.status === 206 ? rangeOf(answer, this.name) : undefined;
    if (now?.size !== this.size || now.version !== this.version) {
      await answer.body?.cancel();
      throw new ModelError(`${this.name}: the file has changed on the server since its beginning was read`);
    }
    if (answer.body === null) throw new ModelError(`${this.name}: the answer has no content`);
    yield* pieces(answer.body, this.name, offset, length, signal);
  }
}
