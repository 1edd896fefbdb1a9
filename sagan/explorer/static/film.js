// Sample grids of the steps of training, one after the other.

const FRAME = 350; // milliseconds

/** Fires "frame" with detail.step when another grid is shown. */
export class Film extends EventTarget {
  /** @param {HTMLElement} element */
  constructor(element) {
    super();
    this.image = element.querySelector("img");
    this.screen = element.querySelector(".screen");
    this.slider = element.querySelector("input");
    this.output = element.querySelector("output");
    this.button = element.querySelector("button");
    this.steps = [];
    this.image.addEventListener("load", () => this.fit(), { once: true });
    this.slider.addEventListener("input", () => {
      this.pause();
      this.show(Number(this.slider.value));
    });
    this.button.addEventListener("click", () => (this.timer ? this.pause() : this.play()));
  }

  /** There are grids of these steps; a film that stood at its end stays there. */
  extend(steps) {
    if (String(steps) === String(this.steps)) return;
    const atEnd = this.position >= this.steps.length - 1;
    this.steps = steps;
    this.slider.max = Math.max(steps.length - 1, 0);
    if (steps.length) this.show(atEnd ? steps.length - 1 : Math.min(this.position, steps.length - 1));
  }

  /** Show the last grid at or before a step. */
  goTo(step) {
    this.pause();
    const after = this.steps.findIndex((drawn) => drawn > step);
    this.show(after < 0 ? this.steps.length - 1 : Math.max(after - 1, 0));
  }

  get position() {
    return Number(this.slider.value);
  }

  show(position) {
    const step = this.steps[position];
    if (step === undefined) return;
    this.slider.value = position;
    this.output.textContent = step.toLocaleString("en");
    this.slider.setAttribute("aria-valuetext", `step ${step}`);
    this.image.hidden = false;
    this.image.src = source(step);
    this.image.alt = `Samples after ${step} steps`;
    this.dispatchEvent(new CustomEvent("frame", { detail: { step } }));
  }

  fit() {
    this.screen.style.setProperty("--screen", this.image.naturalWidth / this.image.naturalHeight);
  }

  play() {
    if (this.steps.length < 2) return;
    this.button.textContent = "Pause";
    if (this.position === this.steps.length - 1) this.show(0);
    this.timer = setInterval(() => this.advance(), FRAME);
  }

  /** The next frame, once it is there: a film that stutters shows nothing. */
  async advance() {
    if (this.loading) return;
    const next = this.position + 1;
    if (next >= this.steps.length) {
      this.pause();
      return;
    }
    this.loading = true;
    const ahead = new Image();
    ahead.src = source(this.steps[next]);
    await ahead.decode().catch(() => {});
    this.loading = false;
    if (this.timer) this.show(next);
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.button.textContent = "Play";
  }
}

function source(step) {
  return `api/run/grids/${step}`;
}
