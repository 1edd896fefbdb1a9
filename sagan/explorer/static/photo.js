// A visitor's own picture, made square and small as the training images were: the crop, the padding
// and the antialiased Lanczos of sagan.images.decode, with Pillow's fixed-point rounding. Loaded by the
// worker, since a large photo takes a second.

const LOBES = 3; // of the Lanczos kernel, on each side
const PRECISION = 22; // bits of its weights
const MAX_PIXELS = 50e6; // a phone camera's full resolution

/** An image file's pixels, made square: Uint8Array (size, size, 3). */
export async function squarePhoto(file, size, fit) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error("not a readable image: this browser does not know its format, or it is damaged");
  });
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) throw new Error(`not a readable image: more than ${MAX_PIXELS / 1e6} million pixels`);
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.fillStyle = "white"; // under what is transparent
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  return FITS[fit]({ data, width, height }, size);
}

const FITS = {
  /** The largest centered square. */
  crop(image, size) {
    const side = Math.min(image.width, image.height);
    const box = { left: (image.width - side) >> 1, top: (image.height - side) >> 1, width: side, height: side };
    return resized(image, box, size, size);
  },

  /** Everything, centered on white. */
  pad(image, size) {
    const longest = Math.max(image.width, image.height);
    const [width, height] = [image.width, image.height].map((side) => Math.max(1, halfEven((side * size) / longest)));
    const inner = resized(image, { left: 0, top: 0, width: image.width, height: image.height }, width, height);
    const [left, top] = [(size - width) >> 1, (size - height) >> 1];
    const canvas = new Uint8Array(3 * size * size).fill(255);
    for (let y = 0; y < height; y++) {
      canvas.set(inner.subarray(3 * y * width, 3 * (y + 1) * width), 3 * ((top + y) * size + left));
    }
    return canvas;
  },

  /** Everything, in other proportions. */
  stretch(image, size) {
    return resized(image, { left: 0, top: 0, width: image.width, height: image.height }, size, size);
  },
};

/** Rounded as Python rounds. */
function halfEven(value) {
  const whole = Math.round(value);
  return whole - value === 0.5 && whole % 2 ? whole - 1 : whole;
}

/** A box of an RGBA image -> RGB (height, width, 3), in the order of Pillow 13. */
function resized({ data, width: stride }, box, width, height) {
  const source = { data, start: 4 * (box.top * stride + box.left), pixel: 4, row: 4 * stride };
  const [across, down] = [taps(box.width, width), taps(box.height, height)];
  const columnsFirst = box.height > height && box.height - height > 2 * (box.width - width);
  const result = columnsFirst
    ? alongRows(alongColumns(source, box.width, down), height, across)
    : alongColumns(alongRows(source, box.height, across), width, down);
  return result.data;
}

/** `height` rows of a source, made as wide as there are taps. */
function alongRows({ data, start, pixel, row }, height, across) {
  const result = new Uint8Array(3 * across.length * height);
  for (let y = 0, to = 0; y < height; y++) {
    for (const { first, weights } of across) {
      const from = start + y * row + first * pixel;
      for (let channel = 0; channel < 3; channel++) result[to++] = weighted(data, from + channel, pixel, weights);
    }
  }
  return { data: result, start: 0, pixel: 3, row: 3 * across.length };
}

/** `width` columns of a source, made as high as there are taps. */
function alongColumns({ data, start, pixel, row }, width, down) {
  const result = new Uint8Array(3 * width * down.length);
  let to = 0;
  for (const { first, weights } of down) {
    for (let x = 0; x < width; x++) {
      const from = start + first * row + x * pixel;
      for (let channel = 0; channel < 3; channel++) result[to++] = weighted(data, from + channel, row, weights);
    }
  }
  return { data: result, start: 0, pixel: 3, row: 3 * width };
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
