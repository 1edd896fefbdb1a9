// What is drawn over the composite: dots, regions, links, and what a convolution would see.

import { cellOf, center, isSelective, outline, percent } from "sagan/attention.js";

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
 * @param {number} length side of the image in units of the context
 * @param {AttentionMap} map
 * @param {number} size side of the image in pixels
 * @param {{at: number[] | null, pins: {at: number[], color: string}[], only: "kernel" | null}} points
 */
export function drawAnnotations(context, length, map, size, { at, pins, only }) {
  const points = pins.map((pin) => ({ ...pin, pinned: true }));
  if (at) points.unshift({ at, color: POINT_COLOR, pinned: false });
  const marks = points.map((point, order) => {
    const query = cellOf(point.at, size, map.side);
    return { ...point, order, query, ...map.attended(query) };
  });
  context.lineJoin = "round";
  context.lineCap = "square"; // along a grid, where round ones take twice as long
  for (const mark of marks) {
    if (!only && isSelective(mark.inside)) drawRegion(context, length, map, mark);
  }
  context.lineCap = "round";
  marks.reverse(); // so that the point's own links and dot lie on top
  const newest = marks[0]; // those of older pins would hide the picture
  for (const mark of marks) {
    if (!only && (!mark.pinned || mark === newest)) drawLinks(context, length, map, mark);
  }
  for (const mark of marks) {
    if (!mark.pinned) drawKernel(context, length, map, mark.query);
    drawDot(context, place(mark.query, map.side, length), mark);
  }
}

/** Center of a cell in units of the context. */
function place(index, side, length) {
  return center(index, side).map((share) => share * length);
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
function drawRegion(context, length, map, { inside, color, pinned, order }) {
  context.setLineDash(pinned ? [9, 6] : []);
  context.lineDashOffset = 5 * order;
  const cell = length / map.keySide;
  strokeCased(context, color, 2, () => {
    for (const [x0, y0, x1, y1] of outline(inside, map.keySide)) {
      context.moveTo(x0 * cell, y0 * cell);
      context.lineTo(x1 * cell, y1 * cell);
    }
  });
  context.setLineDash([]);
}

function drawLinks(context, length, map, { query, row, ranking, color, pinned }) {
  const [x, y] = place(query, map.side, length);
  const links = Array.from(ranking.subarray(0, MAX_LINKS), (key) => ({ key, weight: row[key] }))
    .filter(({ weight }) => weight * row.length >= MIN_LINK);
  const ends = links.map(({ key }) => place(key, map.keySide, length));
  links.forEach(({ weight }, i) => {
    const [kx, ky] = ends[i];
    if (Math.hypot(kx - x, ky - y) < (1.5 * length) / map.keySide) return;
    const width = 1 + 2.5 * Math.sqrt(weight / links[0].weight);
    // Bent sideways by a fifth of its length, so that links in opposite directions stay apart.
    const bend = [(x + kx) / 2 + (ky - y) / 5, (y + ky) / 2 - (kx - x) / 5];
    strokeCased(context, color, width, () => {
      context.moveTo(x, y);
      context.quadraticCurveTo(...bend, kx, ky);
    });
    disc(context, color, [kx, ky], width + 1);
  });
  if (!pinned) drawShares(context, length, ends, links);
}

/** A percentage at the end of each link that has room for it, the strongest first. */
function drawShares(context, length, ends, links) {
  context.font = "600 12px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.lineWidth = 4;
  const taken = [];
  links.forEach(({ weight }, i) => {
    const [x, y] = ends[i];
    const leftward = x > length - 56;
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
function drawKernel(context, length, map, query) {
  const cell = length / map.side;
  const [column, row] = [query % map.side, Math.floor(query / map.side)];
  const [left, top] = [Math.max(column - 1, 0), Math.max(row - 1, 0)];
  const [right, bottom] = [Math.min(column + 2, map.side), Math.min(row + 2, map.side)];
  const box = [left, top, right - left, bottom - top].map((cells) => cells * cell);
  context.lineWidth = 3;
  context.strokeStyle = CASING;
  context.strokeRect(...box);
  context.lineWidth = 1.25;
  context.strokeStyle = "#ffffff";
  context.setLineDash([4, 4]);
  context.strokeRect(...box);
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
