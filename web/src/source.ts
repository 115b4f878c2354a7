/** Where a file's bytes come from: a server (http.ts), a File or memory. */
import { errorText, ModelError } from "./errors.ts";

export interface ByteSource {
  /** For messages. */
  readonly name: string;
  readonly size: number;
  /** Changes when the content does, if that is known. */
  readonly version: string;
  /** Bytes [offset, offset + length) in order, in pieces as they come. */
  stream(offset: number, length: number, signal?: AbortSignal): AsyncIterable<Uint8Array>;
  /** How many bytes of a range have to come over a network; none unless a source says so. */
  missing?(offset: number, length: number): Promise<number>;
}

export type Source = string | URL | Blob | ArrayBuffer | Uint8Array | ByteSource;

/** Hears what a user may want to know: that a server sends whole files only. */
export type Notice = (text: string) => void;

/** What is not on a server. */
export function openLocal(from: Exclude<Source, string | URL>): ByteSource {
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

export class BlobSource implements ByteSource {
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
    let left = length;
    try {
      for await (const piece of pieces(this.#blob.slice(offset, offset + length).stream(), signal)) {
        left -= piece.byteLength;
        yield piece;
      }
    } catch (error) {
      signal?.throwIfAborted();
      throw new ModelError(
        `${this.name}: bytes [${offset}, ${offset + length}) cannot be read (has the file changed?): ${errorText(error)}`,
        { cause: error },
      );
    }
    if (left > 0) throw new ModelError(`${this.name}: ended ${left} bytes before byte ${offset + length}`);
  }
}

export function checkRange(source: ByteSource, offset: number, length: number): void {
  if (offset + length > source.size)
    throw new ModelError(
      `${source.name}: bytes [${offset}, ${offset + length}) lie outside its ${source.size} (is it truncated?)`,
    );
}

/** What a body brings; who stops early cancels it. */
export async function* pieces(
  body: ReadableStream<Uint8Array>,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (;;) {
      signal?.throwIfAborted();
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
