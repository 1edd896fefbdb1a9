// The first minute: five steps, one sentence each, that move by themselves until the visitor does.

import { isSelective, percent, region, share } from "sagan/attention.js";
import { pixelOf } from "sagan/grid.js";

const STEP_TIME = 6500; // milliseconds: to read a sentence and look
const REVEAL_TIME = 2000; // milliseconds before the glow disappears in the first step
const BLINK_TIME = 1400; // milliseconds with attention, and as many without
const STORAGE_KEY = "sagan-tour";
const ALIKE = 0.5; // two pixels that share as much of their attention look at the same places

/**
 * The steps for what a view shows.
 *
 * @param {PictureView} view
 * @param {object | null} front what to say of this picture, see front_views.py; null of any other
 * @param {boolean} takesPhotos whether the page accepts the visitor's own picture
 * @returns {{text: string, at?: number[] | null, only?: "kernel", blink?: boolean, photo?: boolean}[]}
 */
export function tourSteps(view, front, takesPhotos) {
  const { map, payload } = view;
  const [first, second] = map.highlights;
  const at = front ? pointOf(front.view) : pixelOf(first, payload.size, map.queries);
  const another = front ? front.another : pixelOf(second, payload.size, map.queries);
  const steps = [
    { at, only: "kernel", text: "A convolution sees only the dashed box: the neighbors of the pixel at the dot." },
    { at, text: `With attention, it can look anywhere. ${front?.looks ?? lookOf(map, first)}` },
    { at: another, text: front?.another_looks ?? otherLook(map, first, second) },
  ];
  if (payload.withoutAttention) {
    const text = front?.without ?? "Without attention, the same numbers give this: that is what attention adds.";
    steps.push({ at: another, blink: true, text });
  }
  const photos = takesPhotos ? "Now you: point at any pixel, or see how your own picture does." : "Now you: point at any pixel.";
  steps.push({ at, photo: takesPhotos, text: photos });
  return steps;
}

const pointOf = (url) => new URLSearchParams(url).get("at").split(",").map(Number);

function lookOf(map, query) {
  const inside = region(map.attended(query).row);
  if (!isSelective(inside)) return "This one looks everywhere, almost evenly.";
  return `Half of its attention is on ${percent(share(inside))} of the picture.`;
}

function otherLook(map, first, second) {
  const [one, other] = [first, second].map((query) => map.attended(query).row);
  const common = one.reduce((sum, weight, key) => sum + Math.min(weight, other[key]), 0);
  if (common > ALIKE) return "Another pixel looks at nearly the same places: young models do that.";
  return "Another pixel looks elsewhere.";
}

/** Plays the steps beside the picture, until the visitor points at it, pauses it, or ends it. */
export class Tour {
  /**
   * @param {PictureView} view
   * @param {Autoplay} autoplay which rests meanwhile
   * @param {HTMLElement} place contains #tour, and #tour-start to take it again
   * @param {() => object | null} front what to say of the picture that is shown
   */
  constructor(view, autoplay, place, front) {
    Object.assign(this, { view, autoplay, place, front, index: 0 });
    const find = (id) => place.querySelector(`#${id}`);
    this.fields = { text: find("tour-text"), count: find("tour-count"), dots: find("tour-dots") };
    this.buttons = { back: find("tour-back"), next: find("tour-next"), end: find("tour-end"), start: find("tour-start") };
    this.photo = document.querySelector("#photo");
    this.moves = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.listen();
  }

  get running() {
    return this.place.classList.contains("touring");
  }

