// The served page: what is drawn follows the controls, and the address follows both.

import { following, hashOf, viewOf } from "sagan/url_state.js";
import { fillChips, fillSelect } from "sagan/controls.js";
import { difference, paint } from "sagan/compose.js";
import { copyLink } from "sagan/clipboard.js";
import { Gallery } from "sagan/gallery.js";
import { Scene, unpack } from "sagan/payload.js";
import { showScores } from "sagan/scores.js";
import { ask, latest, send } from "sagan/server.js";
import { makeViewer, tell } from "sagan/viewer.js";

const REST = 300; // milliseconds without a change, after which the address follows: browsers ration that
const DWELL = 120; // milliseconds over a small picture, after which it is fetched
const MANY = 40; // classes, from where on they are a list that opens

const $ = (selector) => document.querySelector(selector);
const facts = JSON.parse($("#facts").textContent);
const view = viewOf(location.hash);
if (!(view.label < facts.classes.length)) view.label = null;
const { lens, tour } = makeViewer(facts);
const gallery = new Gallery($("#gallery"), facts.gallery);
let photo = null; // the scene of the visitor's own picture while that is looked at
let wishes = 0; // how often another picture was asked for: an upload that is overtaken is not shown

// What the server is asked.

const ofGallery = () => ({ seed: view.seed, label: view.label, truncation: view.truncation });
const ofSample = (index) => ({ ...ofGallery(), index });
const strengthened = () => (view.gamma === 1 ? {} : { gamma: view.gamma });
const ofView = () => {
  const way = view.blend ? { toward: view.toward, blend: view.blend } : {};
  return { ...ofSample(view.index), ...strengthened(), ...way };
};
const className = (label) => facts.classes[label] ?? null;

/** Errors are told, not thrown: the page goes on with what it has. */
const telling = (work) => async (...args) => {
  try {
    await work(...args);
  } catch (error) {
    tell(error.message);
  }
};

async function galleryPictures() {
  const { shape: [num, size], data } = unpack(await ask("gallery", ofGallery())).tensors.pictures;
  const bytes = 3 * size * size;
  return Array.from({ length: num }, (_, index) => {
    return { picture: data.subarray(index * bytes, (index + 1) * bytes), size };
  });
}

const drawGallery = latest(telling(async () => {
  const { label } = view; // as it is asked for: it may be another when the answer comes
  const pictures = await galleryPictures();
  gallery.show(pictures.map((picture, index) => {
    const kind = className(label ?? (facts.classes.length ? index % facts.classes.length : null));
    return { ...picture, label: `Sample ${index + 1}${kind ? `, ${kind}` : ""}` };
  }));
}));

const drawSample = latest(telling(async () => {
  const { index } = view;
  const scene = new Scene(await ask("sample", ofView()), facts.gammas);
  if (!photo) show(scene, className(scene.label) ?? `sample ${index + 1}`);
}));

/** The way's start is in the gallery; its end is what the slider will ask for there. */
const drawEnds = latest(telling(async () => {
  const { index, toward } = view;
  const [pictures, buffer] = await Promise.all([
    galleryPictures(),
    ask("sample", { ...ofSample(index), toward, blend: Number($("#blend").max) }),
  ]);
  const [start, end] = [pictures[index], new Scene(buffer, facts.gammas)];
  paint($("#way-start"), start.picture, start.size);
  paint($("#way-end canvas"), end.picture, end.size);
}));

const foresee = latest((index) => ask("sample", { ...ofSample(index), ...strengthened() }).catch(() => {}));

function show(scene, title) {
  lens.show(scene, title);
  showScores($("#scores"), scene.scores, facts.classes, scene.label);
  if (!scene.without) return;
  paint($("#without"), scene.without, scene.size);
  const { picture, gain } = difference(scene.picture, scene.without);
  paint($("#difference"), picture, scene.size);
  $("#difference-title").textContent = `what it adds${gain > 1 ? ` (× ${gain})` : ""}`;
}

// What the view is, on the controls and in the address.

/** The page's address with all that it shows. */
function address() {
  const [at, pins] = [tour.stopped ? lens.at : null, lens.pins.map((pin) => pin.at)];
  return location.origin + location.pathname + hashOf({ ...view, layer: lens.layer, at, pins });
}

let resting = null;

function remember() {
  if (!lens.scene) return; // the points of the address are not there yet
  clearTimeout(resting);
  resting = setTimeout(() => {
    try {
      if (address() !== location.href) history.replaceState(null, "", address());
    } catch {
      // The browser's ration is used up: the next change tries again.
    }
  }, REST);
}

