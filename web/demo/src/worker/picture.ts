/** Pictures as a model's input: cut to its shape around the centre, scaled and normalized. */
import { ModelError } from "executorch-webgpu";
import type { Normalization, PictureForm } from "../protocol.ts";

// (value / 255 - mean) / deviation, by channel: red, green and blue.
const NORMALIZATIONS: Record<Normalization, { mean: number[]; deviation: number[] }> = {
  imagenet: { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] },
  unit: { mean: [0, 0, 0], deviation: [1, 1, 1] },
  signed: { mean: [0.5, 0.5, 0.5], deviation: [0.5, 0.5, 0.5] },
};
const GREY = [0.299, 0.587, 0.114];

/** Channel after channel, row after row. Closes the picture. */
export function pixels(
  picture: ImageBitmap,
  { channels, height, width }: PictureForm,
  normalization: Normalization,
): Float32Array {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (context === null) throw new ModelError("this browser cannot draw pictures in a worker");
  const scale = Math.max(width / picture.width, height / picture.height);
  const [drawnWidth, drawnHeight] = [picture.width * scale, picture.height * scale];
  context.fillStyle = "white"; // behind what is transparent
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (width - drawnWidth) / 2, (height - drawnHeight) / 2, drawnWidth, drawnHeight);
  picture.close();
  const { data } = context.getImageData(0, 0, width, height);

  const { mean, deviation } = NORMALIZATIONS[normalization];
  const plane = width * height;
  const out = new Float32Array(channels * plane);
  for (let i = 0; i < plane; ++i)
    for (let c = 0; c < 3; ++c) {
      const value = (data[4 * i + c] / 255 - mean[c]) / deviation[c];
      if (channels === 3) out[c * plane + i] = value;
      else out[i] += GREY[c] * value;
    }
  return out;
}
