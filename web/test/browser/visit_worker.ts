/** Visits in a worker. */
import { type Visit, visit } from "./visit.ts";

self.onmessage = async ({ data }: MessageEvent<Visit>) => {
  try {
    self.postMessage({ seen: await visit(data) });
  } catch (error) {
    self.postMessage({ error: String(error) });
  }
};
