// The page: what is drawn follows the controls, and the URL follows both. Where the numbers come
// from is the engine's business: a server, or networks in this browser.

import { copyLink } from "sagan/clipboard.js";
import { paint } from "sagan/compose.js";
import { fillChips, fillSelect } from "sagan/controls.js";
import { initializeDirections } from "sagan/directions.js";
import { Gallery } from "sagan/gallery.js";
import { contains } from "sagan/grid.js";
import { latestOnly } from "sagan/latest_only.js";
import { Projection } from "sagan/projection.js";
import { showScores } from "sagan/scores.js";
import { formatState, nextSeed, parseState } from "sagan/url_state.js";
import { makeViewer, showToast } from "sagan/viewer.js";

const URL_DELAY = 300; // milliseconds without a change before the URL follows: browsers limit that
const HOVER_DELAY = 120; // milliseconds over a gallery image before its sample is fetched
const MAX_CHIPS = 40; // classes; more of them are a drop-down list

const $ = (selector) => document.querySelector(selector);

/**
 * @typedef {object} Query a sample: `seed` and `index` give its latents, on the way to those of
 *   seed `toward` if there is a `blend`; without a `label`, classes take turns; `gamma` is 1 if absent;
 *   `moves` are along the model's directions
 * @typedef {object} Engine where the numbers come from
 * @property {(query: Query, signal: AbortSignal) => Promise<{image: Uint8Array, size: {width: number, height: number}}>} image
 * @property {(query: Query) => Promise<Payload>} sample the image with its maps
 * @property {(file: File) => Promise<Payload>} photo
 * @property {Function} [project] the sample nearest to a photo: see server.js
 */

/**
 * Make the page work.
 *
 * @param {Engine} engine
 * @param {object} facts what is known of the model: name, classes, size, gallery, gammas
 */
