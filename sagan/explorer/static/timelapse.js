// The grids of samples that training saved, one after the other.

const FRAME_PERIOD = 350; // milliseconds

/** Fires "frame" with detail.step when its slider is moved, and for each grid while it plays. */
export class Timelapse extends EventTarget {
  /** @param {HTMLElement} element */
  constructor(element) {
    super();
    this.image = element.querySelector("img");
    this.screen = element.querySelector(".screen");
    this.slider = element.querySelector("input");
    this.output = element.querySelector("output");
    this.button = element.querySelector("button");
    this.steps = [];
    this.slider.addEventListener("input", () => {
      this.pause();
      this.turnTo(Number(this.slider.value));
    });
    this.button.addEventListener("click", () => (this.timer ? this.pause() : this.play()));
  }

  /** Set the steps that have grids and show the one at `step`; resolves when it is visible. */
  extend(steps, step) {
    this.steps = steps;
    this.slider.max = Math.max(steps.length - 1, 0);
    return this.show(this.positionOf(step));
  }

  goTo(step) {
    this.pause();
    this.show(this.positionOf(step));
  }

  /** The position of the last grid at or before a step, or else of the first grid. */
  positionOf(step) {
    const after = this.steps.findIndex((drawn) => drawn > step);
    return after < 0 ? this.steps.length - 1 : Math.max(after - 1, 0);
  }

  get position() {
    return Number(this.slider.value);
  }

  turnTo(position) {
    this.show(position);
    this.dispatchEvent(new CustomEvent("frame", { detail: { step: this.steps[position] } }));
  }

  async show(position) {
    const step = this.steps[position];
    if (step === undefined) return;
    this.slider.value = position;
    this.output.textContent = step.toLocaleString("en");
    this.slider.setAttribute("aria-valuetext", `step ${step}`);
    this.image.hidden = false;
    this.image.src = urlOf(step);
    this.image.alt = `Samples after ${step} steps`;
    await this.image.decode().catch(() => {}); // replaced by the next one, or not available
    const { naturalWidth, naturalHeight } = this.image;
    if (naturalWidth) this.screen.style.setProperty("--screen", naturalWidth / naturalHeight);
  }

  play() {
    if (this.steps.length < 2) return;
    this.button.textContent = "Pause";
    if (this.position === this.steps.length - 1) this.turnTo(0);
    this.timer = setInterval(() => this.advance(), FRAME_PERIOD);
  }

  /** Show the next frame once it has loaded, so that playback slows down rather than stutters. */
  async advance() {
    if (this.loading) return;
    const next = this.position + 1;
    if (next >= this.steps.length) {
      this.pause();
      return;
    }
    this.loading = true;
    const ahead = new Image();
    ahead.src = urlOf(this.steps[next]);
    await ahead.decode().catch(() => {});
    this.loading = false;
    if (this.timer) this.turnTo(next);
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.button.textContent = "Play";
  }
}

function urlOf(step) {
  return `api/run/grids/${step}`;
}
