// The view as the part of the address behind #, and back. What makes no sense is left at its start.

const START = {
  seed: 0, label: null, truncation: 1, index: 0, toward: null, blend: 0, gamma: 1,
  layer: null, at: null, pins: [],
};

const within = (low, high, whole) => (text) => {
  const value = Number(text);
  const sound = text.trim() !== "" && value >= low && value <= high;
  return sound && (!whole || Number.isInteger(value)) ? value : undefined;
};
const pixel = (text) => {
  const match = /^(\d{1,4}),(\d{1,4})$/.exec(text);
  return match ? [Number(match[1]), Number(match[2])] : undefined;
};
const READERS = {
  seed: within(0, 2 ** 32 - 1, true),
  label: within(0, 2 ** 31 - 1, true),
  truncation: within(0, 1.5),
  index: within(0, 23, true),
  toward: within(0, 2 ** 32 - 1, true),
  blend: within(0, 64, true),
  gamma: within(0, 3),
  layer: (text) => text,
  at: pixel,
  pins: (text) => text.split(";").map(pixel).filter(Boolean),
};

/** The seed that the way from a picture leads to, if no other is named. */
export const following = (seed) => (seed + 1) % 2 ** 32;

/** "#seed=3&pins=4,5;8,9" -> the whole view. */
export function viewOf(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const view = { ...START };
  for (const [name, read] of Object.entries(READERS)) {
    const value = given.has(name) ? read(given.get(name)) : undefined;
    if (value !== undefined) view[name] = value;
  }
  view.toward ??= following(view.seed);
  return view;
}

/** The view -> "#...", holding what differs from the start. */
export function hashOf(view) {
  const start = { ...START, toward: following(view.seed) };
  const parts = Object.keys(START)
    .filter((name) => String(view[name]) !== String(start[name]))
    .map((name) => `${name}=${name === "pins" ? view.pins.join(";") : view[name]}`);
  return parts.length ? `#${parts.join("&")}` : "";
}
