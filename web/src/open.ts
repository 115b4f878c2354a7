/** Any source as a file that is read by ranges; those of servers are kept for the next time. */
import { absolute, openKept } from "./cache.ts";
import { type ByteSource, type Notice, openLocal, type Source } from "./source.ts";
import { browserStore, type CacheStore } from "./stores.ts";

export interface OpenOptions {
  /** Whether files of servers are kept for the next time, or where; the browser's own store unless it is given. */
  cache?: boolean | CacheStore;
  /** Hears what a user may want to know; console.warn unless it is given. */
  onNotice?: Notice;
  signal?: AbortSignal;
}

/** Opens files of one program. */
export async function opener(options: OpenOptions): Promise<(from: Source) => Promise<ByteSource>> {
  const { cache = true, onNotice: notice = console.warn, signal } = options;
  const store = typeof cache === "object" ? cache : cache ? await browserStore() : undefined;
  return async (from) =>
    typeof from === "string" || from instanceof URL
      ? openKept(absolute(from), { store, notice, signal })
      : openLocal(from);
}