  listen() {
    const { back, next, end, start } = this.buttons;
    back.addEventListener("click", () => this.goByHand(this.index - 1));
    next.addEventListener("click", () => {
      if (this.steps[this.index].photo) this.photo.click();
      else this.goByHand(this.index + 1);
    });
    end.addEventListener("click", () => this.end());
    start.addEventListener("click", () => {
      this.start();
      next.focus();
    });
    this.place.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.running) this.end();
    });
    this.view.addEventListener("shown", () => {
      if (!this.running || !this.view.map) return;
      this.describe();
      if (!this.handedOver) this.show();
    });
    for (const press of ["pointerdown", "keydown"]) {
      document.querySelector("#compare").addEventListener(press, () => this.stopTimers());
    }
    this.view.addEventListener("point", ({ detail }) => {
      if (this.running && detail.by !== "program") this.pause();
    });
  }

  start() {
    this.place.classList.add("touring");
    this.autoplay.pause();
    this.view.setPins([]);
    this.playing = this.moves;
    this.goTo(0);
  }

  /** The visitor has taken over: the sentence stays, and nothing moves. */
  pause() {
    if (this.handedOver) return;
    this.handedOver = true;
    this.playing = false;
    this.rest();
  }

  end() {
    const focused = this.place.contains(document.activeElement);
    this.rest();
    this.place.classList.remove("touring");
    this.autoplay.stop();
    if (focused) this.buttons.start.focus();
    try {
      localStorage.setItem(STORAGE_KEY, "seen");
    } catch {
      // Storage is blocked: the tour starts again next time.
    }
  }

  goByHand(index) {
    this.playing = false;
    this.fields.text.setAttribute("aria-live", "polite"); // read aloud, unlike steps that come by themselves
    this.goTo(index);
  }

  goTo(index) {
    this.index = index;
    this.handedOver = false; // the picture is the tour's again, until the visitor points at it
    if (!this.view.map) return; // "shown" will follow
    this.describe();
    this.show();
  }

  stopTimers() {
    clearTimeout(this.timer);
    clearTimeout(this.revealer);
    clearInterval(this.blinker);
  }

  /** Nothing of a step but its point stays. */
  rest() {
    this.stopTimers();
    this.view.only = null;
    this.view.compare(false);
  }

  /** The step in words; another picture or layer may have other words, and fewer steps. */
  describe() {
    const { view, fields, buttons } = this;
    // What is said of a model's front view was seen in the map of its first layer.
    const front = view.map === view.payload.maps[0] ? this.front() : null;
    this.steps = tourSteps(view, front, this.photo !== null);
    this.index = Math.min(this.index, this.steps.length - 1);
    const step = this.steps[this.index];
    const last = this.index === this.steps.length - 1;
    fields.text.textContent = step.text;
    fields.count.textContent = `Step ${this.index + 1} of ${this.steps.length}`;
    fields.dots.replaceChildren(...this.steps.map((_, index) => {
      return Object.assign(document.createElement("i"), { className: index === this.index ? "here" : "" });
    }));
    buttons.back.disabled = this.index === 0;
    buttons.next.hidden = last && !step.photo;
    buttons.next.textContent = step.photo ? "Your picture" : "Next";
    buttons.end.textContent = last ? "Done" : "Skip";
  }

  /** The step on the picture. */
  show() {
    const { view } = this;
    const step = this.steps[this.index];
    this.stopTimers();
    // The page opens with a region that glows, and takes it away when that has been seen.
    const reveal = () => {
      view.only = step.only ?? null;
      view.compare(step.blink === true);
    };
    view.only = null;
    view.point(step.at);
    view.compare(false);
    if (!this.playing || step.blink) reveal();
    else this.revealer = setTimeout(reveal, REVEAL_TIME);
    if (!this.playing) return;
    if (step.blink) this.blinker = setInterval(() => view.compare(!view.comparing), BLINK_TIME);
    const next = this.index + 1;
    if (next < this.steps.length) this.timer = setTimeout(() => this.goTo(next), STEP_TIME);
  }
}

/** Whether this browser has shown the tour to its end. */
export function tourWasSeen() {
  try {
    return localStorage.getItem(STORAGE_KEY) !== null;
  } catch {
    return false;
  }
}
