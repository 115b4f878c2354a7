/**
 * Files of servers, kept where the browser keeps things for a page, so that a second visit fetches nothing but
 * their versions and an interrupted load goes on where it stopped. Of each version of a file there is a folder
 * with what has been streamed, in pieces named by the bytes that they hold: the names are all there is to know.
 */
import { ConnectionError, errorText, ModelError } from "./errors.ts";
import { openUrl, pause } from "./http.ts";
import { type ByteSource, checkRange, type Notice } from "./source.ts";
import { browserStore, type CacheStore } from "./stores.ts";

const PIECE_BYTES = 8 << 20;
const ABOUT = "about.json";
// What another load brings is looked for so often, and waited for as long as something comes.
const POLL_MS = 200;
const PATIENCE_MS = 60_000;
// Files opened since then may belong to what is being loaded, and are not forgotten for it.
const IN_USE_MS = 3_600_000;

interface About {
  url: string;
  version: string;
  size: number;
  /** When it was begun, in milliseconds. */
  since: number;
  /** When it was opened last; earlier versions did not write it. */
  used?: number;
}

interface Kept extends About {
  folder: string;
}

/** Bytes [begin, end) of a file. */
interface Extent {
  begin: number;
  end: number;
}

export interface OpenUrlOptions {
  notice: Notice;
  store?: CacheStore | undefined;
  signal?: AbortSignal | undefined;
}

/** A file of a server, and of the store if there is one. */
export async function openKept(url: string, { store, notice, signal }: OpenUrlOptions): Promise<ByteSource> {
  if (store === undefined || !/^https?:/.test(url)) return openUrl(url, { notice, signal });
  let known: Kept[];
  try {
    known = await keptVersions(store, url);
  } catch (error) {
    notice(`${url}: it is not kept, for the browser's store does not work: ${errorText(error)}`);
    return openUrl(url, { notice, signal });
  }
  const [latest] = known;
  let file: ByteSource;
  try {
    file = await openUrl(url, { notice, signal, known: latest, isKept: true });
  } catch (error) {
    if (latest === undefined || !(error instanceof ConnectionError)) throw error;
    const since = new Date(latest.since).toLocaleDateString();
    notice(`${error.message}; the copy that was fetched on ${since} is used`);
    return new KeptFile(store, latest, new Unreachable(latest, error), notice);
  }
  if (file.version === "") {
    notice(`${url}: it is not kept, for the server says no version of it (ETag or Last-Modified)`);
    return file;
  }
  if (latest !== undefined && latest.version === file.version && latest.size === file.size) {
    await noteUse(store, latest).catch(() => {}); // it is as good without
    return new KeptFile(store, latest, file, notice);
  }
  for (const { folder } of known) await store.remove(folder).catch(() => {});
  const now = Date.now();
  const about: About = { url, version: file.version, size: file.size, since: now, used: now };
  const folder = `${await digest(url)}-${await digest(`${about.version} ${about.size}`)}`;
  return new KeptFile(store, { ...about, folder }, file, notice);
}

// The latest first.
async function keptVersions(store: CacheStore, url: string): Promise<Kept[]> {
  const prefix = `${await digest(url)}-`;
  const folders = (await store.folders()).filter((folder) => folder.startsWith(prefix));
  const found = await Promise.all(folders.map((folder) => aboutOf(store, folder)));
  return found.filter((about) => about !== undefined).sort((a, b) => b.since - a.since);
}

async function aboutOf(store: CacheStore, folder: string): Promise<Kept | undefined> {
  const blob = await store.read(folder, ABOUT);
  if (blob === undefined) return undefined;
  try {
    return { ...(JSON.parse(await blob.text()) as About), folder };
  } catch {
    return undefined; // written by half, or by another version
  }
}

async function noteUse(store: CacheStore, about: Kept): Promise<void> {
  const now = Date.now();
  if (now - lastUse(about) > IN_USE_MS / 2) await writeAbout(store, { ...about, used: now });
}

