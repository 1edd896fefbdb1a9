// The one place that knows how pixels and cells lie: the pixels of a picture, the queries and the
// keys of an attention map. Each is a grid {width, height}, numbered row by row from the top left;
// the grids of a map have the picture's proportions. Positions are [x, y].

/** @typedef {{width: number, height: number}} Grid */

/** The number of cells. */
export const countOf = ({ width, height }) => width * height;

/** The grid of so many cells over a picture of `size`. */
export function gridOf(count, size) {
  const scale = Math.sqrt(count / countOf(size));
  return { width: Math.round(size.width * scale), height: Math.round(size.height * scale) };
}

/** The grid with this shorter side over a picture of `size`. */
export function gridOfSide(side, size) {
  const shorter = Math.min(size.width, size.height);
  return { width: (size.width * side) / shorter, height: (size.height * side) / shorter };
}

/** A grid, `factor` times as fine in each direction. */
export const scaled = ({ width, height }, factor) => ({ width: width * factor, height: height * factor });

/** Column and row of a cell. */
export const columnAndRow = (index, { width }) => [index % width, Math.floor(index / width)];

/** Center of a cell, in [0, 1] of the picture's width and height. */
export function center(index, grid) {
  const [column, row] = columnAndRow(index, grid);
  return [(column + 0.5) / grid.width, (row + 0.5) / grid.height];
}

/** The cell that covers a pixel of a picture of `size`. */
export function cellOf([x, y], size, grid) {
  return Math.floor((y * grid.height) / size.height) * grid.width + Math.floor((x * grid.width) / size.width);
}

/** The pixel in the middle of a cell. */
export function pixelOf(index, size, grid) {
  const [column, row] = columnAndRow(index, grid);
  return [((column + 0.5) * size.width) / grid.width, ((row + 0.5) * size.height) / grid.height].map(Math.floor);
}

/** The nearest position inside. */
export function clamped([x, y], { width, height }) {
  return [Math.min(Math.max(x, 0), width - 1), Math.min(Math.max(y, 0), height - 1)];
}

/** Whether a position, which is not negative, lies inside. */
export const contains = ({ width, height }, [x, y]) => x < width && y < height;
