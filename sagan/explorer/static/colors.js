// Gray, RGB and RGBA bytes, as sagan.images.rgb and Pillow convert them. Loaded by the worker.

/** Bytes with so many channels as RGB: gray is repeated, transparent pixels are laid over white. */
export function asRgb(bytes, channels) {
  if (channels === 3) return bytes;
  const result = new Uint8Array((3 * bytes.length) / channels);
  for (let from = 0, to = 0; from < bytes.length; from += channels) {
    for (let channel = 0; channel < 3; channel++) {
      if (channels === 1) result[to++] = bytes[from];
      else {
        const opacity = bytes[from + 3];
        result[to++] = Math.floor((bytes[from + channel] * opacity + 255 * (255 - opacity) + 127) / 255);
      }
    }
  }
  return result;
}

/** RGBA bytes as luma, one channel. */
export function asGray(bytes) {
  const result = new Uint8Array(bytes.length / 4);
  for (let i = 0; i < result.length; i++) {
    const [r, g, b] = [bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2]];
    result[i] = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;
  }
  return result;
}

/** RGBA bytes with each color replaced by `convert(color, opacity)`. */
function withColors(bytes, convert) {
  const result = new Uint8Array(bytes);
  for (let i = 0; i < bytes.length; i += 4) {
    for (let channel = 0; channel < 3; channel++) result[i + channel] = convert(bytes[i + channel], bytes[i + 3]);
  }
  return result;
}

/** RGBA bytes, colors multiplied by opacity: only so can pixels be averaged. */
export const premultiplied = (bytes) => withColors(bytes, (color, opacity) => {
  const product = color * opacity + 128;
  return ((product >> 8) + product) >> 8;
});

/** The inverse; what cannot be seen is black. */
export const unmultiplied = (bytes) => withColors(bytes, (color, opacity) => {
  return opacity ? Math.min(Math.floor((255 * color) / opacity), 255) : 0;
});

/** RGBA bytes; what cannot be seen is white. */
export const hiddenAsWhite = (bytes) => withColors(bytes, (color, opacity) => (opacity ? color : 255));
