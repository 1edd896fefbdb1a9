// Measures of one row of attention. The same definitions as in sagan.explain, compared by a test.

import { center } from "sagan/grid.js";

const MIN_PEAK = 4; // a row that peaks below this many times uniform is not stretched to full brightness
const NEARLY_UNIFORM = 0.4; // if half of the attention takes more of the keys, no region is shown
const MASS = 0.5; // the part of a row's attention that its region gets
const MASS_TOLERANCE = 1e-6;

/** Brightness of each key in [0, 1]: how many times uniform attention it gets, on a log scale. */
export function heat(row) {
  const ratios = row.map((weight) => Math.max(weight * row.length, 1));
  const peak = Math.log(Math.max(...ratios, MIN_PEAK));
  return ratios.map((ratio) => Math.min(Math.log(ratio) / peak, 1));
}

/** Keys from the most to the least attended, Uint32Array. */
export function ranked(row) {
  return Uint32Array.from(row.keys()).sort((a, b) => row[b] - row[a] || a - b);
}

/** The smallest set of keys that gets half of the attention, Uint8Array of 0 and 1. */
export function region(row, ranking = ranked(row)) {
  const inside = new Uint8Array(row.length);
  const enough = MASS * row.reduce((total, weight) => total + weight, 0) - MASS_TOLERANCE;
  let sum = 0;
  for (const key of ranking) {
    inside[key] = 1;
    sum += row[key];
    if (sum >= enough) break;
  }
  return inside;
}

/** The share of keys in a region, in (0, 1]. */
export function share(inside) {
  return inside.reduce((sum, bit) => sum + bit, 0) / inside.length;
}

/** Whether there is a region to show: at most 40% of the keys get half of the attention. */
export function isSelective(inside) {
  return share(inside) <= NEARLY_UNIFORM;
}

/** Expected distance from a query to what it attends to, in image pixels. */
export function distance(map, query, row, size) {
  const [x, y] = center(query, map.queries);
  let sum = 0;
  row.forEach((weight, key) => {
    const [kx, ky] = center(key, map.keys);
    sum += weight * Math.hypot(size.width * (kx - x), size.height * (ky - y));
  });
  return sum / row.reduce((total, weight) => total + weight, 0);
}

/** Border of a region as unit segments [[x0, y0, x1, y1], ...] in cells. */
export function outline(inside, { width, height }) {
  const segments = [];
  const at = (x, y) => x >= 0 && y >= 0 && x < width && y < height && inside[y * width + x];
  for (let y = 0; y <= height; y++) {
    for (let x = 0; x <= width; x++) {
      if (x < width && Boolean(at(x, y)) !== Boolean(at(x, y - 1))) segments.push([x, y, x + 1, y]);
      if (y < height && Boolean(at(x, y)) !== Boolean(at(x - 1, y))) segments.push([x, y, x, y + 1]);
    }
  }
  return segments;
}

/**
 * The share of attention beyond the 3 x 3 cells around a query, which a single convolution sees.
 * A key whose cell is partly inside counts as seen, so the result is never too large.
 */
export function beyondKernel(map, query, row) {
  const [x, y] = center(query, map.queries);
  const [across, down] = ["width", "height"].map((axis) => 1.5 / map.queries[axis] + 0.5 / map.keys[axis] - 1e-9);
  let [beyond, all] = [0, 0];
  row.forEach((weight, key) => {
    const [kx, ky] = center(key, map.keys);
    if (Math.abs(kx - x) > across || Math.abs(ky - y) > down) beyond += weight;
    all += weight;
  });
  return beyond / all;
}

/** 0.0312 -> "3.1%", 0.31 -> "31%", 0.0004 -> "<0.1%". */
export function percent(value) {
  if (value < 0.001) return "<0.1%";
  return `${(100 * value).toFixed(value < 0.0995 ? 1 : 0)}%`;
}
