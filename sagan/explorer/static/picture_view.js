// The picture to point at: pointer and keyboard in, composite and annotations out.

import { drawAnnotations, MAX_PINS, PIN_COLORS } from "sagan/annotations.js";
import { cellOf, heat } from "sagan/attention.js";
import { compose } from "sagan/compose.js";

const PNG_SIZE = 1024;
const CAPTION_HEIGHT = 40;
const BUSY_DELAY = 250; // milliseconds of waiting before the picture shows that it waits
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Fires "point" when the point or the pins change, with detail.by "pointer", "keyboard" or
 * "program", and "shown" when another image or layer is shown.
 */
export class PictureView extends EventTarget {
  /** @param {HTMLElement} element contains two canvases, .composite and, over it, .annotations */
  constructor(element) {
    super();
    this.element = element;
    this.composite = element.querySelector(".composite");
    this.annotations = element.querySelector(".annotations");
    this.payload = null;
    this.layer = null;
    this.at = null;
    this.pins = [];
    this.comparing = false; // while the picture without attention is shown
    this.only = null; // "kernel" shows what a convolution sees, and no attention
    this.waiting = 0;
    this.listen();
    new ResizeObserver(() => this.annotate()).observe(element);
  }

  /** The map that is shown, null before there is a payload. */
  get map() {
    const maps = this.payload?.maps ?? [];
    return maps.find((map) => map.name === this.layer) ?? maps[0] ?? null;
  }

  /** Show another image; the point and the pins stay where they are. */
  show(payload, title) {
    this.payload = payload;
    this.title = title;
    this.draw();
    this.dispatchEvent(new Event("shown"));
  }

  /** Show another attention layer of the same image. */
  showLayer(layer) {
    this.layer = layer;
    this.draw();
    this.dispatchEvent(new Event("shown"));
  }

  /** Move the point to pixel [x, y] of the image; null removes it. */
  point(at, by = "program") {
    if (String(at) === String(this.at)) return;
    this.at = at;
    this.changed(by);
  }

  /** Pin a pixel, or unpin it if it is pinned; a seventh pin replaces the first. */
  togglePin(at, by = "program") {
    const here = this.pins.findIndex((pin) => this.cell(pin.at) === this.cell(at));
    if (here >= 0) this.pins.splice(here, 1);
    else {
      if (this.pins.length === MAX_PINS) this.pins.shift();
      const taken = new Set(this.pins.map((pin) => pin.color));
      this.pins.push({ at, color: PIN_COLORS.find((color) => !taken.has(color)) });
    }
    this.changed(by);
  }

  /** Pin exactly these pixels, even if two of them share a cell of this layer. */
  setPins(pixels, by = "program") {
    this.pins = pixels.slice(0, MAX_PINS).map((at, i) => ({ at, color: PIN_COLORS[i] }));
    this.changed(by);
  }

  unpin(pin, by = "program") {
    this.pins = this.pins.filter((other) => other !== pin);
    this.changed(by);
  }

  /** Remove the point and all pins. */
  clear(by = "program") {
    this.at = null;
    this.setPins([], by);
  }

  /** Show the same picture without attention, or again what was shown before. */
  compare(comparing) {
    this.comparing = comparing && Boolean(this.payload?.withoutAttention);
    this.element.classList.toggle("comparing", this.comparing);
    this.draw();
  }

  /** The result of some work, while the picture says that it is busy. */
  async waitFor(promise) {
    this.waiting++;
    const timer = setTimeout(() => this.element.setAttribute("aria-busy", "true"), BUSY_DELAY);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      if (--this.waiting === 0) this.element.removeAttribute("aria-busy");
    }
  }

  /** A PNG of what is visible, as a promise of a Blob; a caption is written beneath the picture. */
  png(caption = "") {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [PNG_SIZE, PNG_SIZE + (caption ? CAPTION_HEIGHT : 0)];
    const context = canvas.getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, PNG_SIZE, PNG_SIZE, CAPTION_HEIGHT);
    context.fillStyle = "#333333";
    context.font = "20px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.fillText(caption, 12, PNG_SIZE + CAPTION_HEIGHT / 2, PNG_SIZE - 24);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.composite, 0, 0, PNG_SIZE, PNG_SIZE);
    const width = this.element.clientWidth;
    context.scale(PNG_SIZE / width, PNG_SIZE / width);
    if (this.map) drawAnnotations(context, width, this.map, this.payload.size, this);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  changed(by) {
    this.draw();
    this.dispatchEvent(new CustomEvent("point", { detail: { by } }));
  }

  cell(at) {
    return this.map ? cellOf(at, this.payload.size, this.map.side) : -1;
  }

  draw() {
    if (!this.payload) return;
    const { map, payload } = this;
    this.element.classList.toggle("kernel-only", this.only === "kernel");
    if (this.comparing) {
      compose(this.composite, payload.withoutAttention, payload.size, null);
      this.annotate();
      return;
    }
    const at = this.only ? null : (this.at ?? this.pins.at(-1)?.at);
    const values = map && at && { values: heat(map.attended(this.cell(at)).row), side: map.keySide };
    compose(this.composite, payload.image, payload.size, values || null);
    this.annotate();
  }

  annotate() {
    const [width, ratio] = [this.element.clientWidth, window.devicePixelRatio];
    this.annotations.width = this.annotations.height = Math.round(width * ratio);
    if (!this.map || this.comparing) return;
    const context = this.annotations.getContext("2d");
    context.scale(ratio, ratio);
    drawAnnotations(context, width, this.map, this.payload.size, this);
  }

  /** The pixel under a pointer, [x, y], clamped to the image. */
  pixelUnder(event) {
    const box = this.element.getBoundingClientRect();
    const { size } = this.payload;
    return [event.clientX - box.left, event.clientY - box.top].map((offset) =>
      Math.min(Math.max(Math.floor((offset * size) / box.width), 0), size - 1),
    );
  }

  listen() {
    const { element } = this;
    element.addEventListener("pointermove", (event) => {
      if (this.payload) this.point(this.pixelUnder(event), "pointer");
    });
    element.addEventListener("pointerdown", (event) => {
      if (!this.payload || event.button) return;
      this.point(this.pixelUnder(event), "pointer");
      this.pressedAt = event.pointerType === "mouse" ? null : this.cell(this.at);
    });
    // A tap starts and ends in one cell: a finger that slides across the picture pins nothing.
    element.addEventListener("click", (event) => {
      if (!this.payload) return;
      const at = this.pixelUnder(event);
      if (this.pressedAt === null || this.pressedAt === this.cell(at)) this.togglePin(at, "pointer");
    });
    element.addEventListener("keydown", (event) => this.pressKey(event));
  }

  pressKey(event) {
    if (!this.map || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = STEPS[event.key];
    if (step) this.step(step);
    else if (event.key === "Enter" || event.key === " ") this.togglePin(this.at ?? this.middle, "keyboard");
    else if (event.key === "Backspace" || event.key === "Delete") {
      this.unpin(this.pins.at(-1), "keyboard");
    } else if (event.key === "Escape") this.clear("keyboard");
    else return;
    event.preventDefault();
  }

  get middle() {
    const half = this.payload.size / 2;
    return [half, half];
  }

  /** Move the point by one cell of the layer's grid. */
  step([dx, dy]) {
    const { size } = this.payload;
    const cell = size / this.map.side;
    const clamp = (value) => Math.min(Math.max(value, 0), size - 1);
    if (!this.at) this.point(this.middle, "keyboard");
    else this.point([clamp(this.at[0] + dx * cell), clamp(this.at[1] + dy * cell)], "keyboard");
  }
}
