// The served page: what is drawn follows the controls, and the address follows both.

import { hashOf, viewOf } from "sagan/address.js";
import { fillChips } from "sagan/choice.js";
import { difference, paint } from "sagan/compose.js";
import { copyLink } from "sagan/copying.js";
import { Gallery } from "sagan/gallery.js";
import { Scene, unpack } from "sagan/scene.js";
import { showScores } from "sagan/scores.js";
import { ask, latest, send } from "sagan/server.js";
import { makeViewer, tell } from "sagan/viewer.js";

const $ = (selector) => document.querySelector(selector);
const facts = JSON.parse($("#facts").textContent);
const view = viewOf(location.hash);
const { lens, tour } = makeViewer(facts);
const gallery = new Gallery($("#gallery"), facts.gallery);
let photo = null; // the scene of the visitor's own picture while that is looked at

// What the server is asked.

const ofGallery = () => ({ seed: view.seed, label: view.label, truncation: view.truncation });
const ofSample = (index) => ({ ...ofGallery(), index });
const strengthened = () => (view.gamma === 1 ? {} : { gamma: view.gamma });
const ofView = () => {
  const way = view.blend ? { toward: view.toward, blend: view.blend } : {};
  return { ...ofSample(view.index), ...strengthened(), ...way };
};
const className = (label) => facts.classes[label] ?? null;
const labelAt = (index) => view.label ?? (facts.classes.length ? index % facts.classes.length : null);

/** Errors are told, not thrown: the page goes on with what it has. */
const telling = (work) => async (...args) => {
  try {
    await work(...args);
  } catch (error) {
    tell(error.message);
  }
};

const drawGallery = latest(telling(async () => {
  const { pictures } = unpack(await ask("gallery", ofGallery())).tensors;
  const [num, size] = pictures.shape;
  const bytes = 3 * size * size;
  gallery.show(Array.from({ length: num }, (_, index) => {
    const kind = className(labelAt(index));
    const picture = pictures.data.subarray(index * bytes, (index + 1) * bytes);
    return { picture, size, label: `Sample ${index + 1}${kind ? `, ${kind}` : ""}` };
  }));
  gallery.mark(photo ? null : view.index);
}));

const drawSample = latest(telling(async () => {
  const scene = new Scene(await ask("sample", ofView()));
  if (!photo) show(scene, className(scene.label) ?? `sample ${view.index + 1}`);
}));

const drawEnds = latest(telling(async () => {
  const other = { ...ofSample(view.index), seed: view.toward, label: labelAt(view.index) };
  const [start, end] = await Promise.all([ask("sample", ofSample(view.index)), ask("sample", other)]);
  for (const [buffer, canvas] of [[start, $("#way-start")], [end, $("#way-end canvas")]]) {
    const scene = new Scene(buffer);
    paint(canvas, scene.picture, scene.size);
  }
}));

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

function remember() {
  if (!lens.scene) return; // the points of the address are not there yet
  const [at, pins] = [tour.stopped ? lens.at : null, lens.pins.map((pin) => pin.at)];
  const hash = hashOf({ ...view, layer: lens.layer, at, pins });
  if (hash !== location.hash) history.replaceState(null, "", hash || location.pathname);
}

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
  showControls();
  for (const draw of draws) draw();
}

// Controls.

let strength = view.gamma || 1; // what the switch turns back on
const everything = [drawGallery, drawSample, drawEnds];

gallery.addEventListener("select", ({ detail }) => {
  change({ index: detail.index, blend: 0 }, drawSample, drawEnds);
});
gallery.element.addEventListener("pointerover", ({ target }) => {
  const index = gallery.buttons.indexOf(target.closest("button"));
  if (index >= 0) ask("sample", { ...ofSample(index), ...strengthened() }).catch(() => {});
});
$("#seed").addEventListener("change", ({ target }) => {
  const seed = Math.min(Math.max(Math.trunc(Number(target.value)) || 0, 0), 2 ** 32 - 1);
  change({ seed, toward: (seed + 1) % 2 ** 32, blend: 0 }, ...everything);
});
$("#reseed").addEventListener("click", () => {
  const seed = Math.floor(Math.random() * 1e6);
  change({ seed, toward: seed + 1, blend: 0 }, ...everything);
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
$("#copy-link").addEventListener("click", async () => tell(await copyLink()));

if (facts.classes.length) {
  const options = [{ value: "", label: "all classes" }];
  facts.classes.forEach((label, value) => options.push({ value: String(value), label }));
  const check = fillChips($("#classes"), options, (value) => {
    change({ label: value === "" ? null : Number(value), blend: 0 }, ...everything);
  });
  check(view.label === null ? "" : String(view.label));
} else {
  $("#classes").remove();
  view.label = null;
}

// The visitor's own picture.

const lookAt = telling(async (file) => {
  photo = new Scene(await send(file));
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

// Start: the view that the address holds, as far as there is such a class and such pixels.

if (!(view.label < facts.classes.length)) view.label = null;
lens.layer = view.layer;
lens.addEventListener("scene", restorePoints, { once: true });
lens.addEventListener("point", remember);
lens.addEventListener("scene", remember);
showControls();
showScores($("#scores"), Array(facts.classes.length || 1).fill(0), facts.classes, null);
for (const draw of everything) draw();
if ($("#training")) import("sagan/training.js").then(({ initialise }) => initialise());
document.documentElement.classList.add("ready");

function restorePoints() {
  const inside = (at) => at !== null && Math.max(...at) < facts.size;
  if (inside(view.at) || view.pins.length) tour.stop();
  for (const at of view.pins.filter(inside)) lens.pin(at);
  if (inside(view.at)) lens.point(view.at);
}