function writeAbout(store: CacheStore, { folder, ...about }: Kept): Promise<void> {
  return store.write(folder, ABOUT, new TextEncoder().encode(JSON.stringify(about)));
}

async function allKept(store: CacheStore): Promise<Kept[]> {
  const found = await Promise.all((await store.folders()).map((folder) => aboutOf(store, folder)));
  return found.filter((about) => about !== undefined);
}

async function digest(text: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(hash, 0, 12)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// --- A file ---

class KeptFile implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly version: string;
  readonly #store: CacheStore;
  readonly #about: Kept;
  readonly #source: ByteSource;
  readonly #notice: Notice;
  #isKeeping = true;
  #streams = 0; // of what is not kept yet
  #held: ReturnType<typeof tryLock> | undefined;

  constructor(store: CacheStore, about: Kept, source: ByteSource, notice: Notice) {
    this.name = about.url;
    this.size = about.size;
    this.version = about.version;
    this.#store = store;
    this.#about = about;
    this.#source = source;
    this.#notice = notice;
  }

  async missing(offset: number, length: number): Promise<number> {
    const extents = await this.#extents();
    let missing = 0;
    for (let at = offset; at < offset + length; ) {
      const { kept, end } = stretch(extents, at, offset + length);
      if (kept === undefined) missing += (await this.#source.missing?.(at, end - at)) ?? end - at;
      at = end;
    }
    return missing;
  }

  async *stream(offset: number, length: number, signal?: AbortSignal) {
    checkRange(this, offset, length);
    let extents = await this.#extents();
    const brought = new Set<string>();
    let ahead: Promise<Uint8Array | undefined> | undefined;
    for (let at = offset; at < offset + length; ) {
      signal?.throwIfAborted();
      const { kept, end } = stretch(extents, at, offset + length);
      if (kept === undefined) {
        const isMine = await this.#turn(at, end, brought, signal);
        if (isMine === undefined) {
          extents = await this.#extents();
          continue;
        }
        yield* this.#fetch(at, end, isMine, signal);
      } else {
        const bytes = await (ahead ?? this.#read(kept, at, end));
        ahead = undefined;
        if (bytes === undefined) {
          extents.splice(extents.indexOf(kept), 1);
          continue;
        }
        // The next is read while this one is used.
        const next = stretch(extents, end, offset + length);
        if (next.kept !== undefined && next.end > end) ahead = this.#read(next.kept, end, next.end);
        yield bytes;
      }
      at = end;
    }
  }

  // In order of their beginnings; none if the store fails, which is a reason to fetch them.
  async #extents(): Promise<Extent[]> {
    const names = await this.#store.files(this.#about.folder).catch(() => []);
    return names
      .map(extentOf)
      .filter((extent) => extent !== undefined)
      .sort((a, b) => a.begin - b.begin);
  }

  async #read(kept: Extent, begin: number, end: number): Promise<Uint8Array | undefined> {
    try {
      const blob = await this.#store.read(this.#about.folder, nameOf(kept));
      if (blob?.size !== kept.end - kept.begin) return undefined;
      return new Uint8Array(await blob.slice(begin - kept.begin, end - kept.begin).arrayBuffer());
    } catch {
      return undefined; // removed while it was read
    }
  }

  // With the lock if that can be had: whether it was. While another tab, or another load in this one, has it, that
  // may bring byte `at`: undefined then, without the lock, and once for each extent.
  async #turn(
    at: number,
    end: number,
    brought: Set<string>,
    signal?: AbortSignal,
  ): Promise<boolean | undefined> {
    const isHere = (await this.#source.missing?.(at, end - at)) === 0;
    let count = 0;
    for (let since = performance.now(); ; ) {
      const isMine = await this.#lock();
      const extents = await this.#extents();
      const { kept } = stretch(extents, at, end);
      // One that is being written is there, but shorter.
      if (
        kept !== undefined &&
        !brought.has(nameOf(kept)) &&
        (await this.#read(kept, at, at)) !== undefined
      ) {
        brought.add(nameOf(kept));
        await this.#unlock();
        return undefined;
      }
      if (extents.length !== count) since = performance.now();
      count = extents.length;
      const isPatient = this.#isKeeping && !isHere && performance.now() - since < PATIENCE_MS;
      if (isMine || !isPatient) return isMine;
      await this.#unlock();
      await pause(POLL_MS, signal);
    }
  }

  // From the source, and kept as far as it comes; gives the turn back.
  async *#fetch(begin: number, end: number, isMine: boolean, signal?: AbortSignal) {
    const keeper = new Keeper(begin, end, (extent, bytes) => this.#write(extent, bytes));
    try {
      for await (const piece of this.#source.stream(begin, end - begin, signal)) {
        if (isMine && this.#isKeeping) await keeper.add(piece);
        yield piece;
      }
    } finally {
      await keeper.close();
      await this.#unlock();
    }
  }

  // False while another keeps the file.
  async #lock(): Promise<boolean> {
    ++this.#streams;
    if (!this.#isKeeping) return false;
    this.#held ??= tryLock(this.#about.folder);
    const held = this.#held;
    if ((await held) !== undefined) return true;
    if (this.#held === held) this.#held = undefined;
    return false;
  }
  async #unlock(): Promise<void> {
    if (--this.#streams === 0) await this.#release();
  }
  async #release(): Promise<void> {
    const held = this.#held;
    this.#held = undefined;
    (await held)?.();
  }

  async #write(extent: Extent, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (!this.#isKeeping) return;
    const { folder } = this.#about;
    try {
      // Not there yet, or cleared meanwhile.
      if ((await this.#store.read(folder, ABOUT)) === undefined) await writeAbout(this.#store, this.#about);
      await this.#store.write(folder, nameOf(extent), bytes);
    } catch (error) {
      const isFull = error instanceof Error && error.name === "QuotaExceededError";
      if (isFull && (await this.#makeRoom())) return this.#write(extent, bytes);
      this.#isKeeping = false;
      await this.#release(); // nobody need wait for this one
      const why = isFull ? "the browser gives no more room" : errorText(error);
      this.#notice(`${this.name}: not all of it is kept for the next time: ${why}`);
    }
  }

  // Forgets the file that has not been opened for longest, if that is long; false if there is none.
  async #makeRoom(): Promise<boolean> {
    try {
      const others = (await allKept(this.#store)).filter(({ folder }) => folder !== this.#about.folder);
      const [oldest] = others.sort((a, b) => lastUse(a) - lastUse(b));
      if (oldest === undefined || lastUse(oldest) > Date.now() - IN_USE_MS) return false;
      await this.#store.remove(oldest.folder);
      this.#notice(`${oldest.url} is no longer kept: ${this.name} needed the room`);
      return true;
    } catch {
      return false;
    }
  }
}

const lastUse = ({ used, since }: About): number => used ?? since;

const extentOf = (name: string): Extent | undefined => {
  const match = name.match(/^(\d+)-(\d+)$/);
  return match === null ? undefined : { begin: Number(match[1]), end: Number(match[2]) };
};
const nameOf = ({ begin, end }: Extent): string => `${begin}-${end}`;

// How far a read from byte `at` on comes in one go: in an extent, the one that reaches furthest, or up to one.
function stretch(extents: readonly Extent[], at: number, most: number): { kept?: Extent; end: number } {
  const [kept] = extents.filter(({ begin, end }) => begin <= at && at < end).sort((a, b) => b.end - a.end);
  if (kept !== undefined) return { kept, end: Math.min(kept.end, most) };
  const next = extents.find(({ begin }) => begin > at);
  return { end: Math.min(next?.begin ?? most, most) };
}

/** Collects what is streamed into pieces, and writes one while the next is collected. */
class Keeper {
  readonly #write: (extent: Extent, bytes: Uint8Array<ArrayBuffer>) => Promise<void>;
  readonly #end: number;
  #bytes = new Uint8Array();
  #begin: number;
  #filled = 0;
  #writing: Promise<void> = Promise.resolve();

  constructor(
    begin: number,
    end: number,
    write: (extent: Extent, bytes: Uint8Array<ArrayBuffer>) => Promise<void>,
  ) {
    this.#begin = begin;
    this.#end = end;
    this.#write = write;
  }

  async add(piece: Uint8Array): Promise<void> {
    for (let done = 0; done < piece.byteLength; ) {
      if (this.#filled === 0) this.#bytes = new Uint8Array(Math.min(PIECE_BYTES, this.#end - this.#begin));
      const some = piece.subarray(done, done + this.#bytes.byteLength - this.#filled);
      this.#bytes.set(some, this.#filled);
      this.#filled += some.byteLength;
      done += some.byteLength;
      if (this.#filled === this.#bytes.byteLength) await this.#flush();
    }
  }

  async close(): Promise<void> {
    if (this.#filled > 0) await this.#flush();
    await this.#writing;
  }

  async #flush(): Promise<void> {
    await this.#writing;
    const end = this.#begin + this.#filled;
    this.#writing = this.#write({ begin: this.#begin, end }, this.#bytes.subarray(0, this.#filled));
    this.#begin = end;
    this.#filled = 0;
  }
}

/** Undefined if somebody else has the lock. */
async function tryLock(name: string): Promise<(() => void) | undefined> {
  const locks = globalThis.navigator?.locks;
  if (locks === undefined) return () => {};
  return new Promise((resolve, reject) => {
    const held = locks.request(`executorch-webgpu ${name}`, { ifAvailable: true }, (lock) =>
      lock === null ? resolve(undefined) : new Promise<void>((release) => resolve(release)),
    );
    held.catch(reject);
  });
}

/** A server out of reach. */
class Unreachable implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly version: string;
  readonly #error: ConnectionError;
  constructor({ url, size, version }: About, error: ConnectionError) {
    this.name = url;
    this.size = size;
    this.version = version;
    this.#error = error;
  }
  // biome-ignore lint/correctness/useYield: there is nothing to give
  async *stream(offset: number, length: number): AsyncGenerator<Uint8Array> {
    throw new ModelError(
      `${this.#error.message}; the copy that was kept lacks bytes [${offset}, ${offset + length})`,
      { cause: this.#error },
    );
  }
}

// --- All files ---

export interface CachedFile {
  url: string;
  size: number;
  /** How much of it is kept. */
  keptBytes: number;
  since: Date;
}

/** What is kept. */
export async function cachedFiles(store?: CacheStore): Promise<CachedFile[]> {
  const from = store ?? (await browserStore());
  if (from === undefined) return [];
  return Promise.all(
    (await allKept(from)).map(async ({ url, size, since, folder }) => ({
      url,
      size,
      keptBytes: keptBytes(await from.files(folder)),
      since: new Date(since),
    })),
  );
}

function keptBytes(names: string[]): number {
  const extents = names.map(extentOf).filter((extent) => extent !== undefined);
  let sum = 0;
  let reached = 0;
  for (const { begin, end } of extents.sort((a, b) => a.begin - b.begin)) {
    sum += Math.max(0, end - Math.max(begin, reached));
    reached = Math.max(reached, end);
  }
  return sum;
}

/** Forgets one file, or all. */
export async function clearCache(url?: string, store?: CacheStore): Promise<void> {
  const from = store ?? (await browserStore());
  if (from === undefined) return;
  const prefix = url === undefined ? "" : `${await digest(absolute(url))}-`;
  for (const folder of await from.folders()) if (folder.startsWith(prefix)) await from.remove(folder);
}

/** An address as the cache knows it: without what is behind #. */
export function absolute(url: string | URL): string {
  let out: URL;
  try {
    out = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch {
    throw new ModelError(`'${url}' is no address of a file`);
  }
  out.hash = "";
  return out.href;
}
