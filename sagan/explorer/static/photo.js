// A visitor's own picture in the size and the proportions of the training images: the crop, the padding
// and the antialiased Lanczos of sagan.images.decode, with Pillow's fixed-point rounding. Loaded by the
// worker, since a large photo takes a second.

import { asGray, hiddenAsWhite, premultiplied, unmultiplied } from "./colors.js";

const LOBES = 3; // of the Lanczos kernel, on each side
const PRECISION = 22; // bits of its weights
const MAX_PIXELS = 50e6; // a phone camera's full resolution

/**
 * An image file's pixels as the training images have them: bytes, row by row.
 *
 * @param {Blob} file
 * @param {{width: number, height: number}} size
 * @param {"crop" | "pad" | "stretch"} fit how it gets these proportions
 * @param {number} channels 1, 3 or 4 of each pixel
 */
export async function fittedPhoto(file, size, fit, channels) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error("not a readable image: this browser does not know its format, or it is damaged");
  });
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) throw new Error(`not a readable image: more than ${MAX_PIXELS / 1e6} million pixels`);
  const context = new OffscreenCanvas(width, height).getContext("2d");
  if (channels !== 4) {
    context.fillStyle = "white"; // under what is transparent
    context.fillRect(0, 0, width, height);
  }
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  // `pixel` is the number of bytes of each, of which the first `channels` count.
  const own = channels === 1 ? { data: asGray(data), pixel: 1 } : { data, pixel: 4 };
  const fitted = FITS[fit]({ ...own, channels, width, height }, size);
  return channels === 4 ? hiddenAsWhite(fitted) : fitted;
}

const FITS = {
  /** The largest centered part with the proportions. */
  crop(image, size) {
    const width = Math.min(image.width, atLeast1((image.height * size.width) / size.height));
    const height = Math.min(image.height, atLeast1((image.width * size.height) / size.width));
    const box = { left: (image.width - width) >> 1, top: (image.height - height) >> 1, width, height };
    return resized(image, box, size);
  },

  /** Everything, centered on white; what is white is not seen if the picture can be transparent. */
  pad(image, size) {
    let { width, height } = size;
    if (image.width * height > image.height * width) height = atLeast1((image.height * width) / image.width);
    else width = atLeast1((image.width * height) / image.height);
    const { channels } = image;
    const inner = resized(image, wholeOf(image), { width, height });
    const [left, top] = [(size.width - width) >> 1, (size.height - height) >> 1];
    const canvas = new Uint8Array(channels * size.width * size.height).fill(channels === 4 ? 0 : 255);
    for (let y = 0; y < height; y++) {
      const row = inner.subarray(channels * y * width, channels * (y + 1) * width);
      canvas.set(row, channels * ((top + y) * size.width + left));
    }
    return canvas;
  },

  /** Everything, in other proportions. */
  stretch(image, size) {
    return resized(image, wholeOf(image), size);
  },
};

const wholeOf = ({ width, height }) => ({ left: 0, top: 0, width, height });
const atLeast1 = (value) => Math.max(1, halfEven(value));

/** Rounded as Python rounds. */
function halfEven(value) {
  const whole = Math.round(value);
  return whole - value === 0.5 && whole % 2 ? whole - 1 : whole;
}

/** A box of an image, resized, with the image's channels, in the order of Pillow 13. */
function resized(image, box, { width, height }) {
  const { data, pixel, channels } = image;
  const transparent = channels === 4 && (box.width !== width || box.height !== height);
  const source = {
    data: transparent ? premultiplied(data) : data,
    start: pixel * (box.top * image.width + box.left),
    pixel,
    row: pixel * image.width,
    channels,
  };
  const [across, down] = [taps(box.width, width), taps(box.height, height)];
  const columnsFirst = box.height > height && box.height - height > 2 * (box.width - width);
  const result = columnsFirst
    ? alongRows(alongColumns(source, box.width, down), height, across)
    : alongColumns(alongRows(source, box.height, across), width, down);
  return transparent ? unmultiplied(result.data) : result.data;
}

/** `height` rows of a source, made as wide as there are taps. */
function alongRows({ data, start, pixel, row, channels }, height, across) {
  const result = new Uint8Array(channels * across.length * height);
  for (let y = 0, to = 0; y < height; y++) {
    for (const { first, weights } of across) {
      const from = start + y * row + first * pixel;
      for (let channel = 0; channel < channels; channel++) result[to++] = weighted(data, from + channel, pixel, weights);
    }
  }
  return { data: result, start: 0, pixel: channels, row: channels * across.length, channels };
}

/** `width` columns of a source, made as high as there are taps. */
function alongColumns({ data, start, pixel, row, channels }, width, down) {
  const result = new Uint8Array(channels * width * down.length);
  let to = 0;
  for (const { first, weights } of down) {
    for (let x = 0; x < width; x++) {
      const from = start + first * row + x * pixel;
      for (let channel = 0; channel < channels; channel++) result[to++] = weighted(data, from + channel, row, weights);
    }
  }
  return { data: result, start: 0, pixel: channels, row: channels * width, channels };
}

function weighted(values, start, step, weights) {
  let sum = 2 ** (PRECISION - 1);
  for (let i = 0; i < weights.length; i++) sum += values[start + i * step] * weights[i];
  return Math.min(Math.max(Math.floor(sum / 2 ** PRECISION), 0), 255);
}

/** For each of `to` pixels: the first of `from` pixels that it is made of, and their weights. */
function taps(from, to) {
  if (from === to) return Array.from({ length: to }, (_, first) => ({ first, weights: [2 ** PRECISION] }));
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const middle = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(middle - LOBES * stretch + 0.5), 0);
    const end = Math.min(Math.trunc(middle + LOBES * stretch + 0.5), from);
    const raw = Array.from({ length: end - first }, (_, k) => lanczos((first + k - middle + 0.5) / stretch));
    const total = raw.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: raw.map((weight) => Math.trunc((weight / total) * 2 ** PRECISION + Math.sign(weight) / 2)) };
  });
}

function lanczos(x) {
  const sinc = (value) => (value === 0 ? 1 : Math.sin(Math.PI * value) / (Math.PI * value));
  return Math.abs(x) < LOBES ? sinc(x) * sinc(x / LOBES) : 0;
}
