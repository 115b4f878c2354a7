/** What cannot be done, in one sentence that says what, where and which value. */
export class ModelError extends Error {
  override readonly name: string = "ModelError";
}

/** The GPU device is gone; what was on it has to be made again. */
export class DeviceLostError extends ModelError {
  override readonly name = "DeviceLostError";
}

/** Of anything that was thrown. */
export const errorText = (error: unknown): string => (error instanceof Error ? error.message : String(error));
