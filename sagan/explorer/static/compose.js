// The composite of an image and its heat: dimmed where attention is low, glowing where it is high.

import { countOf, scaled } from "sagan/grid.js";

const MIN_LENGTH = 256; // longer side of the composite in pixels
export const GRAY = 0.5; // how far colors fade to gray where attention is low
export const DIM = 0.7; // and how bright they stay there

// [heat, r, g, b, alpha]: from the image's own faded colors through ember and amber to pale yellow,
// so that lightness rises with heat.
const GLOW = [
  [0.0, 58, 14, 22, 0.0],
  [0.3, 150, 34, 28, 0.5],
  [0.6, 232, 96, 22, 0.66],
  [0.85, 252, 176, 50, 0.7],
  [1.0, 255, 232, 150, 0.74],
];

/** Color and opacity of the glow at each of 256 levels of heat: [r, g, b, alpha] * 256. */
export const GLOW_TABLE = (() => {
  const table = new Float32Array(4 * 256);
  for (let level = 0; level < 256; level++) {
    const value = level / 255;
    const upper = Math.max(1, GLOW.findIndex(([stop]) => stop >= value));
    const [low, high] = [GLOW[upper - 1], GLOW[upper]];
    const t = (value - low[0]) / (high[0] - low[0]);
    for (let c = 0; c < 4; c++) table[4 * level + c] = low[c + 1] + t * (high[c + 1] - low[c + 1]);
  }
  return table;
})();

/** How many pixels of the composite each pixel of an image of `size` takes, in each direction. */
export function scaleFor({ width, height }) {
  return Math.max(1, Math.ceil(MIN_LENGTH / Math.max(width, height)));
}

/** Bilinear weights between the centers of `cells`, for each of `length` pixels: [lower, upper, t]. */
function interpolationWeights(cells, length) {
  return Array.from({ length }, (_, i) => {
    const position = Math.min(Math.max(((i + 0.5) * cells) / length - 0.5, 0), cells - 1);
    const lower = Math.min(Math.floor(position), Math.max(cells - 2, 0));
    return [lower, Math.min(lower + 1, cells - 1), position - lower];
  });
}

/** Values at the centers of a grid's cells -> values at all pixels of `size`, as in overlay.py. */
export function upsampled(values, grid, size) {
  const down = interpolationWeights(grid.height, size.height);
  const across = interpolationWeights(grid.width, size.width);
  const result = new Float32Array(countOf(size));
  for (let y = 0, to = 0; y < size.height; y++) {
    const [top, bottom, ty] = down[y];
    for (let x = 0; x < size.width; x++, to++) {
      const [left, right, tx] = across[x];
      const above = values[top * grid.width + left] * (1 - tx) + values[top * grid.width + right] * tx;
      const below = values[bottom * grid.width + left] * (1 - tx) + values[bottom * grid.width + right] * tx;
      result[to] = above * (1 - ty) + below * ty;
    }
  }
  return result;
}

/** Make a canvas as large as this, and clear it. */
export function resize(canvas, { width, height }) {
  Object.assign(canvas, { width, height });
}

/**
 * Draw the composite on a canvas, which is resized to it.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Uint8Array} image RGB bytes, row by row
 * @param {{width: number, height: number}} size of the image in pixels
 * @param {{values: Float32Array, keys: Grid} | null} heat brightness of each key; null without a point
 */
export function compose(canvas, image, size, heat) {
  const scale = scaleFor(size);
  const { width, height } = scaled(size, scale);
  if (canvas.width !== width || canvas.height !== height) resize(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const composite = context.createImageData(width, height);
  const levels = heat && upsampled(heat.values, heat.keys, { width, height });
  const out = composite.data;
  for (let y = 0, to = 0; y < height; y++) {
    const rowStart = Math.floor(y / scale) * size.width;
    for (let x = 0; x < width; x++, to += 4) {
      const from = 3 * (rowStart + Math.floor(x / scale));
      let [r, g, b] = [image[from], image[from + 1], image[from + 2]];
      if (levels) {
        const level = levels[to / 4];
        const gray = 0.299 * r + 0.587 * g + 0.114 * b;
        const fade = GRAY * (1 - level);
        const dim = DIM + (1 - DIM) * level;
        const row = 4 * Math.round(255 * level);
        const alpha = GLOW_TABLE[row + 3];
        const mix = (c, glow) => dim * (c + fade * (gray - c)) * (1 - alpha) + alpha * glow;
        r = mix(r, GLOW_TABLE[row]);
        g = mix(g, GLOW_TABLE[row + 1]);
        b = mix(b, GLOW_TABLE[row + 2]);
      }
      out[to] = r;
      out[to + 1] = g;
      out[to + 2] = b;
      out[to + 3] = 255;
    }
  }
  context.putImageData(composite, 0, 0);
}

/** Draw an image of RGB bytes on a canvas, pixel for pixel. */
export function paint(canvas, image, size) {
  resize(canvas, size);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(size.width, size.height);
  for (let i = 0; i < countOf(size); i++) {
    pixels.data.set(image.subarray(3 * i, 3 * i + 3), 4 * i);
    pixels.data[4 * i + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}

/** |a - b| of two images, multiplied by a power of two, the gain, to make it visible. */
export function difference(a, b) {
  const absolute = a.map((value, i) => Math.abs(value - b[i]));
  const largest = absolute.reduce((most, value) => Math.max(most, value), 0);
  let gain = 1;
  while (gain < 32 && 2 * gain * largest <= 255) gain *= 2;
  return { image: absolute.map((value) => value * gain), gain };
}
