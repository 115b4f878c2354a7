/** What a page, or a worker, does in cache_browser.test.ts. */
import { cachedFiles, clearCache, openKept } from "../../src/cache.ts";
import { browserStore } from "../../src/stores.ts";

export interface Visit {
  url: string;
  begin: number;
  end: number;
  /** Forgets everything first. */
  clear?: boolean;
}

export interface Seen {
  store: string | undefined;
  /** SHA-256 of what was read. */
  digest: string;
  notices: string[];
  keptBytes: number[];
  milliseconds: number;
}

// For whoever drives the page.
Object.assign(globalThis, { visit });

export async function visit({ url, begin, end, clear = false }: Visit): Promise<Seen> {
  const store = await browserStore();
  if (clear) await clearCache(undefined, store);
  const notices: string[] = [];
  const began = performance.now();
  const source = await openKept(url, { store, notice: (text) => notices.push(text) });
  const bytes = new Uint8Array(end - begin);
  let at = 0;
  for await (const piece of source.stream(begin, end - begin)) {
    bytes.set(piece, at);
    at += piece.byteLength;
  }
  const milliseconds = performance.now() - began;
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return {
    store: store?.constructor.name,
    digest: [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
    notices,
    keptBytes: (await cachedFiles(store)).map((file) => file.keptBytes),
    milliseconds,
  };
}
