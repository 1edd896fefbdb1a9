// The exported page: samples and maps are in the file itself, and no request is made.

import { Gallery } from "sagan/gallery.js";
import { dataStart, decodePayload, headerOf } from "sagan/payload.js";
import { makeViewer } from "sagan/viewer.js";

const facts = JSON.parse(document.querySelector("#facts").textContent);
const { view } = makeViewer(facts);
const blocks = [...document.querySelectorAll("script.payload")].map((script) => script.textContent);
const previews = blocks.map(preview);
const gallery = new Gallery(document.querySelector("#gallery"), blocks.length);

/** Bytes `start` to `stop` of what `base64` encodes, ArrayBuffer. */
function bytesOf(base64, start, stop) {
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
    size: entries.image.shape[0],
    isSample: "without_attention" in entries,
    label: facts.classes[metadata.label] ?? `picture ${index + 1}`,
  };
}

function show(index) {
  const base64 = blocks[index];
  const payload = decodePayload(bytesOf(base64, 0, (3 * base64.length) / 4), facts.gammas);
  view.show(payload, previews[index].label);
  gallery.mark(index);
}

previews.forEach((image, index) => gallery.show(index, image, image.label));
document.querySelector("#strength").hidden = !previews.some(({ isSample }) => isSample); // photos have none
gallery.addEventListener("select", ({ detail }) => show(detail.index));
show(0);
document.documentElement.classList.add("ready");
