// Small images to choose from.

import { paint } from "sagan/compose.js";

/** Fires "select" with detail.index when an image is chosen. */
export class Gallery extends EventTarget {
  /** @param {HTMLElement} element @param {number} num how many images; their places exist before the images do */
  constructor(element, num) {
    super();
    this.element = element;
    this.buttons = Array.from({ length: num }, (_, index) => this.add(index));
    element.addEventListener("keydown", (event) => this.pressKey(event));
  }

  /** Show an image in its place. */
  show(index, { image, size }, label) {
    paint(this.buttons[index].firstChild, image, size);
    this.buttons[index].setAttribute("aria-label", label);
    this.buttons[index].title = label;
  }

  /** Mark one image as selected, or none if null. */
  mark(index) {
    this.buttons.forEach((button, i) => {
      button.setAttribute("aria-pressed", String(i === index));
      button.tabIndex = i === (index ?? 0) ? 0 : -1;
    });
  }

  add(index) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(document.createElement("canvas"));
    button.addEventListener("click", () => this.choose(index));
    this.element.append(button);
    return button;
  }

  choose(index) {
    this.dispatchEvent(new CustomEvent("select", { detail: { index } }));
  }

  pressKey(event) {
    const columns = getComputedStyle(this.element).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const target = this.buttons[this.buttons.indexOf(document.activeElement) + step];
    if (!target) return;
    event.preventDefault();
    target.focus();
    target.click();
  }
}
