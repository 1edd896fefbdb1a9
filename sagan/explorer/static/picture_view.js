// The picture to point at: pointer and keyboard in, composite and annotations out.

import { drawAnnotations, MAX_PINS, PIN_COLORS } from "sagan/annotations.js";
import { heat } from "sagan/attention.js";
import { compose, resize } from "sagan/compose.js";
import { cellOf, clamped, scaled } from "sagan/grid.js";

const PNG_SIZE = 1024; // shorter side of a copied picture
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
    const { size } = this.payload;
    const { width, height } = scaled(size, PNG_SIZE / Math.min(size.width, size.height));
    resize(canvas, { width, height: height + (caption ? CAPTION_HEIGHT : 0) });
    const context = canvas.getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, height, width, CAPTION_HEIGHT);
    context.fillStyle = "#333333";
    context.font = "20px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.fillText(caption, 12, height + CAPTION_HEIGHT / 2, width - 24);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.composite, 0, 0, width, height);
    const { box } = this;
    context.scale(width / box.width, height / box.height);
    if (this.map) drawAnnotations(context, box, this.map, size, this);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  changed(by) {
    this.draw();
    this.dispatchEvent(new CustomEvent("point", { detail: { by } }));
  }

  cell(at) {
    return this.map ? cellOf(at, this.payload.size, this.map.queries) : -1;
  }

  /** Width and height on the screen. */
  get box() {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
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
    const values = map && at && { values: heat(map.attended(this.cell(at)).row), keys: map.keys };
    compose(this.composite, payload.image, payload.size, values || null);
    this.annotate();
  }

  annotate() {
    const [{ box }, ratio] = [this, window.devicePixelRatio];
    resize(this.annotations, { width: Math.round(box.width * ratio), height: Math.round(box.height * ratio) });
    if (!this.map || this.comparing) return;
    const context = this.annotations.getContext("2d");
    context.scale(ratio, ratio);
    drawAnnotations(context, box, this.map, this.payload.size, this);
  }

  /** The pixel under a pointer, [x, y], clamped to the image. */
  pixelUnder(event) {
    const box = this.element.getBoundingClientRect();
    const { size } = this.payload;
    const x = Math.floor(((event.clientX - box.left) * size.width) / box.width);
    const y = Math.floor(((event.clientY - box.top) * size.height) / box.height);
    return clamped([x, y], size);
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
    const { width, height } = this.payload.size;
    return [Math.floor(width / 2), Math.floor(height / 2)];
  }

  /** Move the point by one cell of the layer's grid. */
  step([dx, dy]) {
    const { size } = this.payload;
    if (!this.at) {
      this.point(this.middle, "keyboard");
      return;
    }
    const { width, height } = this.map.queries;
    const [x, y] = [this.at[0] + (dx * size.width) / width, this.at[1] + (dy * size.height) / height];
    this.point(clamped([x, y], size), "keyboard");
  }
}
