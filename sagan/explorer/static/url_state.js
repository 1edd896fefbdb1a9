// The state of the page in the URL's fragment. Values that make no sense are ignored.

const DEFAULTS = {
  seed: 0, label: null, truncation: 1, index: 0, toward: null, blend: 0, gamma: 1,
  layer: null, at: null, pins: [], moves: [],
};

const MAX_MOVE = 5; // along a direction

const number = (low, high) => (text) => {
  const value = Number(text);
  return text.trim() !== "" && value >= low && value <= high ? value : undefined;
};
const integer = (low, high) => (text) => {
  const value = number(low, high)(text);
  return Number.isInteger(value) ? value : undefined;
};
const pixel = (text) => {
  const match = /^(\d{1,4}),(\d{1,4})$/.exec(text);
  return match ? [Number(match[1]), Number(match[2])] : undefined;
};
const PARSERS = {
  seed: integer(0, 2 ** 32 - 1),
  label: integer(0, 2 ** 31 - 1),
  truncation: number(0, 1.5),
  index: integer(0, 23),
  toward: integer(0, 2 ** 32 - 1),
  blend: integer(0, 64),
  gamma: number(0, 3),
  layer: (text) => text,
  at: pixel,
  pins: (text) => text.split(";").map(pixel).filter(Boolean),
  moves: (text) => {
    const moves = text.split(",").map(number(-MAX_MOVE, MAX_MOVE));
    return moves.includes(undefined) ? undefined : moves;
  },
};

/** The seed to interpolate toward unless another one is chosen. */
export const nextSeed = (seed) => (seed + 1) % 2 ** 32;

/** "#seed=3&pins=4,5;8,9" -> the whole state. */
export function parseState(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const state = { ...DEFAULTS };
  for (const [name, parse] of Object.entries(PARSERS)) {
    const value = given.has(name) ? parse(given.get(name)) : undefined;
    if (value !== undefined) state[name] = value;
  }
  state.toward ??= nextSeed(state.seed);
  return state;
}

/**
 * The state -> "#...", with the values that differ from the defaults.
 *
 * @param {object} state
 * @param {string} front the view that the page opens with when its URL says nothing; "" for the defaults
 */
export function formatState(state, front = "") {
  const defaults = { ...DEFAULTS, toward: nextSeed(state.seed) };
  const parts = Object.keys(DEFAULTS)
    .filter((name) => String(state[name]) !== String(defaults[name]))
    .map((name) => `${name}=${name === "pins" ? state.pins.join(";") : state[name]}`);
  if (!parts.length && front) parts.push(`seed=${state.seed}`);
  return parts.length ? `#${parts.join("&")}` : "";
}
