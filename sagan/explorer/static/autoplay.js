// Until the visitor takes over, the page shows by itself what there is to see.

import { pixelOf } from "sagan/grid.js";

const PERIOD = 1800; // milliseconds at each point

/** Moves a view's point over the map's highlights until `stop`; stays at one if motion is unwanted. */
export class Autoplay {
  /** @param {PictureView} view */
  constructor(view) {
    this.view = view;
    this.count = 0;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    view.addEventListener("shown", () => this.next());
    view.addEventListener("point", ({ detail }) => {
      if (detail.by !== "program") this.stop();
    });
    this.timer = still ? null : setInterval(() => this.next(), PERIOD);
    view.element.classList.add("autoplaying");
  }

  next() {
    const { map, payload } = this.view;
    if (this.stopped || this.paused || !map) return;
    const query = map.highlights[this.count++ % map.highlights.length];
    this.view.point(pixelOf(query, payload.size, map.queries));
  }

  /** Rest, while something else moves the point. */
  pause() {
    this.paused = true;
    this.view.element.classList.remove("autoplaying");
  }

  stop() {
    this.stopped = true;
    clearInterval(this.timer);
    this.view.element.classList.remove("autoplaying");
  }
}
