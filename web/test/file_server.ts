/** A server of files that can be as unpleasant as servers are, and files that nobody has to store. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "vitest";
import type { ByteSource } from "../src/source.ts";
import { sample } from "./support.ts";

/** toEqual takes its time over many bytes. */
export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  expect(actual.byteLength).toBe(expected.byteLength);
  expect(Buffer.compare(actual, expected)).toBe(0);
}

/** A program of which only the head is stored: its weights, floats, are made where they are read. */
export class MadeUpFile implements ByteSource {
  readonly name = "the made-up file";
  readonly version = "";
  readonly size: number;
  readonly #head: Uint8Array;
  readonly #fill: (words: Float32Array<ArrayBuffer>, first: number) => void;
  /** Of how many bytes was asked for. */
  bytesRead = 0;

  /** `fill` gives zeros their values; `first` is the number of the first in the file. */
  constructor(head: string, fill: (words: Float32Array<ArrayBuffer>, first: number) => void) {
    this.#head = sample(head);
    this.#fill = fill;
    const header = new DataView(this.#head.buffer, this.#head.byteOffset);
    this.size = Number(header.getBigUint64(24, true) + header.getBigUint64(32, true));
  }

  async *stream(offset: number, length: number) {
    const most = 4 << 20;
    for (let at = offset; at < offset + length; ) {
      const size = Math.min(most - (at % 4), offset + length - at);
      yield this.#bytes(at, size);
      this.bytesRead += size;
      at += size;
    }
  }

  #bytes(offset: number, size: number): Uint8Array {
    const first = Math.floor(offset / 4);
    const words = new Float32Array(Math.ceil((offset + size) / 4) - first);
    this.#fill(words, first);
    const bytes = new Uint8Array(words.buffer, offset - 4 * first, size);
    if (offset < this.#head.byteLength) bytes.set(this.#head.subarray(offset, offset + size));
    return bytes;
  }
}

export interface Asked {
  method: string;
  path: string;
  /** Of the file; undefined where all of it was asked for. */
  begin: number | undefined;
  end: number | undefined;
  /** How many bytes went out. */
  sent: number;
}

/** What goes wrong with an answer. */
export interface Fault {
  status?: number;
  /** The connection breaks behind so many bytes of the answer. */
  dropAfter?: number;
  /** Runs when so many bytes of the answer are out. */
  at?: { bytes: number; do: () => void };
}

export interface ServedFile {
  content: Uint8Array | ByteSource;
  etag?: string;
  type?: string;
}

export class FileServer {
  readonly files = new Map<string, ServedFile>();
  readonly asked: Asked[] = [];
  hasRanges = true;
  /** For each request; undefined where all goes well. */
  fault: (asked: Asked) => Fault | undefined = () => undefined;
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => response.destroy(error as Error));
    });
  }

  static async start(): Promise<FileServer> {
    const server = new FileServer();
    await new Promise<void>((resolve) => {
      server.#server.listen(0, "127.0.0.1", resolve);
    });
    return server;
  }
  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
  }

  serve(path: string, content: ServedFile["content"], etag = '"1"', type?: string): string {
    this.files.set(`/${path}`, { content, etag, ...(type !== undefined && { type }) });
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/${path}`;
  }
  /** How many bytes of files went out since it was last asked. */
  takeSent(): number {
    const sent = this.asked.reduce((sum, asked) => sum + asked.sent, 0);
    this.asked.length = 0;
    return sent;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? "/";
    const range = request.headers.range
      ?.match(/^bytes=(\d+)-(\d+)$/)
      ?.slice(1)
      .map(Number);
    const asked: Asked = {
      method: request.method!,
      path,
      begin: range?.[0],
      end: range && range[1] + 1,
      sent: 0,
    };
    this.asked.push(asked);
    const fault = this.fault(asked) ?? {};
    const file = this.files.get(path);
    if (fault.status !== undefined || file === undefined) {
      response.writeHead(fault.status ?? 404, { "Content-Type": "text/html" });
      response.end("<!DOCTYPE html><title>not here</title>");
      return;
    }
    const size = file.content instanceof Uint8Array ? file.content.byteLength : file.content.size;
    const headers: Record<string, string | number> = {
      "Access-Control-Allow-Origin": "*",
      "Access-Control-Expose-Headers": "Content-Range, ETag",
      "Content-Type": file.type ?? "application/octet-stream",
      ...(file.etag !== undefined && { ETag: file.etag }),
    };
    if (range === undefined || !this.hasRanges) {
      response.writeHead(200, { ...headers, "Content-Length": size });
      await this.#send(response, file, 0, size, asked, fault);
    } else if (range[0] >= size) {
      response.writeHead(416, { ...headers, "Content-Range": `bytes */${size}` });
      response.end();
    } else {
      const end = Math.min(range[1] + 1, size);
      headers["Content-Range"] = `bytes ${range[0]}-${end - 1}/${size}`;
      response.writeHead(206, { ...headers, "Content-Length": end - range[0] });
      await this.#send(response, file, range[0], end, asked, fault);
    }
  }

  async #send(
    response: ServerResponse,
    { content }: ServedFile,
    begin: number,
    end: number,
    asked: Asked,
    { dropAfter = Number.POSITIVE_INFINITY, at }: Fault,
  ): Promise<void> {
    if (asked.method === "HEAD") return void response.end();
    for await (const piece of piecesOf(content, begin, end)) {
      if (response.destroyed) return;
      const some = piece.subarray(0, dropAfter - asked.sent);
      await new Promise((resolve) => {
        response.write(some, resolve);
      });
      asked.sent += some.byteLength;
      if (at !== undefined && asked.sent >= at.bytes) at.do();
      if (asked.sent >= dropAfter) return void response.destroy();
    }
    response.end();
  }
}

async function* piecesOf(content: ServedFile["content"], begin: number, end: number) {
  const size = 1 << 15;
  if (!(content instanceof Uint8Array)) return yield* content.stream(begin, end - begin);
  for (let at = begin; at < end; at += size) yield content.subarray(at, Math.min(end, at + size));
}
