/**
 * Files on servers: read by ranges, and taken up again where a connection broke. The first request brings the
 * first bytes along with the file's size and version.
 */
import { ConnectionError, errorText, ModelError } from "./errors.ts";
import { BlobSource, type ByteSource, checkRange, type Notice, pieces } from "./source.ts";

/** Most heads fit, so that a program takes one request, or two. */
export const FIRST_BYTES = 1 << 16;

const FIRST_WAITS = [250];
const WAITS = [250, 500, 1000, 2000]; // milliseconds, while no byte comes
const MOST_WAIT = 10_000; // of what a server asks for
const TEMPORARY = new Set([408, 425, 429, 500, 502, 503, 504]);

export interface UrlOptions {
  notice: Notice;
  signal?: AbortSignal | undefined;
  /** What is known of the file, which needs no first bytes then. */
  known?: { version: string; size: number } | undefined;
  /** Whether the bytes are kept elsewhere, so that the browser's own cache of answers need not. */
  isKept?: boolean;
}

export async function openUrl(url: string, options: UrlOptions): Promise<ByteSource> {
  const { known, notice, signal } = options;
  const address = new Address(url, options.isKept ? "no-store" : "no-cache");
  const [answer, head] = await attempted(FIRST_WAITS, signal, async () => {
    const answer = await address.request(signal, 0, known === undefined ? FIRST_BYTES : 1);
    return [answer, answer.status === 206 ? await address.bytes(answer, signal) : undefined] as const;
  });
  const version = versionOf(answer);
  if (head !== undefined) {
    const size = rangeOf(answer)?.size ?? (await address.size(signal));
    return new RangedFile(address, size, version, head);
  }
  if (known !== undefined && known.version === version) {
    await answer.body?.cancel();
    return new WholeFile(address, known.size, version);
  }
  notice(`${url}: the server sends no ranges of a file, so all of it is fetched at once`);
  const blob = await address.whole(version, signal, answer);
  return new WholeFile(address, blob.size, version, blob);
}

const versionOf = (answer: Response): string =>
  answer.headers.get("ETag") ?? answer.headers.get("Last-Modified") ?? "";

interface RangeAnswer {
  begin: number;
  end: number;
  size: number;
}

// Undefined where a server on another site does not show the header to pages.
function rangeOf(answer: Response): RangeAnswer | undefined {
  const match = answer.headers.get("Content-Range")?.match(/^bytes (\d+)-(\d+)\/(\d+)$/);
  if (!match) return undefined;
  const [begin, last, size] = match.slice(1).map(Number);
  return { begin, end: last + 1, size };
}

/** An address and how it is asked. */
class Address {
  readonly url: string;
  readonly #mode: RequestCache;
  constructor(url: string, mode: RequestCache) {
    this.url = url;
    this.#mode = mode;
  }

  /** The answer to a request for a range, or for all; its status is one of success. */
  async request(signal?: AbortSignal, offset = 0, length?: number, method = "GET"): Promise<Response> {
    const range = length === undefined ? {} : { Range: `bytes=${offset}-${offset + length - 1}` };
    let answer: Response;
    try {
      answer = await fetch(this.url, {
        method,
        headers: range,
        cache: this.#mode,
        ...(signal && { signal }),
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw this.#unreachable(error);
    }
    if (answer.ok) return answer;
    await answer.body?.cancel();
    // Also what an empty file's first bytes are answered with.
    if (answer.status === 416)
      throw new ModelError(`${this.url}: the server has no bytes from ${offset} on (is the file cut short?)`);
    const text = `${this.url}: the server answered ${answer.status} ${answer.statusText}`.trimEnd();
    throw TEMPORARY.has(answer.status)
      ? new TemporaryError(text, 1000 * Number(answer.headers.get("Retry-After") ?? 0) || 0)
      : new ModelError(text);
  }

  #unreachable(error: unknown): ConnectionError {
    const here = globalThis.location?.origin;
    const isOther = here !== undefined && new URL(this.url).origin !== here;
    const hint = isOther ? " (a server of another site must allow this page: CORS)" : "";
    // Node keeps what happened in the cause.
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return new ConnectionError(`${this.url}: the server cannot be reached${hint}: ${errorText(cause)}`, {
      cause: error,
    });
  }

  broke(at: number, error?: unknown): ConnectionError {
    const why = error === undefined ? "" : `: ${errorText(error)}`;
    return new ConnectionError(`${this.url}: the connection broke at byte ${at}${why}`, { cause: error });
  }
  changed(): ModelError {
    return new ModelError(`${this.url}: the file has changed on the server since its beginning was read`);
  }

  async bytes(answer: Response, signal?: AbortSignal): Promise<Uint8Array> {
    try {
      return new Uint8Array(await answer.arrayBuffer());
    } catch (error) {
      signal?.throwIfAborted();
      throw this.broke(0, error);
    }
  }

  /** All of a file, from its beginning again where the connection breaks. */
  whole(version: string, signal?: AbortSignal, first?: Response): Promise<Blob> {
    let begun = first;
    return attempted(WAITS, signal, async () => {
      const answer = begun ?? (await this.request(signal));
      begun = undefined;
      if (versionOf(answer) !== version) throw this.changed();
      return this.#blob(answer, signal);
    });
  }

  async #blob(answer: Response, signal?: AbortSignal): Promise<Blob> {
    const expected = answer.headers.has("Content-Encoding") ? null : answer.headers.get("Content-Length");
    let blob: Blob;
    try {
      blob = await answer.blob();
    } catch (error) {
      signal?.throwIfAborted();
      throw this.broke(0, error);
    }
    if (expected !== null && blob.size !== Number(expected)) throw this.broke(blob.size);
    return blob;
  }

