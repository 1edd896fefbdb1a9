// Which query points of an image are worth a look: sagan.explain.interesting_queries, with its
// definitions and names. A test compares the two.

const NOISE_FLOOR = 0.02; // so that differences that are only noise do not choose the dots
const AMPLE_SPACING = 1 / 3; // of the image's side: dots gain nothing by being farther apart
const TINY = 1e-12;

/**
 * Choose query points where attention is long-range, specific to the pixel, and on content.
 *
 * @param {{weights: Float32Array, side: number, keySide: number}} map rows of side^2 queries
 * @param {Uint8Array} image RGB bytes, size x size x 3
 * @param {number} size
 * @param {number} num how many
 * @returns {number[]} indices of queries, the most interesting first
 */
export function interestingQueries(map, image, size, num) {
  const contrast = localContrast(image, size, map.side);
  const most = Math.max(...contrast);
  const [far, own] = [farness(map), particularity(map)];
  const score = contrast.map((value, query) => {
    return Math.cbrt(far[query] * own[query] * Math.min(most > 0 ? value / most : 1, 0.5));
  });
  return spreadOut(score, map, num);
}

const rowOf = ({ weights, keySide }, query) => weights.subarray(query * keySide ** 2, (query + 1) * keySide ** 2);

/** Centers of the cells of a side x side grid over the unit square, [x, y] each. */
function cellCenters(side) {
  return Array.from({ length: side ** 2 }, (_, i) => [((i % side) + 0.5) / side, (Math.floor(i / side) + 0.5) / side]);
}

/** Expected distance of each query's attention over that of uniform attention. */
function farness(map) {
  const keys = cellCenters(map.keySide);
  return Float64Array.from(cellCenters(map.side), ([x, y], query) => {
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
  const [queries, keys] = [map.side ** 2, map.keySide ** 2];
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
function localContrast(image, size, side) {
  const at = (x, y, channel) => {
    const [column, row] = [x, y].map((position) => Math.min(Math.max(position, 0), size - 1));
    return image[3 * (row * size + column) + channel];
  };
  const energy = new Float64Array(side ** 2);
  const cell = size / side;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const query = Math.floor(y / cell) * side + Math.floor(x / cell);
      for (let channel = 0; channel < 3; channel++) {
        const down = (at(x, y + 1, channel) - at(x, y - 1, channel)) / 2;
        const right = (at(x + 1, y, channel) - at(x - 1, y, channel)) / 2;
        energy[query] += (down * down + right * right) / cell ** 2;
      }
    }
  }
  return energy.map(Math.sqrt);
}

/** Pick queries greedily: with a high score, far from those picked, and attending elsewhere. */
function spreadOut(score, map, num) {
  const centers = cellCenters(map.side);
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
