// The exported file: samples and maps lie in the page, nothing is asked of anybody.

import { Gallery } from "sagan/gallery.js";
import { Scene } from "sagan/scene.js";
import { makeViewer } from "sagan/viewer.js";

const facts = JSON.parse(document.querySelector("#facts").textContent);
const { lens } = makeViewer(facts);
const scenes = [...document.querySelectorAll("script.scene")].map((script) => {
  const bytes = Uint8Array.from(atob(script.textContent), (letter) => letter.charCodeAt(0));
  return new Scene(bytes.buffer);
});

const titles = scenes.map(({ label }, index) => facts.classes[label] ?? `picture ${index + 1}`);

const gallery = new Gallery(document.querySelector("#gallery"), scenes.length);

function show(index) {
  lens.show(scenes[index], titles[index]);
  gallery.mark(index);
}

gallery.show(scenes.map(({ picture, size }, index) => ({ picture, size, label: titles[index] })));
gallery.addEventListener("select", ({ detail }) => show(detail.index));
show(0);
document.documentElement.classList.add("ready");
