// Until somebody touches the picture it shows by itself what there is to see.

const PERIOD = 1800; // milliseconds at one point

/** Wander over a lens's points worth a look until `stop`; where motion is unwelcome, show one. */
export class Tour {
  /** @param {Lens} lens */
  constructor(lens) {
    this.lens = lens;
    this.stops = 0;
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    lens.addEventListener("scene", () => this.next());
    lens.addEventListener("point", ({ detail }) => {
      if (detail.by !== "program") this.stop();
    });
    this.timer = this.still ? null : setInterval(() => this.next(), PERIOD);
    lens.element.classList.add("touring");
  }

  next() {
    const { map, scene } = this.lens;
    if (this.stopped || !map) return;
    const query = map.tour[this.stops++ % map.tour.length];
    const cell = scene.size / map.side;
    const pixel = (index) => Math.floor((index + 0.5) * cell);
    this.lens.point([pixel(query % map.side), pixel(Math.floor(query / map.side))]);
  }

  stop() {
    this.stopped = true;
    clearInterval(this.timer);
    this.lens.element.classList.remove("touring");
  }
}
