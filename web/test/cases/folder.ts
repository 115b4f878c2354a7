/** A folder of recorded cases. */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Recording, recording } from "./files.ts";

/** Of delegates, of programs of one kernel, and of others. */
export type Kind = "cases" | "kernels" | "programs";

/** Paths of its indices. */
export function indices(folder: string, kind: Kind = "cases"): string[] {
  const names = readdirSync(folder).filter((name) => RegExp(`^${kind}-\\d+\\.json$`).test(name));
  if (names.length === 0)
    throw new Error(
      `${folder} has no ${kind}: pytest tests/python/${kind === "cases" ? "ops" : "web"} --record ${folder}`,
    );
  return names.sort().map((name) => resolve(join(folder, name)));
}

export function* recordings(folder: string, kind?: Kind): Generator<Recording> {
  for (const path of indices(folder, kind)) {
    const binary = new Uint8Array(readFileSync(path.replace(/json$/, "bin")));
    yield recording(path, readFileSync(path, "utf8"), binary.buffer);
  }
}
