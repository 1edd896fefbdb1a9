// The picture that is pointed at: mouse, finger and keyboard in; composed picture and ink out.

import { cellOf, heat } from "sagan/attention.js";
import { compose } from "sagan/compose.js";
import { drawInk, MAX_PINS, PIN_COLORS } from "sagan/annotations.js";

const PNG_SIZE = 1024;
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Fires "point" when the point or the pins change, with detail.by "hand", "keyboard" or "program",
 * and "scene" when another picture or layer is shown.
 */
export class Lens extends EventTarget {
  /** @param {HTMLElement} element holds two canvases, .picture and .ink, one over the other */
  constructor(element) {
    super();
    this.element = element;
    this.picture = element.querySelector(".picture");
    this.ink = element.querySelector(".ink");
    this.scene = null;
    this.layer = null;
    this.at = null;
    this.pins = [];
    this.listen();
    new ResizeObserver(() => this.drawInk()).observe(element);
  }

  /** The map that is shown, null before there is a scene. */
  get map() {
    const maps = this.scene?.maps ?? [];
    return maps.find((map) => map.name === this.layer) ?? maps[0] ?? null;
  }

  /** Show a picture, called something; the points stay where they are. */
  show(scene, title) {
    this.scene = scene;
    this.title = title;
    this.draw();
    this.dispatchEvent(new Event("scene"));
  }

  /** Show another attention layer of the same picture. */
  choose(layer) {
    this.layer = layer;
    this.draw();
    this.dispatchEvent(new Event("scene"));
  }

  /** Ask about a pixel [x, y] of the picture, or about none. */
  point(at, by = "program") {
    if (String(at) === String(this.at)) return;
    this.at = at;
    this.changed(by);
  }

  /** Pin a pixel; one that is pinned is let go, and a seventh takes the place of the first. */
  pin(at, by = "program") {
    const here = this.pins.findIndex((pin) => this.cell(pin.at) === this.cell(at));
    if (here >= 0) this.pins.splice(here, 1);
    else {
      if (this.pins.length === MAX_PINS) this.pins.shift();
      const taken = new Set(this.pins.map((pin) => pin.color));
      this.pins.push({ at, color: PIN_COLORS.find((color) => !taken.has(color)) });
    }
    this.changed(by);
  }

  /** Pin these pixels and no others, each for itself: in this layer two may share a cell. */
  setPins(pixels, by = "program") {
    this.pins = pixels.slice(0, MAX_PINS).map((at, i) => ({ at, color: PIN_COLORS[i] }));
    this.changed(by);
  }

  unpin(pin, by = "program") {
    this.pins = this.pins.filter((other) => other !== pin);
    this.changed(by);
  }

  /** Let go of the point and of all pins. */
  clear(by = "program") {
    this.at = null;
    this.setPins([], by);
  }

  /** A PNG of what is seen, as a promise of a Blob. */
  png() {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = PNG_SIZE;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(this.picture, 0, 0, PNG_SIZE, PNG_SIZE);
    const width = this.element.clientWidth;
    context.scale(PNG_SIZE / width, PNG_SIZE / width);
    if (this.map) drawInk(context, width, this.map, this.scene.size, this);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  changed(by) {
    this.draw();
    this.dispatchEvent(new CustomEvent("point", { detail: { by } }));
  }

  cell(at) {
    return this.map ? cellOf(at, this.scene.size, this.map.side) : -1;
  }

  draw() {
    if (!this.scene) return;
    const { map, scene } = this;
    const shown = this.at ?? this.pins.at(-1)?.at;
    const values = map && shown && { values: heat(map.gaze(this.cell(shown)).row), side: map.keySide };
    compose(this.picture, scene.picture, scene.size, values || null);
    this.drawInk();
  }

  drawInk() {
    const [width, ratio] = [this.element.clientWidth, window.devicePixelRatio];
    this.ink.width = this.ink.height = Math.round(width * ratio);
    if (!this.map) return;
    const context = this.ink.getContext("2d");
    context.scale(ratio, ratio);
    drawInk(context, width, this.map, this.scene.size, this);
  }

  /** The pixel under a pointer, [x, y], each within the picture. */
  under(event) {
    const box = this.element.getBoundingClientRect();
    const { size } = this.scene;
    return [event.clientX - box.left, event.clientY - box.top].map((offset) =>
      Math.min(Math.max(Math.floor((offset * size) / box.width), 0), size - 1),
    );
  }

  listen() {
    const { element } = this;
    element.addEventListener("pointermove", (event) => {
      if (this.scene) this.point(this.under(event), "hand");
    });
    element.addEventListener("pointerdown", (event) => {
      if (!this.scene || event.button) return;
      this.point(this.under(event), "hand");
      this.pressedAt = event.pointerType === "mouse" ? null : this.cell(this.at);
    });
    // A click is a press and a release at one place: a finger that was drawn across pins nothing.
    element.addEventListener("click", (event) => {
      if (!this.scene) return;
      const at = this.under(event);
      if (this.pressedAt === null || this.pressedAt === this.cell(at)) this.pin(at, "hand");
    });
    element.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    if (!this.map || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = STEPS[event.key];
    if (step) this.step(step);
    else if (event.key === "Enter" || event.key === " ") this.pin(this.at ?? this.middle, "keyboard");
    else if (event.key === "Backspace" || event.key === "Delete") {
      this.unpin(this.pins.at(-1), "keyboard");
    } else if (event.key === "Escape") this.clear("keyboard");
    else return;
    event.preventDefault();
  }

  get middle() {
    const half = this.scene.size / 2;
    return [half, half];
  }

  /** Move the point by one cell of the layer's grid. */
  step([dx, dy]) {
    const { size } = this.scene;
    const cell = size / this.map.side;
    const inside = (value) => Math.min(Math.max(value, 0), size - 1);
    if (!this.at) this.point(this.middle, "keyboard");
    else this.point([inside(this.at[0] + dx * cell), inside(this.at[1] + dy * cell)], "keyboard");
  }
}
