// The lens with all that belongs to it, on the served page and in the exported file alike.

import { initialiseAppearance } from "sagan/appearance.js";
import { fillChips } from "sagan/choice.js";
import { copyPng } from "sagan/copying.js";
import { Lens } from "sagan/lens.js";
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
 * @param {{name: string, layers: string[]}} facts the model's name, and its attention layers
 * @returns {{lens: Lens, tour: Tour}}
 */
export function makeViewer({ name, layers }) {
  const lens = new Lens(document.querySelector("#lens"));
  new Readout(lens, document, layers.length > 0);
  keepLayers(lens, document.querySelector("#layers"), layers);
  keepPins(lens, document.querySelector("#pins"));
  initialiseAppearance(document.querySelector("#theme"));
  document.querySelector("#copy-png").addEventListener("click", async () => {
    tell(await copyPng(lens.png(), name));
  });
  return { lens, tour: new Tour(lens) };
}

/** One chip for each layer; a photograph has no map of the generator's. */
function keepLayers(lens, fieldset, layers) {
  const options = layers.map((value) => {
    const { network, size } = layerTitle(value);
    return { value, label: `${network} ${size}` };
  });
  const check = fillChips(fieldset, options, (value) => lens.choose(value));
  lens.addEventListener("scene", () => {
    const names = lens.scene.maps.map((map) => map.name);
    for (const input of fieldset.querySelectorAll("input")) input.disabled = !names.includes(input.value);
    if (lens.map) check(lens.map.name);
  });
}

function keepPins(lens, list) {
  list.querySelector("#clear").addEventListener("click", () => lens.clear("hand"));
  lens.addEventListener("point", () => {
    const chips = lens.pins.map((pin) => {
      const { at, colour } = pin;
      const chip = Object.assign(document.createElement("button"), { type: "button" });
      chip.className = "pin";
      chip.style.setProperty("--dot", colour);
      chip.textContent = `${at[0]}, ${at[1]}`;
      chip.setAttribute("aria-label", `Remove the pin at pixel ${at[0]}, ${at[1]}`);
      chip.addEventListener("click", () => lens.unpin(pin, "hand"));
      return chip;
    });
    list.classList.toggle("empty", chips.length === 0);
    list.querySelector(".chips").replaceChildren(...chips);
  });
}
