// Trainings as a film: images that they saved step by step, with one scrubber for all of them.

const FRAME_PERIOD = 350; // milliseconds

/** The images of one kind that one run saved; shows one of them. */
class Track {
  /** @param {HTMLElement} element a .track; images with a step in it are its first frames */
  constructor(element) {
    this.element = element;
    const images = [...element.querySelectorAll("img")];
    this.image = images.pop();
    this.frames = [...images, this.image]
      .filter(({ dataset }) => dataset.step)
      .map(({ dataset, src }) => ({ step: Number(dataset.step), url: src }));
    for (const other of images) other.remove();
  }

  /** The newest frame at or before a step, or else the first one; undefined without frames. */
  frameAt(step) {
    return this.frames.findLast((frame) => frame.step <= step) ?? this.frames[0];
  }

  /** Resolves when the frame of a step is visible. */
  async show(step) {
    const frame = this.frameAt(step);
    this.element.querySelector(".missing").hidden = Boolean(frame);
    if (!frame) return;
    const note = frame.step === step ? "" : `step ${frame.step.toLocaleString("en")}`;
    this.element.querySelector(".note").textContent = note;
    this.image.hidden = false;
    this.image.src = frame.url;
    this.image.alt = `${this.element.dataset.title} after ${frame.step} steps`;
    await this.image.decode().catch(() => {}); // replaced by the next one, or not available
  }
}

/** Fires "frame" with detail.step when its slider is moved, and for each step while it plays. */
export class Film extends EventTarget {
  /** @param {HTMLElement} element as film.html makes it */
  constructor(element) {
    super();
    this.element = element;
    this.tracks = [...element.querySelectorAll(".track")].map((track) => new Track(track));
    this.slider = element.querySelector("#frame");
    this.output = element.querySelector("#frame-step");
    this.button = element.querySelector("#play");
    this.slider.addEventListener("input", () => {
      this.pause();
      this.turnTo(Number(this.slider.value));
    });
    this.button.addEventListener("click", () => (this.timer ? this.pause() : this.play()));
    this.extend(Infinity);
    element.querySelector(".film-controls").hidden = false;
  }

  /** Take in the frames that were added to the tracks; resolves when those of `step` are visible. */
  extend(step) {
    const steps = this.tracks.flatMap((track) => track.frames.map((frame) => frame.step));
    this.steps = [...new Set(steps)].sort((a, b) => a - b);
    this.slider.max = Math.max(this.steps.length - 1, 0);
    return this.show(this.positionOf(step));
  }

  goTo(step) {
    this.pause();
    this.show(this.positionOf(step));
  }

  /** The position of the last step with a frame at or before a step, or else of the first one. */
  positionOf(step) {
    return Math.max(this.steps.findLastIndex((known) => known <= step), 0);
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
    await Promise.all(this.tracks.map((track) => track.show(step)));
  }

  play() {
    if (this.steps.length < 2) return;
    this.button.textContent = "Pause";
    if (this.position === this.steps.length - 1) this.turnTo(0);
    this.timer = setInterval(() => this.advance(), FRAME_PERIOD);
  }

  /** Show the next frames once they have loaded, so that playback slows down rather than stutters. */
  async advance() {
    if (this.loading) return;
    const next = this.position + 1;
    if (next >= this.steps.length) {
      this.pause();
      return;
    }
    this.loading = true;
    await Promise.all(this.tracks.map((track) => loaded(track.frameAt(this.steps[next]))));
    this.loading = false;
    if (this.timer) this.turnTo(next);
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.button.textContent = "Play";
  }
}

async function loaded(frame) {
  if (!frame) return;
  const ahead = new Image();
  ahead.src = frame.url;
  await ahead.decode().catch(() => {});
}
