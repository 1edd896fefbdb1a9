// A picture under its heat, pixel by pixel: dimmed where it is not looked at, glowing where it is.

const TARGET = 256; // pixels of the composed picture, at least
export const GRAY = 0.5; // how far colors fade where nothing is attended
export const DIM = 0.7; // and how bright they stay

// From the picture's own colors, faded, over ember and amber to pale yellow: lightness rises.
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

/** How many composed pixels each pixel of a picture of `size` gets, each way. */
export function scaleFor(size) {
  return Math.max(1, Math.ceil(TARGET / size));
}

/** Bilinear weights between cell centers, for each of `length` pixels: [lower, upper, t]. */
function places(side, length) {
  return Array.from({ length }, (_, i) => {
    const position = Math.min(Math.max(((i + 0.5) * side) / length - 0.5, 0), side - 1);
    const lower = Math.min(Math.floor(position), Math.max(side - 2, 0));
    return [lower, Math.min(lower + 1, side - 1), position - lower];
  });
}

/** A side x side grid of values at cell centers -> length x length, as overlay.py does it. */
export function upsampled(grid, side, length) {
  const along = places(side, length);
  const result = new Float32Array(length * length);
  for (let y = 0; y < length; y++) {
    const [top, bottom, ty] = along[y];
    for (let x = 0; x < length; x++) {
      const [left, right, tx] = along[x];
      const above = grid[top * side + left] * (1 - tx) + grid[top * side + right] * tx;
      const below = grid[bottom * side + left] * (1 - tx) + grid[bottom * side + right] * tx;
      result[y * length + x] = above * (1 - ty) + below * ty;
    }
  }
  return result;
}

/**
 * Put the composed picture on a canvas, which takes its size.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Uint8Array} picture RGB bytes, size x size x 3
 * @param {number} size
 * @param {{values: Float32Array, side: number} | null} heat brightness of each key; null: no point
 */
export function compose(canvas, picture, size, heat) {
  const scale = scaleFor(size);
  const length = size * scale;
  if (canvas.width !== length) canvas.width = canvas.height = length;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const image = context.createImageData(length, length);
  const levels = heat && upsampled(heat.values, heat.side, length);
  const out = image.data;
  for (let y = 0, to = 0; y < length; y++) {
    const line = Math.floor(y / scale) * size;
    for (let x = 0; x < length; x++, to += 4) {
      const from = 3 * (line + Math.floor(x / scale));
      let [r, g, b] = [picture[from], picture[from + 1], picture[from + 2]];
      if (levels) {
        const level = levels[y * length + x];
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
  context.putImageData(image, 0, 0);
}

/** Put a picture of RGB bytes on a canvas, pixel for pixel. */
export function paint(canvas, picture, size) {
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  const image = context.createImageData(size, size);
  for (let i = 0; i < size * size; i++) {
    image.data.set(picture.subarray(3 * i, 3 * i + 3), 4 * i);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** |a - b| of two pictures, and the power of two that it was multiplied by to be seen. */
export function difference(a, b) {
  const absolute = a.map((value, i) => Math.abs(value - b[i]));
  const largest = absolute.reduce((most, value) => Math.max(most, value), 0);
  let gain = 1;
  while (gain < 32 && 2 * gain * largest <= 255) gain *= 2;
  return { picture: absolute.map((value) => value * gain), gain };
}