export function explore(engine, facts) {
  const state = parseState(location.hash || facts.front);
  if (!(state.label < facts.classes.length)) state.label = null;
  state.moves = state.moves.slice(0, document.querySelectorAll("#directions input").length);
  const { view, autoplay } = makeViewer(facts, () => (isFront() ? facts.tour : null));
  const gallery = new Gallery($("#gallery"), facts.gallery);
  let photo = null; // the payload of the visitor's own picture, or of the sample nearest to it, while shown
  let choices = 0; // counts what the visitor chose, so that a slow upload does not replace a later choice

  // Requests.

  const galleryQuery = () => ({ seed: state.seed, label: state.label, truncation: state.truncation });
  const sampleQuery = (index) => ({ ...galleryQuery(), index });
  const gammaQuery = () => (state.gamma === 1 ? {} : { gamma: state.gamma });
  const movesQuery = () => (state.moves.length ? { moves: state.moves } : {});
  const stateQuery = () => {
    const interpolation = state.blend ? { toward: state.toward, blend: state.blend } : {};
    return { ...sampleQuery(state.index), ...gammaQuery(), ...movesQuery(), ...interpolation };
  };
  const className = (label) => facts.classes[label] ?? null;

  /** Whether the sample is the one that the page of this model opens with. */
  const isFront = () => {
    const given = parseState(facts.front);
    const same = ["seed", "index", "label", "truncation", "gamma", "blend"].every((name) => state[name] === given[name]);
    return !photo && facts.front !== "" && !state.moves.length && same;
  };

  /** Report errors instead of throwing them: the page keeps what it shows. */
  const reportingErrors = (work) => async (...args) => {
    try {
      await work(...args);
    } catch (error) {
      if (error.name !== "AbortError") showToast(error.message);
    }
  };

  let galleryAbort = new AbortController(); // for images that are no longer shown

  const fillGallery = latestOnly(reportingErrors(async () => {
    const { label } = state; // of the request: it may have changed when the images arrive
    const { signal } = galleryAbort;
    await Promise.all(gallery.buttons.map(async (_, index) => {
      const image = await engine.image(sampleQuery(index), signal);
      const name = className(label ?? (facts.classes.length ? index % facts.classes.length : null));
      gallery.show(index, image, `Sample ${index + 1}${name ? `, ${name}` : ""}`);
    }));
  }));

  function drawGallery() {
    galleryAbort.abort();
    galleryAbort = new AbortController();
    fillGallery();
  }

  const drawSample = latestOnly(reportingErrors(async () => {
    const { index } = state;
    const payload = await view.waitFor(engine.sample(stateQuery()));
    if (!photo) view.show(payload, className(payload.label) ?? `sample ${index + 1}`);
  }));

  /** The interpolation starts at the gallery's image and ends at what the slider requests there. */
  const drawInterpolationEnds = latestOnly(reportingErrors(async () => {
    const query = sampleQuery(state.index);
    const ends = [
      ["#interpolation-start", query],
      ["#interpolation-end canvas", { ...query, toward: state.toward, blend: Number($("#blend").max) }],
    ];
    await Promise.all(ends.map(async ([canvas, end]) => {
      const { image, size } = await engine.image(end, galleryAbort.signal);
      paint($(canvas), image, size);
    }));
  }));

  const prefetch = latestOnly((index) => {
    return engine.sample({ ...sampleQuery(index), ...gammaQuery(), ...movesQuery() }).catch(() => {});
  });

  // The state, in the controls and in the URL.

  /** The page's URL with everything it shows. */
  function currentUrl() {
    const [at, pins] = [autoplay.stopped ? view.at : null, view.pins.map((pin) => pin.at)];
    return location.origin + location.pathname + formatState({ ...state, layer: view.layer, at, pins }, facts.front);
  }

  let urlTimer = null;

  function updateUrl() {
    if (!view.payload) return; // the URL's point and pins have not been restored yet
    clearTimeout(urlTimer);
    urlTimer = setTimeout(() => {
      try {
        if (currentUrl() !== location.href) history.replaceState(null, "", currentUrl());
      } catch {
        // The browser's limit is reached: the next change tries again.
      }
    }, URL_DELAY);
  }

  // A link was pasted into the open page.
  addEventListener("hashchange", () => {
    clearTimeout(urlTimer);
    location.reload();
  });

  function showState() {
    $("#seed").value = state.seed;
    $("#truncation").value = state.truncation;
    $("#truncation-value").textContent = state.truncation.toFixed(2);
    $("#gamma").value = state.gamma;
    $("#gamma-value").textContent = state.gamma.toFixed(2);
    $("#attention").checked = state.gamma !== 0;
    $("#blend").value = state.blend;
    showMoves(state.moves, photo !== null);
    gallery.mark(photo ? null : state.index);
    $("#drop").classList.toggle("chosen", photo !== null);
    document.documentElement.classList.toggle("own-picture", photo !== null);
    document.documentElement.classList.toggle("of-photo", photo !== null && !photo.withoutAttention);
    for (const control of document.querySelectorAll("#strength input, #blend, #interpolation-end")) {
      control.disabled = photo !== null;
    }
    updateUrl();
  }

  /** Change the state and draw the parts that depend on it. */
  function change(changes, ...draws) {
    Object.assign(state, changes);
    photo = null;
    choices++;
    showState();
    for (const draw of draws) draw();
  }

  // Controls.

  let lastGamma = state.gamma || 1; // restored when attention is switched on again
  const allParts = [drawGallery, drawSample, drawInterpolationEnds];

  gallery.addEventListener("select", ({ detail }) => {
    change({ index: detail.index, blend: 0 }, drawSample, drawInterpolationEnds);
  });
  let hoverTimer = null;
  gallery.element.addEventListener("pointerover", ({ target }) => {
    clearTimeout(hoverTimer);
    const index = gallery.buttons.indexOf(target.closest("button"));
    if (index >= 0) hoverTimer = setTimeout(() => prefetch(index), HOVER_DELAY);
  });
  gallery.element.addEventListener("pointerleave", () => clearTimeout(hoverTimer));
  $("#seed").addEventListener("change", ({ target }) => {
    const seed = Math.min(Math.max(Math.trunc(Number(target.value)) || 0, 0), 2 ** 32 - 1);
    change({ seed, toward: nextSeed(seed), blend: 0 }, ...allParts);
  });
  $("#reseed").addEventListener("click", () => {
    const seed = Math.floor(Math.random() * 1e6);
    change({ seed, toward: nextSeed(seed), blend: 0 }, ...allParts);
  });
  $("#truncation").addEventListener("input", ({ target }) => {
    change({ truncation: Number(target.value) }, ...allParts);
  });
  $("#blend").addEventListener("input", ({ target }) => {
    change({ blend: Number(target.value) }, drawSample);
  });
  $("#interpolation-end").addEventListener("click", () => {
    change({ toward: Math.floor(Math.random() * 1e6) }, drawSample, drawInterpolationEnds);
  });
  $("#gamma").addEventListener("input", ({ target }) => {
    lastGamma = Number(target.value) || lastGamma;
    change({ gamma: Number(target.value) }, drawSample);
  });
  $("#attention").addEventListener("change", ({ target }) => {
    change({ gamma: target.checked ? lastGamma : 0 }, drawSample);
  });
  const showMoves = initializeDirections($("#directions"), (moves) => change({ moves }, drawSample));
  $("#copy-link").addEventListener("click", async () => showToast(await copyLink(currentUrl())));

  if (facts.classes.length) {
    const options = [{ value: "", label: "all classes" }];
    facts.classes.forEach((label, value) => options.push({ value: String(value), label }));
    const fill = facts.classes.length > MAX_CHIPS ? fillSelect : fillChips;
    const check = fill($("#classes"), options, (value) => {
      change({ label: value === "" ? null : Number(value), blend: 0 }, ...allParts);
    });
    check(state.label === null ? "" : String(state.label));
  } else $("#classes").remove();

  // The visitor's own picture.

  const showPhoto = reportingErrors(async (file) => {
    const choice = ++choices;
    const payload = await view.waitFor(engine.photo(file));
    if (choice !== choices) return;
    paint($("#photo-preview"), payload.image, payload.size);
    showOwn(payload, "your picture");
    projection?.offer(file, payload);
  });

  function showOwn(payload, title) {
    choices++;
    photo = payload;
    view.show(photo, title);
    showState();
  }

  const projection = $("#projection") && new Projection($("#projection"), engine, showOwn, () => choices);

  $("#photo").addEventListener("change", async ({ target }) => {
    if (target.files.length) await showPhoto(target.files[0]);
    target.value = "";
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.documentElement.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.documentElement.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.documentElement.classList.remove("dropping");
    const [file] = event.dataTransfer.files;
    if (file) showPhoto(file);
  });

  // Start with the URL's state. Its pixels are restored once the image's size is known.

  view.layer = state.layer;
  view.addEventListener("shown", restorePoints, { once: true });
  view.addEventListener("point", updateUrl);
  view.addEventListener("shown", updateUrl);
  showState();
  showScores($("#scores"), Array(facts.classes.length || 1).fill(0), facts.classes, null);
  for (const draw of allParts) draw();

  function restorePoints() {
    const inside = (at) => at !== null && contains(facts.size, at);
    if (location.hash && (inside(state.at) || state.pins.length)) autoplay.stop();
    view.setPins(state.pins.filter(inside));
    if (inside(state.at)) view.point(state.at);
  }
}
