// Small pictures to choose one from.

import { paint } from "sagan/compose.js";

/** Fires "select" with detail.index when a picture is chosen. */
export class Gallery extends EventTarget {
  /** @param {HTMLElement} element @param {number} num how many pictures: their places are there at once */
  constructor(element, num) {
    super();
    this.element = element;
    this.buttons = Array.from({ length: num }, (_, index) => this.add(index));
    element.addEventListener("keydown", (event) => this.press(event));
  }

  /**
   * Show these in their places.
   *
   * @param {{picture: Uint8Array, size: number, label: string}[]} pictures
   */
  show(pictures) {
    pictures.forEach(({ picture, size, label }, index) => {
      paint(this.buttons[index].firstChild, picture, size);
      this.buttons[index].setAttribute("aria-label", label);
      this.buttons[index].title = label;
    });
  }

  /** Mark one as the one that is looked at; none when null. */
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

  press(event) {
    const columns = getComputedStyle(this.element).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const target = this.buttons[this.buttons.indexOf(document.activeElement) + step];
    if (!target) return;
    event.preventDefault();
    target.focus();
    target.click();
  }
}
