/** A folder of recorded cases. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Recording, recording } from "./files.ts";

export function* recordings(folder: string): Generator<Recording> {
  const names = readdirSync(folder).filter((name) => /^cases-\d+\.json$/.test(name));
  if (names.length === 0)
    throw new Error(`${folder} has no cases: pytest tests/python/ops --record ${folder}`);
  for (const name of names.sort()) {
    const path = join(folder, name);
    const binary = new Uint8Array(readFileSync(path.replace(/json$/, "bin")));
    yield recording(path, readFileSync(path, "utf8"), binary.buffer);
  }
}
