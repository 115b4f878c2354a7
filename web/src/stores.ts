/** Where a browser keeps a page's files: OPFS, or Cache Storage where that is missing. */

/** Folders of files. Tests have one in memory. */
export interface CacheStore {
  folders(): Promise<string[]>;
  /** None if there is no such folder. */
  files(folder: string): Promise<string[]>;
  read(folder: string, file: string): Promise<Blob | undefined>;
  /** All of it or nothing; makes the folder. A QuotaExceededError where there is no room. */
  write(folder: string, file: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  remove(folder: string): Promise<void>;
}

const ROOM = "executorch-webgpu";
const PIECE = 1 << 17;

/** Undefined where there is none: in Node, or in a page that is not secure. */
export async function browserStore(): Promise<CacheStore | undefined> {
  return (await OpfsStore.open()) ?? (await PageCacheStore.open());
}

/** Of dedicated workers only, hence not among the types of a page. */
interface SyncAccessHandle {
  write(bytes: Uint8Array, options?: { at: number }): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}

type FileHandle = FileSystemFileHandle & { createSyncAccessHandle?: () => Promise<SyncAccessHandle> };

class OpfsStore implements CacheStore {
  readonly #root: FileSystemDirectoryHandle;
  private constructor(root: FileSystemDirectoryHandle) {
    this.#root = root;
  }

  static async open(): Promise<OpfsStore | undefined> {
    const handle = globalThis.FileSystemFileHandle?.prototype;
    // Safari had only the first, in workers, for long.
    if (handle === undefined || !("createSyncAccessHandle" in handle || "createWritable" in handle))
      return undefined;
    try {
      const top = await navigator.storage.getDirectory();
      return new OpfsStore(await top.getDirectoryHandle(ROOM, { create: true }));
    } catch {
      return undefined; // a private window, or a sandboxed frame
    }
  }

  folders(): Promise<string[]> {
    return namesIn(this.#root);
  }
  async files(folder: string): Promise<string[]> {
    const directory = await found(this.#root.getDirectoryHandle(folder));
    return directory === undefined ? [] : namesIn(directory);
  }
  async read(folder: string, file: string): Promise<Blob | undefined> {
    const directory = await found(this.#root.getDirectoryHandle(folder));
    const handle = directory && (await found(directory.getFileHandle(file)));
    return handle?.getFile();
  }
  async write(folder: string, file: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const directory = await this.#root.getDirectoryHandle(folder, { create: true });
    const handle: FileHandle = await directory.getFileHandle(file, { create: true });
    try {
      if (handle.createSyncAccessHandle !== undefined)
        writeInOrder(await handle.createSyncAccessHandle(), bytes);
      else await writeAtOnce(handle, bytes);
    } catch (error) {
      await directory.removeEntry(file).catch(() => {});
      throw error;
    }
  }
  async remove(folder: string): Promise<void> {
    await found(this.#root.removeEntry(folder, { recursive: true }));
  }
}

async function namesIn(directory: FileSystemDirectoryHandle): Promise<string[]> {
  const names: string[] = [];
  for await (const name of directory.keys()) names.push(name);
  return names;
}

// The last byte comes when the others are on the disk, so that a file of full size is complete.
function writeInOrder(file: SyncAccessHandle, bytes: Uint8Array): void {
  try {
    const last = bytes.byteLength - 1;
    file.truncate(0);
    put(file, bytes.subarray(0, last), 0);
    file.flush();
    put(file, bytes.subarray(last), last);
  } finally {
    file.close();
  }
}

function put(file: SyncAccessHandle, bytes: Uint8Array, at: number): void {
  if (file.write(bytes, { at }) !== bytes.byteLength)
    throw new DOMException("the disk took a part only", "QuotaExceededError");
}

// A writable's file changes when it is closed. Bytes come to it through a pipe, and in one piece they are more than
// that holds: Chromium then may tell that the pipe broke before it tells why, that the quota is used up.
async function writeAtOnce(handle: FileSystemFileHandle, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const writable = await handle.createWritable();
  try {
    for (let at = 0; at < bytes.byteLength; at += PIECE) await writable.write(bytes.subarray(at, at + PIECE));
    await writable.close();
  } catch (error) {
    await writable.abort().catch(() => {});
    throw error;
  }
}

// What there is not is undefined.
async function found<T>(wanted: Promise<T>): Promise<T | undefined> {
  try {
    return await wanted;
  } catch (error) {
    if (error instanceof DOMException && error.name === "NotFoundError") return undefined;
    throw error;
  }
}

class PageCacheStore implements CacheStore {
  readonly #cache: Cache;
  private constructor(cache: Cache) {
    this.#cache = cache;
  }

  static async open(): Promise<PageCacheStore | undefined> {
    try {
      return globalThis.caches && new PageCacheStore(await caches.open(ROOM));
    } catch {
      return undefined;
    }
  }

  // Nothing is ever fetched from these addresses.
  #address(folder: string, file: string): string {
    return `${globalThis.origin}/${ROOM}/${folder}/${file}`;
  }
  async #places(): Promise<[folder: string, file: string][]> {
    const requests = await this.#cache.keys();
    return requests.map(({ url }) => new URL(url).pathname.split("/").slice(-2) as [string, string]);
  }

  async folders(): Promise<string[]> {
    return [...new Set((await this.#places()).map(([folder]) => folder))];
  }
  async files(folder: string): Promise<string[]> {
    return (await this.#places()).filter(([other]) => other === folder).map(([, file]) => file);
  }
  async read(folder: string, file: string): Promise<Blob | undefined> {
    return (await this.#cache.match(this.#address(folder, file)))?.blob();
  }
  async write(folder: string, file: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#cache.put(this.#address(folder, file), new Response(bytes));
  }
  async remove(folder: string): Promise<void> {
    for (const file of await this.files(folder)) await this.#cache.delete(this.#address(folder, file));
  }
}