  async size(signal?: AbortSignal): Promise<number> {
    const { headers } = await this.request(signal, 0, undefined, "HEAD");
    const length = headers.get("Content-Length");
    if (length === null || headers.has("Content-Encoding"))
      throw new ModelError(
        `${this.url}: the answers do not say the file's size: the server must expose Content-Range to pages`,
      );
    return Number(length);
  }
}

class TemporaryError extends ConnectionError {
  readonly wait: number;
  constructor(text: string, wait: number) {
    super(text);
    this.wait = wait;
  }
}

/** Waits between attempts, longer each time. */
class Attempts {
  readonly #waits: readonly number[];
  readonly #signal: AbortSignal | undefined;
  #failed = 0;
  constructor(waits: readonly number[], signal?: AbortSignal) {
    this.#waits = waits;
    this.#signal = signal;
  }

  worked(): void {
    this.#failed = 0;
  }
  /** Throws what another attempt will not change. */
  async next(error: unknown): Promise<void> {
    const isOffline = globalThis.navigator?.onLine === false;
    if (!(error instanceof ConnectionError) || isOffline || this.#failed === this.#waits.length) throw error;
    const asked = error instanceof TemporaryError ? Math.min(error.wait, MOST_WAIT) : 0;
    await pause(Math.max(this.#waits[this.#failed++], asked), this.#signal);
  }
}

async function attempted<T>(
  waits: readonly number[],
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  const attempts = new Attempts(waits, signal);
  for (;;) {
    try {
      return await work();
    } catch (error) {
      await attempts.next(error);
    }
  }
}

export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
  });
}

class RangedFile implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly version: string;
  readonly #address: Address;
  readonly #head: Uint8Array;

  constructor(address: Address, size: number, version: string, head: Uint8Array) {
    this.name = address.url;
    this.size = size;
    this.version = version;
    this.#address = address;
    this.#head = head;
  }

  async missing(offset: number, length: number): Promise<number> {
    return Math.max(0, offset + length - Math.max(offset, this.#head.byteLength));
  }

  async *stream(offset: number, length: number, signal?: AbortSignal) {
    checkRange(this, offset, length);
    signal?.throwIfAborted();
    const end = offset + length;
    let at = offset;
    if (at < Math.min(end, this.#head.byteLength)) {
      const piece = this.#head.subarray(at, end);
      at += piece.byteLength;
      yield piece;
    }
    const attempts = new Attempts(WAITS, signal);
    while (at < end) {
      try {
        for await (const piece of this.#request(at, end - at, signal)) {
          attempts.worked();
          at += piece.byteLength;
          yield piece;
        }
      } catch (error) {
        await attempts.next(error);
      }
    }
  }

  // What one request brings of a range, at least a byte of it.
  async *#request(offset: number, length: number, signal?: AbortSignal) {
    const answer = await this.#address.request(signal, offset, length);
    const range = rangeOf(answer);
    const mistake = this.#mistake(answer, range, offset);
    if (mistake !== undefined) {
      await answer.body?.cancel();
      throw mistake;
    }
    let at = offset;
    try {
      for await (const piece of pieces(answer.body!, signal)) {
        const wanted = piece.subarray(0, offset + length - at);
        at += wanted.byteLength;
        if (wanted.byteLength > 0) yield wanted;
        if (at === offset + length) return;
      }
    } catch (error) {
      signal?.throwIfAborted();
      throw this.#address.broke(at, error);
    }
    // Some servers answer with less than was asked for, and say so.
    if (at === offset || at !== range?.end) throw this.#address.broke(at);
  }

  #mistake(answer: Response, range: RangeAnswer | undefined, offset: number): ModelError | undefined {
    if (versionOf(answer) !== this.version || (range !== undefined && range.size !== this.size))
      return this.#address.changed();
    if (answer.status !== 206) return new ModelError(`${this.name}: the server has stopped sending ranges`);
    if (range !== undefined && range.begin !== offset)
      return new ModelError(
        `${this.name}: the server sent bytes from ${range.begin} on where ${offset} was asked for`,
      );
    return undefined;
  }
}

/** What a server without ranges sends: fetched once, then kept. */
class WholeFile implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly version: string;
  readonly #address: Address;
  #blob: Blob | undefined;

  constructor(address: Address, size: number, version: string, blob?: Blob) {
    this.name = address.url;
    this.size = size;
    this.version = version;
    this.#address = address;
    this.#blob = blob;
  }

  async missing(_offset: number, length: number): Promise<number> {
    return this.#blob === undefined ? length : 0;
  }

  async *stream(offset: number, length: number, signal?: AbortSignal) {
    this.#blob ??= await this.#address.whole(this.version, signal);
    if (this.#blob.size !== this.size) throw this.#address.changed();
    yield* new BlobSource(this.name, this.#blob).stream(offset, length, signal);
  }
}