// A link that is pasted into the open page.
addEventListener("hashchange", () => {
  clearTimeout(resting);
  location.reload();
});

function showControls() {
  $("#seed").value = view.seed;
  $("#truncation").value = view.truncation;
  $("#truncation-value").textContent = view.truncation.toFixed(2);
  $("#gamma").value = view.gamma;
  $("#gamma-value").textContent = view.gamma.toFixed(2);
  $("#attention").checked = view.gamma !== 0;
  $("#blend").value = view.blend;
  gallery.mark(photo ? null : view.index);
  $("#drop").classList.toggle("chosen", photo !== null);
  document.documentElement.classList.toggle("of-photo", photo !== null);
  for (const control of document.querySelectorAll("#strength input, #blend, #way-end")) {
    control.disabled = photo !== null;
  }
  remember();
}

/** Change the view and draw what depends on it. */
function change(changes, ...draws) {
  Object.assign(view, changes);
  photo = null;
  wishes++;
  showControls();
  for (const draw of draws) draw();
}

// Controls.

let strength = view.gamma || 1; // what the switch turns back on
const everything = [drawGallery, drawSample, drawEnds];

gallery.addEventListener("select", ({ detail }) => {
  change({ index: detail.index, blend: 0 }, drawSample, drawEnds);
});
let dwelling = null;
gallery.element.addEventListener("pointerover", ({ target }) => {
  clearTimeout(dwelling);
  const index = gallery.buttons.indexOf(target.closest("button"));
  if (index >= 0) dwelling = setTimeout(() => foresee(index), DWELL);
});
gallery.element.addEventListener("pointerleave", () => clearTimeout(dwelling));
$("#seed").addEventListener("change", ({ target }) => {
  const seed = Math.min(Math.max(Math.trunc(Number(target.value)) || 0, 0), 2 ** 32 - 1);
  change({ seed, toward: following(seed), blend: 0 }, ...everything);
});
$("#reseed").addEventListener("click", () => {
  const seed = Math.floor(Math.random() * 1e6);
  change({ seed, toward: following(seed), blend: 0 }, ...everything);
});
$("#truncation").addEventListener("input", ({ target }) => {
  change({ truncation: Number(target.value) }, ...everything);
});
$("#blend").addEventListener("input", ({ target }) => {
  change({ blend: Number(target.value) }, drawSample);
});
$("#way-end").addEventListener("click", () => {
  change({ toward: Math.floor(Math.random() * 1e6) }, drawSample, drawEnds);
});
$("#gamma").addEventListener("input", ({ target }) => {
  strength = Number(target.value) || strength;
  change({ gamma: Number(target.value) }, drawSample);
});
$("#attention").addEventListener("change", ({ target }) => {
  change({ gamma: target.checked ? strength : 0 }, drawSample);
});
$("#copy-link").addEventListener("click", async () => tell(await copyLink(address())));

if (facts.classes.length) {
  const options = [{ value: "", label: "all classes" }];
  facts.classes.forEach((label, value) => options.push({ value: String(value), label }));
  const fill = facts.classes.length > MANY ? fillSelect : fillChips;
  const check = fill($("#classes"), options, (value) => {
    change({ label: value === "" ? null : Number(value), blend: 0 }, ...everything);
  });
  check(view.label === null ? "" : String(view.label));
} else $("#classes").remove();

// The visitor's own picture.

const lookAt = telling(async (file) => {
  const wish = ++wishes;
  const scene = new Scene(await send(file), facts.gammas);
  if (wish !== wishes) return;
  photo = scene;
  paint($("#photo-picture"), photo.picture, photo.size);
  show(photo, "your picture");
  showControls();
});

$("#photo").addEventListener("change", async ({ target }) => {
  if (target.files.length) await lookAt(target.files[0]);
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
  if (file) lookAt(file);
});

// Start: the view that the address holds, as far as there are such pixels.

lens.layer = view.layer;
lens.addEventListener("scene", restorePoints, { once: true });
lens.addEventListener("point", remember);
lens.addEventListener("scene", remember);
showControls();
showScores($("#scores"), Array(facts.classes.length || 1).fill(0), facts.classes, null);
for (const draw of everything) draw();
// Before the page is shown: a click on a tab that does not work yet would be lost.
if ($("#training")) (await import("sagan/training.js")).initialize();
document.documentElement.classList.add("ready");

function restorePoints() {
  const inside = (at) => at !== null && Math.max(...at) < facts.size;
  if (inside(view.at) || view.pins.length) tour.stop();
  lens.setPins(view.pins.filter(inside));
  if (inside(view.at)) lens.point(view.at);
}
