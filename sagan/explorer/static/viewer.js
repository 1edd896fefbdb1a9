// The lens with all that belongs to it, on the served page and in the exported file alike.

import { initializeAppearance } from "sagan/appearance.js";
import { fillChips } from "sagan/controls.js";
import { copyPng } from "sagan/clipboard.js";
import { Lens } from "sagan/picture_view.js";
import { number } from "sagan/format.js";
import { layerTitle, Readout } from "sagan/readout.js";
import { Tour } from "sagan/tour.js";

/** Show a line for a moment at the foot of the page. */
export function tell(line) {
  const note = document.querySelector("#note");
  note.textContent = line;
  note.classList.add("shown");
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => note.classList.remove("shown"), 4000);
}

/**
 * Make the page's lens work.
 *
 * @param {{name: string, gammas: Object<string, number>}} facts the model's name, and gamma of its attention layers
 * @returns {{lens: Lens, tour: Tour}}
 */
export function makeViewer({ name, gammas }) {
  const lens = new Lens(document.querySelector("#lens"));
  new Readout(lens, document, Object.keys(gammas).length > 0);
  keepLayers(lens, document.querySelector("#layers"), gammas);
  keepPins(lens, document.querySelector("#pins"));
  initializeAppearance(document.querySelector("#theme"));
  document.querySelector("#copy-png").addEventListener("click", async () => {
    tell(await copyPng(lens.png(), name));
  });
  return { lens, tour: new Tour(lens) };
}

/** One chip for each layer; a photograph has no map of the generator's. */
function keepLayers(lens, fieldset, gammas) {
  const options = Object.keys(gammas).map((value) => {
    const { network, size } = layerTitle(value);
    return { value, label: `${network} ${size}` };
  });
  const check = fillChips(fieldset, options, (value) => lens.choose(value));
  lens.addEventListener("scene", () => {
    const names = lens.scene.maps.map((map) => map.name);
    for (const input of fieldset.querySelectorAll("input")) input.disabled = !names.includes(input.value);
    if (!lens.map) return;
    check(lens.map.name);
    fieldset.querySelector("#layer-gamma").textContent = number(gammas[lens.map.name]);
  });
}

/** One chip for each pin, made anew only when the pins change: a chip may have the focus. */
function keepPins(lens, list) {
  const chips = list.querySelector(".chips");
  let shown = [];
  list.querySelector("#clear").addEventListener("click", () => lens.clear("hand"));
  lens.addEventListener("point", () => {
    const { pins } = lens;
    if (pins.length === shown.length && pins.every((pin, index) => pin === shown[index])) return;
    shown = [...pins];
    const place = [...chips.children].indexOf(document.activeElement);
    list.classList.toggle("empty", pins.length === 0);
    chips.replaceChildren(...pins.map((pin) => chipOf(pin, lens)));
    if (place >= 0) (chips.children[place] ?? chips.lastElementChild ?? lens.element).focus();
  });
}

function chipOf(pin, lens) {
  const { at, color } = pin;
  const chip = Object.assign(document.createElement("button"), { type: "button" });
  chip.className = "pin";
  chip.style.setProperty("--dot", color);
  chip.textContent = `${at[0]}, ${at[1]}`;
  chip.setAttribute("aria-label", `Remove the pin at pixel ${at[0]}, ${at[1]}`);
  chip.addEventListener("click", () => lens.unpin(pin, "hand"));
  return chip;
}
