// Which query points of an image are worth a look: sagan.explain.interesting_queries, with its
// definitions and names. A test compares the two. Loaded by the worker, where import maps do not apply.

import { cellOf, center, clamped, countOf } from "./grid.js";

const NOISE_FLOOR = 0.02; // so that differences that are only noise do not choose the dots
const AMPLE_SPACING = 1 / 3; // of the image's shorter side: dots gain nothing by being farther apart
const TINY = 1e-12;

/**
 * Choose query points where attention is long-range, specific to the pixel, and on content.
 *
 * @param {{weights: Float32Array, queries: Grid, keys: Grid}} map
 * @param {Uint8Array} image RGB bytes, row by row
 * @param {{width: number, height: number}} size of the image in pixels
 * @param {number} num how many
 * @returns {number[]} indices of queries, the most interesting first
 */
export function interestingQueries(map, image, size, num) {
  const contrast = localContrast(image, size, map.queries);
  const most = Math.max(...contrast);
  const [far, own] = [farness(map, size), particularity(map)];
  const score = contrast.map((value, query) => {
    return Math.cbrt(far[query] * own[query] * Math.min(most > 0 ? value / most : 1, 0.5));
  });
  return spreadOut(score, map, size, num);
}

const rowOf = ({ weights, keys }, query) => weights.subarray(query * countOf(keys), (query + 1) * countOf(keys));

/** Centers of the cells of a grid over the image, [x, y] each, where its shorter side is 1. */
function cellCenters(grid, { width, height }) {
  const side = Math.min(width, height);
  return Array.from({ length: countOf(grid) }, (_, index) => {
    const [x, y] = center(index, grid);
    return [(x * width) / side, (y * height) / side];
  });
}

/** Expected distance of each query's attention over that of uniform attention. */
function farness(map, size) {
  const keys = cellCenters(map.keys, size);
  return Float64Array.from(cellCenters(map.queries, size), ([x, y], query) => {
    const row = rowOf(map, query);
    let [expected, total, uniform] = [0, 0, 0];
    keys.forEach(([kx, ky], key) => {
      const distance = Math.hypot(kx - x, ky - y);
      expected += row[key] * distance;
      total += row[key];
      uniform += distance / keys.length;
    });
    return expected / total / Math.max(uniform, TINY);
  });
}

/** How much each query's attention differs from the average over all queries, in (0, 1]. */
function particularity(map) {
  const [queries, keys] = [countOf(map.queries), countOf(map.keys)];
  const average = new Float64Array(keys);
  for (let query = 0; query < queries; query++) {
    rowOf(map, query).forEach((weight, key) => (average[key] += weight / queries));
  }
  return Float64Array.from({ length: queries }, (_, query) => {
    let divergence = 0;
    rowOf(map, query).forEach((weight, key) => {
      if (weight > 0) divergence += weight * Math.log(weight / average[key]);
    });
    divergence = Math.max(divergence / Math.max(Math.log(queries), TINY), 0);
    return (divergence + NOISE_FLOOR) / (1 + NOISE_FLOOR);
  });
}

/** Root of the mean squared color gradient in each query's cell. */
function localContrast(image, size, queries) {
  const at = (x, y, channel) => {
    const [column, row] = clamped([x, y], size);
    return image[3 * (row * size.width + column) + channel];
  };
  const energy = new Float64Array(countOf(queries));
  const pixels = countOf(size) / countOf(queries); // in a cell
  for (let y = 0; y < size.height; y++) {
    for (let x = 0; x < size.width; x++) {
      const query = cellOf([x, y], size, queries);
      for (let channel = 0; channel < 3; channel++) {
        const down = (at(x, y + 1, channel) - at(x, y - 1, channel)) / 2;
        const right = (at(x + 1, y, channel) - at(x - 1, y, channel)) / 2;
        energy[query] += (down * down + right * right) / pixels;
      }
    }
  }
  return energy.map(Math.sqrt);
}

/** Pick queries greedily: with a high score, far from those picked, and attending elsewhere. */
function spreadOut(score, map, size, num) {
  const centers = cellCenters(map.queries, size);
  const trace = 1e-6 * Math.max(...score, TINY); // so that without scores the farthest is next
  const spacing = new Float64Array(score.length).fill(AMPLE_SPACING);
  const novelty = new Float64Array(score.length).fill(1);
  const picked = [];
  for (let i = 0; i < num; i++) {
    const values = score.map((value, query) => (value + trace) * spacing[query] * novelty[query]);
    const best = values.indexOf(Math.max(...values));
    const [[x, y], bestRow] = [centers[best], rowOf(map, best)];
    picked.push(best);
    centers.forEach(([cx, cy], query) => {
      spacing[query] = Math.min(spacing[query], Math.hypot(cx - x, cy - y));
      let overlap = 0;
      rowOf(map, query).forEach((weight, key) => (overlap += Math.min(weight, bestRow[key])));
      novelty[query] = Math.min(novelty[query], Math.max(1 - overlap, 0) + NOISE_FLOOR);
    });
  }
  return picked;
}
