/** A cache in memory. */
import type { CacheStore } from "../src/stores.ts";

export class MemoryStore implements CacheStore {
  readonly contents = new Map<string, Map<string, Blob>>();
  /** Bytes that it takes. */
  room = Number.POSITIVE_INFINITY;
  writes = 0;

  get bytes(): number {
    const blobs = [...this.contents.values()].flatMap((files) => [...files.values()]);
    return blobs.reduce((sum, { size }) => sum + size, 0);
  }

  async folders(): Promise<string[]> {
    return [...this.contents.keys()];
  }
  async files(folder: string): Promise<string[]> {
    return [...(this.contents.get(folder)?.keys() ?? [])];
  }
  async read(folder: string, file: string): Promise<Blob | undefined> {
    return this.contents.get(folder)?.get(file);
  }
  async write(folder: string, file: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (this.bytes + bytes.byteLength > this.room)
      throw new DOMException("the store is full", "QuotaExceededError");
    const files = this.contents.get(folder) ?? new Map<string, Blob>();
    this.contents.set(folder, files.set(file, new Blob([bytes])));
    ++this.writes;
  }
  async remove(folder: string): Promise<void> {
    this.contents.delete(folder);
  }
}
