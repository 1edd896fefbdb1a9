// The exported page: samples and maps are in the file itself, and no request is made.

import { paint } from "sagan/compose.js";
import { Gallery } from "sagan/gallery.js";
import { latestOnly } from "sagan/latest_only.js";
import { dataStart, decodePayload, headerOf, sizeOf } from "sagan/payload.js";
import { makeViewer } from "sagan/viewer.js";

const $ = (selector) => document.querySelector(selector);
const facts = JSON.parse($("#facts").textContent);
const state = { index: 0, gamma: 1, blend: 0 };
const isFront = () => state.index === 0 && state.gamma === 1 && state.blend === 0;
const { view } = makeViewer(facts, () => (isFront() ? facts.tour : null));
const blocks = [...document.querySelectorAll("script.payload")].map((script) => script.textContent);
const previews = blocks.map(preview);
const gallery = new Gallery($("#gallery"), blocks.length);

/** Bytes `start` to `stop` of what `base64` encodes, ArrayBuffer. */
function bytesOf(base64, start = 0, stop = (3 * base64.length) / 4) {
  const first = Math.floor(start / 3); // three bytes are four letters
  const letters = atob(base64.slice(4 * first, 4 * Math.ceil(stop / 3)));
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes.buffer.slice(start - 3 * first, stop - 3 * first);
}

/** What the gallery shows of a payload; its maps, which are many times as large, are not decoded. */
function preview(base64, index) {
  const start = dataStart(bytesOf(base64, 0, 8));
  const { entries, metadata } = headerOf(bytesOf(base64, 0, start));
  const [from, to] = entries.image.data_offsets.map((offset) => start + offset);
  return {
    image: new Uint8Array(bytesOf(base64, from, to)),
    size: sizeOf(entries.image.shape),
    isSample: "without_attention" in entries,
    label: facts.classes[metadata.label] ?? `picture ${index + 1}`,
  };
}

/** The same latents at another strength of attention, or others on the way to another picture. */
async function variantOf({ index, gamma, blend }, base) {
  const kept = document.querySelector(`.variant[data-of="${index}"][data-gamma="${gamma}"][data-blend="${blend}"]`);
  const deflated = new Blob([bytesOf(kept.textContent)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const payload = decodePayload(await new Response(deflated).arrayBuffer(), facts.gammas);
  if (blend) return payload;
  // A map that does not depend on the strength is in the file only once.
  const unchanged = base.maps.filter(({ name }) => facts.unchangedMaps.includes(name));
  return { ...payload, withoutAttention: base.withoutAttention, maps: [...unchanged, ...payload.maps] };
}

const show = latestOnly(async () => {
  const { index } = state; // it may have changed when a variant is unpacked
  const base = decodePayload(bytesOf(blocks[index]), facts.gammas);
  const payload = isVariant() ? await variantOf(state, base) : base;
  view.show(payload, previews[index].label);
});

const isVariant = () => state.gamma !== 1 || state.blend !== 0;

function change(changes) {
  Object.assign(state, changes);
  const { index, gamma, blend } = state;
  $("#gamma").value = gamma;
  $("#gamma-value").textContent = gamma.toFixed(2);
  $("#attention").checked = gamma !== 0;
  $("#blend").value = blend;
  gallery.mark(index);
  show();
}

const paintEnds = latestOnly(async () => {
  const { image, size } = previews[state.index];
  paint($("#interpolation-start"), image, size);
  const end = await variantOf({ ...state, gamma: 1, blend: Number($("#blend").max) }, null);
  paint($("#interpolation-end"), end.image, end.size);
});

previews.forEach((image, index) => gallery.show(index, image, image.label));
const [hasStrengths, hasFrames] = ["[data-blend='0']", ":not([data-blend='0'])"].map((kind) => $(`.variant${kind}`) !== null);
$("#strength").hidden = !hasStrengths; // photos have none
$("#interpolation").hidden = !hasFrames;

// The file has strengths of the samples and the way from each to another, but no strengths on the way.
let lastGamma = 1;
const select = (index) => {
  change({ index, gamma: 1, blend: 0 });
  if (hasFrames) paintEnds();
};
gallery.addEventListener("select", ({ detail }) => select(detail.index));
$("#gamma").addEventListener("input", ({ target }) => {
  lastGamma = Number(target.value) || lastGamma;
  change({ gamma: Number(target.value), blend: 0 });
});
$("#attention").addEventListener("change", ({ target }) => change({ gamma: target.checked ? lastGamma : 0, blend: 0 }));
$("#blend").addEventListener("input", ({ target }) => change({ blend: Number(target.value), gamma: 1 }));
select(0);
document.documentElement.classList.add("ready");
