/** What cannot be done, in one sentence that says what, where and which value. */
export class ModelError extends Error {
  override readonly name: string = "ModelError";
}

/** The GPU device is gone; what was on it has to be made again. */
export class DeviceLostError extends ModelError {
  override readonly name = "DeviceLostError";
}

/** The GPU has no room for something; less may fit. */
export class OutOfMemoryError extends ModelError {
  override readonly name = "OutOfMemoryError";
}

/** A server that cannot be reached, or not now: another attempt may work. */
export class ConnectionError extends ModelError {
  override readonly name = "ConnectionError";
}

/** Stopped by the caller's signal, whose reason is the cause. */
export class StoppedError extends ModelError {
  override readonly name = "AbortError";
}

/** Of anything that was thrown. */
export const errorText = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Runs `work`; what it throws after the signal fired is that it was stopped. */
export async function stoppable<T>(
  what: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  try {
    signal?.throwIfAborted();
    return await work();
  } catch (error) {
    if (!signal?.aborted) throw error;
    throw new StoppedError(`${what} was stopped: ${errorText(signal.reason)}`, { cause: signal.reason });
  }
}
