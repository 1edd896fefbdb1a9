// What one row of attention says. The same definitions as sagan.explain, which a test compares.

const LEAST_PEAK = 4; // a row whose peak is below this many times uniform is not stretched
const NEARLY_UNIFORM = 0.4; // where half of the attention needs more of the keys, there is no region
const MASS = 0.5; // of a row's attention, which its region holds
const MASS_TOLERANCE = 1e-6;

/** Brightness of each key in [0, 1]: how many times uniform attention it gets, on a log scale. */
export function heat(row) {
  const ratios = row.map((weight) => Math.max(weight * row.length, 1));
  const peak = Math.log(Math.max(...ratios, LEAST_PEAK));
  return ratios.map((ratio) => Math.min(Math.log(ratio) / peak, 1));
}

/** Keys from the most attended down, Uint32Array. */
export function ranked(row) {
  return Uint32Array.from(row.keys()).sort((a, b) => row[b] - row[a] || a - b);
}

/** The smallest set of keys that holds half of the attention, Uint8Array of 0 and 1. */
export function region(row, ranking = ranked(row)) {
  const inside = new Uint8Array(row.length);
  const enough = MASS * row.reduce((sum, weight) => sum + weight, 0) - MASS_TOLERANCE;
  let held = 0;
  for (const key of ranking) {
    inside[key] = 1;
    held += row[key];
    if (held >= enough) break;
  }
  return inside;
}

/** The share of keys in a region, in (0, 1]. */
export function share(inside) {
  return inside.reduce((sum, bit) => sum + bit, 0) / inside.length;
}

/** Whether there is anything to show: half of the attention in less than 40 % of the keys. */
export function isSelective(inside) {
  return share(inside) <= NEARLY_UNIFORM;
}

/** Center of cell `index` on a side x side grid, [x, y] in [0, 1]. */
export function center(index, side) {
  return [((index % side) + 0.5) / side, (Math.floor(index / side) + 0.5) / side];
}

/** The cell of a side x side grid that covers pixel [x, y] of a picture of `size` pixels. */
export function cellOf([x, y], size, side) {
  return Math.floor((y * side) / size) * side + Math.floor((x * side) / size);
}

/** Expected distance from a query to what it attends to, in pixels of the picture. */
export function distance(map, query, row, size) {
  const [x, y] = center(query, map.side);
  let sum = 0;
  row.forEach((weight, key) => {
    const [kx, ky] = center(key, map.keySide);
    sum += weight * Math.hypot(kx - x, ky - y);
  });
  return (size * sum) / row.reduce((total, weight) => total + weight, 0);
}

/** Border of a region as unit segments [[x0, y0, x1, y1], ...] in cells. */
export function outline(inside, side) {
  const segments = [];
  const at = (x, y) => x >= 0 && y >= 0 && x < side && y < side && inside[y * side + x];
  for (let y = 0; y <= side; y++) {
    for (let x = 0; x <= side; x++) {
      if (x < side && Boolean(at(x, y)) !== Boolean(at(x, y - 1))) segments.push([x, y, x + 1, y]);
      if (y < side && Boolean(at(x, y)) !== Boolean(at(x - 1, y))) segments.push([x, y, x, y + 1]);
    }
  }
  return segments;
}

/**
 * The share of attention that goes beyond the 3 x 3 cells around a query, which one convolution sees.
 * A key whose cell lies partly within counts as seen, so that the result is never too large.
 */
export function beyondKernel(map, query, row) {
  const [x, y] = center(query, map.side);
  const reach = 1.5 / map.side + 0.5 / map.keySide - 1e-9;
  let [beyond, all] = [0, 0];
  row.forEach((weight, key) => {
    const [kx, ky] = center(key, map.keySide);
    if (Math.max(Math.abs(kx - x), Math.abs(ky - y)) > reach) beyond += weight;
    all += weight;
  });
  return beyond / all;
}

/** 0.0312 -> "3.1 %", 0.31 -> "31 %", 0.0004 -> "<0.1 %". */
export function percent(value) {
  if (value < 0.001) return "<0.1 %";
  return `${(100 * value).toFixed(value < 0.0995 ? 1 : 0)} %`;
}
