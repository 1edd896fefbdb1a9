// The visitor's own picture in the generator: the sample that comes nearest to it.

import { formatNumber } from "sagan/format.js";
import { showToast } from "sagan/viewer.js";

/** Finds the nearest sample of the photo that was chosen last, and shows the one or the other. */
export class Projection {
  /**
   * @param {HTMLElement} element
   * @param {Engine} engine
   * @param {(payload: Payload, title: string) => void} show
   * @param {() => number} choices how many choices the visitor has made on the page
   */
  constructor(element, engine, show, choices) {
    Object.assign(this, { element, engine, show, choices, file: null, photo: null, found: null, search: null });
    this.button = element.querySelector("button");
    this.bar = element.querySelector("progress");
    this.status = element.querySelector("[role=status]");
    this.button.addEventListener("click", () => this.press());
  }

  /** A photo was chosen, and what the discriminator makes of it is shown. */
  offer(file, photo) {
    this.search?.abort();
    Object.assign(this, { file, photo, found: null, search: null });
    this.element.hidden = false;
    this.status.textContent = "";
    this.update("Find it in the generator");
  }

  update(label) {
    this.button.textContent = label;
    this.bar.hidden = !this.search;
  }

  press() {
    if (this.search) this.stop();
    else if (!this.found) this.start();
    else if (this.showsFound) this.showPhoto();
    else this.showFound();
  }

  stop() {
    this.search.abort();
    this.search = null;
    this.update("Find it in the generator");
  }

  showPhoto() {
    this.show(this.photo, "your picture");
    this.offerFound();
  }

  offerFound() {
    this.showsFound = false;
    this.update("Show the nearest sample");
  }

  showFound() {
    this.showsFound = true;
    this.show(this.found, "nearest to your picture");
    this.update("Show your picture");
  }

  async start() {
    const search = new AbortController();
    const choices = this.choices();
    this.search = search;
    this.bar.removeAttribute("value"); // nothing is known of the first part, random samples
    this.status.textContent = "";
    this.update("Stop");
    try {
      const { payload, distance, randomDistance } = await this.engine.project(this.file, ({ done, total }) => {
        if (done) this.bar.value = done / total;
      }, search.signal);
      this.search = null;
      this.found = payload;
      this.status.textContent =
        `Distance of this sample to your picture: ${formatNumber(distance)}; of the nearest random one: ` +
        `${formatNumber(randomDistance)}. 0 would be your picture itself.`;
      if (choices === this.choices()) this.showFound();
      else this.offerFound(); // does not replace what was chosen meanwhile
    } catch (error) {
      if (this.search !== search) return; // stopped, or another photo was chosen
      this.stop();
      showToast(error.message);
    }
  }
}
