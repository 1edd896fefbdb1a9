// A chart: curves over the training steps on a common scale, with their values at the marked step.

import { formatNumber } from "sagan/format.js";
import { termButton } from "sagan/terms.js";

const SVG = "http://www.w3.org/2000/svg";
const COLORS = ["#d9481c", "#2b87d1", "#1a9a72", "#b8860b", "#a45cc0"];
const MAX_NAMED = COLORS.length; // of more curves than this only the extremes are named
const [WIDTH, HEIGHT] = [600, 100]; // of the SVG's own coordinate system
const LAST_STEP_FROM = 0.99; // pointing at the last 1% of the width means the last step

/** Fires "point" with detail.step when the visitor selects a step by pointer or keyboard. */
export class Chart extends EventTarget {
  /** @param {{title: string, description: string, name: (series: string) => string, term?: string}} kind */
  constructor({ title, description, name, term }) {
    super();
    this.name = name;
    this.element = document.createElement("section");
    this.element.className = "chart card";
    this.element.innerHTML =
      '<h2></h2><p class="why"></p><div class="plot"><div class="scale"><span></span><span></span></div>' +
      `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="slider" tabindex="0" aria-valuemin="0"></svg>` +
      '<div></div><div class="steps"><span>0</span><span></span></div></div><ul></ul>';
    this.element.querySelector("h2").append(term ? termButton(term, title) : title);
    this.element.querySelector(".why").textContent = description;
    this.svg = this.element.querySelector("svg");
    this.svg.setAttribute("aria-label", title);
    this.svg.addEventListener("pointermove", (event) => this.pointTo(event));
    this.svg.addEventListener("pointerdown", (event) => this.pointTo(event));
    this.svg.addEventListener("keydown", (event) => this.pressKey(event));
  }

  /** @param {Record<string, [number[], number[]]>} series @param {number} last the step at the right edge */
  show(series, last) {
    this.series = Object.entries(series).map(([key, [steps, values]]) => ({ key, steps, values }));
    this.last = Math.max(last, 1);
    this.svg.setAttribute("aria-valuemax", this.last);
    const values = this.series.flatMap((curve) => curve.values);
    this.low = Math.min(...values, 0);
    this.high = Math.max(...values, this.low + 1e-9);
    const [top, bottom] = this.element.querySelectorAll(".scale span");
    [top.textContent, bottom.textContent] = [formatNumber(this.high), formatNumber(this.low)];
    this.element.querySelector(".steps :last-child").textContent = `step ${formatNumber(this.last)}`;
    const lines = [this.line("zero", 0, this.y(0), WIDTH, this.y(0))];
    this.series.forEach((curve, index) => lines.push(this.path(curve, index)));
    this.marker = this.line("mark", 0, 0, 0, HEIGHT);
    this.svg.replaceChildren(...lines, this.marker);
  }

  /** Move the marker to a step and list the values there. */
  mark(step) {
    this.step = step;
    const x = this.x(step);
    this.marker.setAttribute("x1", x);
    this.marker.setAttribute("x2", x);
    let values = this.series.map((curve, index) => ({ ...curve, value: valueAt(curve, step), index }));
    if (values.length > MAX_NAMED) {
      values.sort((a, b) => b.value - a.value);
      values = [values[0], values.at(-1)];
    }
    this.element.querySelector("ul").replaceChildren(...values.map((curve) => this.entry(curve)));
    const words = values.map(({ key, value }) => `${this.name(key)} ${formatNumber(value)}`);
    this.svg.setAttribute("aria-valuenow", step);
    this.svg.setAttribute("aria-valuetext", `step ${step}: ${words.join(", ")}`);
  }

  entry({ key, value, index }) {
    const item = document.createElement("li");
    const swatch = document.createElement("i");
    swatch.style.background = this.color(index);
    const name = Object.assign(document.createElement("span"), { textContent: this.name(key), title: key });
    item.append(swatch, name, formatNumber(value));
    return item;
  }

  color(index) {
    return this.series.length > MAX_NAMED ? "var(--muted)" : COLORS[index];
  }

  x(step) {
    return (WIDTH * step) / this.last;
  }

  y(value) {
    return HEIGHT * (1 - (value - this.low) / (this.high - this.low));
  }

  path({ steps, values }, index) {
    const path = document.createElementNS(SVG, "path");
    const points = steps.map((step, i) => `${this.x(step).toFixed(2)},${this.y(values[i]).toFixed(2)}`);
    path.setAttribute("d", `M${points.join("L")}`);
    path.style.stroke = this.color(index);
    return path;
  }

  line(kind, x1, y1, x2, y2) {
    const line = document.createElementNS(SVG, "line");
    line.setAttribute("class", kind);
    for (const [name, value] of Object.entries({ x1, y1, x2, y2 })) line.setAttribute(name, value);
    return line;
  }

  pointTo(event) {
    const box = this.svg.getBoundingClientRect();
    const share = Math.max((event.clientX - box.left) / box.width, 0);
    this.goTo(share < LAST_STEP_FROM ? Math.round(this.last * share) : this.last);
  }

  /** Go to the previous, next, first or last step that has a value. */
  pressKey(event) {
    const measured = this.series.flatMap((curve) => curve.steps);
    const step = {
      ArrowLeft: Math.max(...measured.filter((one) => one < this.step), 0),
      ArrowRight: Math.min(...measured.filter((one) => one > this.step), this.last),
      Home: Math.min(...measured),
      End: this.last,
    }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.goTo(step);
  }

  goTo(step) {
    this.dispatchEvent(new CustomEvent("point", { detail: { step } }));
  }
}

/** The latest value at or before a step, or else the first value. */
function valueAt({ steps, values }, step) {
  const after = steps.findIndex((measured) => measured > step);
  return values[after < 0 ? values.length - 1 : Math.max(after - 1, 0)];
}
