// What is drawn over the composite: dots, regions, links, and what a convolution would see.

import { isSelective, outline, percent } from "sagan/attention.js";
import { cellOf, center, columnAndRow } from "sagan/grid.js";

/** The point, then the pins: they differ in lightness as well as in hue. */
export const POINT_COLOR = "#ff4d2e";
export const PIN_COLORS = ["#35a7ff", "#ffd21f", "#2bd49c", "#f58bea", "#b79bff", "#e9f2f9"];
export const MAX_PINS = PIN_COLORS.length;

const MAX_LINKS = 5;
const MIN_LINK = 2; // times uniform attention
const CASING = "rgba(8, 8, 12, 0.85)"; // around every line, so that it shows on any image

/**
 * Draw everything that belongs over an image.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {{width: number, height: number}} box of the image in units of the context
 * @param {AttentionMap} map
 * @param {{width: number, height: number}} size of the image in pixels
 * @param {{at: number[] | null, pins: {at: number[], color: string}[], only: "kernel" | null}} points
 */
export function drawAnnotations(context, box, map, size, { at, pins, only }) {
  const points = pins.map((pin) => ({ ...pin, pinned: true }));
  if (at) points.unshift({ at, color: POINT_COLOR, pinned: false });
  const marks = points.map((point, order) => {
    const query = cellOf(point.at, size, map.queries);
    return { ...point, order, query, ...map.attended(query) };
  });
  context.lineJoin = "round";
  context.lineCap = "square"; // along a grid, where round ones take twice as long
  for (const mark of marks) {
    if (!only && isSelective(mark.inside)) drawRegion(context, box, map, mark);
  }
  context.lineCap = "round";
  marks.reverse(); // so that the point's own links and dot lie on top
  const newest = marks[0]; // those of older pins would hide the picture
  for (const mark of marks) {
    if (!only && (!mark.pinned || mark === newest)) drawLinks(context, box, map, mark);
  }
  for (const mark of marks) {
    if (!mark.pinned) drawKernel(context, box, map, mark.query);
    drawDot(context, place(mark.query, map.queries, box), mark);
  }
}

/** Center of a cell in units of the context. */
function place(index, grid, box) {
  const [x, y] = center(index, grid);
  return [x * box.width, y * box.height];
}

/** Width and height of a cell in units of the context. */
function cellSize(grid, box) {
  return [box.width / grid.width, box.height / grid.height];
}

function strokeCased(context, color, width, trace) {
  for (const [style, extra] of [[CASING, 2], [color, 0]]) {
    context.strokeStyle = style;
    context.lineWidth = width + extra;
    context.beginPath();
    trace();
    context.stroke();
  }
}

/** Solid for the point; dashed for pins, each at its own offset, so that none hides another. */
function drawRegion(context, box, map, { inside, color, pinned, order }) {
  context.setLineDash(pinned ? [9, 6] : []);
  context.lineDashOffset = 5 * order;
  const [width, height] = cellSize(map.keys, box);
  strokeCased(context, color, 2, () => {
    for (const [x0, y0, x1, y1] of outline(inside, map.keys)) {
      context.moveTo(x0 * width, y0 * height);
      context.lineTo(x1 * width, y1 * height);
    }
  });
  context.setLineDash([]);
}

function drawLinks(context, box, map, { query, row, ranking, color, pinned }) {
  const [x, y] = place(query, map.queries, box);
  const links = Array.from(ranking.subarray(0, MAX_LINKS), (key) => ({ key, weight: row[key] }))
    .filter(({ weight }) => weight * row.length >= MIN_LINK);
  const ends = links.map(({ key }) => place(key, map.keys, box));
  const [cell] = cellSize(map.keys, box);
  links.forEach(({ weight }, i) => {
    const [kx, ky] = ends[i];
    if (Math.hypot(kx - x, ky - y) < 1.5 * cell) return;
    const width = 1 + 2.5 * Math.sqrt(weight / links[0].weight);
    // Bent sideways by a fifth of its length, so that links in opposite directions stay apart.
    const bend = [(x + kx) / 2 + (ky - y) / 5, (y + ky) / 2 - (kx - x) / 5];
    strokeCased(context, color, width, () => {
      context.moveTo(x, y);
      context.quadraticCurveTo(...bend, kx, ky);
    });
    disc(context, color, [kx, ky], width + 1);
  });
  if (!pinned) drawShares(context, box, ends, links);
}

/** A percentage at the end of each link that has room for it, the strongest first. */
function drawShares(context, box, ends, links) {
  context.font = "600 12px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.lineWidth = 4;
  const taken = [];
  links.forEach(({ weight }, i) => {
    const [x, y] = ends[i];
    const leftward = x > box.width - 56;
    const middle = x + (leftward ? -26 : 26);
    if (taken.some(([tx, ty]) => Math.abs(tx - middle) < 46 && Math.abs(ty - y) < 18)) return;
    taken.push([middle, y]);
    context.textAlign = leftward ? "right" : "left";
    const text = [percent(weight), x + (leftward ? -9 : 9), y];
    context.strokeStyle = CASING;
    context.strokeText(...text);
    context.fillStyle = "#ffffff";
    context.fillText(...text);
  });
}

/** The 3 x 3 cells that a single convolution sees at this depth. */
function drawKernel(context, box, map, query) {
  const { width: columns, height: rows } = map.queries;
  const [width, height] = cellSize(map.queries, box);
  const [column, row] = columnAndRow(query, map.queries);
  const [left, top] = [Math.max(column - 1, 0), Math.max(row - 1, 0)];
  const [right, bottom] = [Math.min(column + 2, columns), Math.min(row + 2, rows)];
  const sides = [left * width, top * height, (right - left) * width, (bottom - top) * height];
  context.lineWidth = 3;
  context.strokeStyle = CASING;
  context.strokeRect(...sides);
  context.lineWidth = 1.25;
  context.strokeStyle = "#ffffff";
  context.setLineDash([4, 4]);
  context.strokeRect(...sides);
  context.setLineDash([]);
}

function drawDot(context, at, { color, pinned }) {
  const radius = pinned ? 6 : 7;
  disc(context, CASING, at, radius + 3.5);
  disc(context, "#ffffff", at, radius + 2);
  disc(context, color, at, radius);
}

function disc(context, color, [x, y], radius) {
  context.fillStyle = color;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}
