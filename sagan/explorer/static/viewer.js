// The picture view and everything around it that the served and the exported page share.

import { initializeAppearance } from "sagan/appearance.js";
import { Autoplay } from "sagan/autoplay.js";
import { initializeCards } from "sagan/cards.js";
import { copyPng } from "sagan/clipboard.js";
import { fillChips } from "sagan/controls.js";
import { formatNumber } from "sagan/format.js";
import { PictureView } from "sagan/picture_view.js";
import { layerTitle, Readout } from "sagan/readout.js";
import { initializeTerms } from "sagan/terms.js";
import { Tour, tourWasSeen } from "sagan/tour.js";

const TOAST_TIME = 4000; // milliseconds

/** Show a message for a moment at the foot of the page. */
export function showToast(message) {
  const toast = document.querySelector("#toast");
  toast.textContent = message;
  toast.classList.add("shown");
  clearTimeout(showToast.timer);
  showToast.timer = setTimeout(() => toast.classList.remove("shown"), TOAST_TIME);
}

/**
 * Make the page's picture view work.
 *
 * @param {{name: string, size: {width: number, height: number}, classes: string[],
 *   gammas: Object<string, number>, credits: string}} facts the model's name, the size of its pictures in
 *   pixels, its classes, gamma of each attention layer, and who made the training images
 * @param {() => object | null} front what the tour says of the picture that is shown; null if it is any
 * @returns {{view: PictureView, autoplay: Autoplay}}
 */
export function makeViewer({ name, size, classes, gammas, credits }, front = () => null) {
  // The style sheet gives every picture this shape.
  document.documentElement.style.setProperty("--aspect", size.width / size.height);
  const view = new PictureView(document.querySelector("#picture"));
  new Readout(view, document, Object.keys(gammas).length > 0);
  initializeLayers(view, document.querySelector("#layers"), gammas, size);
  initializePins(view, document.querySelector("#pins"));
  initializeComparison(view, document.querySelector("#compare"));
  initializeCards(view, classes);
  initializeAppearance(document.querySelector("#theme"));
  initializeTerms(document.querySelector("#definition"));
  document.querySelector("#copy-png").addEventListener("click", async () => {
    const [first] = credits.split("\n");
    showToast(await copyPng(view.png(first && `Trained on: ${first}`), name, credits));
  });
  const autoplay = new Autoplay(view);
  if (Object.keys(gammas).length) {
    const tour = new Tour(view, autoplay, document.querySelector("#below"), front);
    if (!location.hash && !tourWasSeen()) tour.start();
  } else document.querySelector("#tour-start").hidden = true;
  return { view, autoplay };
}

/** A chip for each layer; a photo has no map of the generator's layers, so theirs are disabled. */
function initializeLayers(view, fieldset, gammas, size) {
  const options = Object.keys(gammas).map((value) => ({ value, label: layerTitle(value, size) }));
  const check = fillChips(fieldset, options, (value) => view.showLayer(value));
  view.addEventListener("shown", () => {
    const names = view.payload.maps.map((map) => map.name);
    for (const input of fieldset.querySelectorAll("input")) input.disabled = !names.includes(input.value);
    if (!view.map) return;
    check(view.map.name);
    fieldset.querySelector("#layer-gamma").textContent = formatNumber(gammas[view.map.name]);
  });
}

/** While the button is held, by pointer or key, the picture is the one without attention. */
function initializeComparison(view, button) {
  const hold = (held) => view.compare(held);
  view.addEventListener("shown", () => {
    button.hidden = !view.payload.withoutAttention;
  });
  button.addEventListener("pointerdown", (event) => {
    button.setPointerCapture(event.pointerId);
    hold(true);
  });
  for (const end of ["pointerup", "pointercancel", "blur", "keyup"]) button.addEventListener(end, () => hold(false));
  button.addEventListener("keydown", (event) => {
    if (event.key === " " || event.key === "Enter") hold(true);
  });
  // The picture beneath must not take these for its own.
  for (const name of ["pointerdown", "pointermove", "click", "keydown", "contextmenu"]) {
    button.addEventListener(name, (event) => {
      event.stopPropagation();
      if (name === "contextmenu") event.preventDefault(); // of a finger that stays
    });
  }
}

/** A chip for each pin, replaced only when the pins change: one of them may have the focus. */
function initializePins(view, list) {
  const chips = list.querySelector(".chips");
  let shown = [];
  list.querySelector("#clear").addEventListener("click", () => view.clear("pointer"));
  view.addEventListener("point", () => {
    const { pins } = view;
    if (pins.length === shown.length && pins.every((pin, index) => pin === shown[index])) return;
    shown = [...pins];
    const focused = [...chips.children].indexOf(document.activeElement);
    list.classList.toggle("empty", pins.length === 0);
    chips.replaceChildren(...pins.map((pin) => chipOf(pin, view)));
    if (focused >= 0) (chips.children[focused] ?? chips.lastElementChild ?? view.element).focus();
  });
}

function chipOf(pin, view) {
  const { at, color } = pin;
  const chip = Object.assign(document.createElement("button"), { type: "button" });
  chip.className = "pin";
  chip.style.setProperty("--dot", color);
  chip.textContent = `${at[0]}, ${at[1]}`;
  chip.setAttribute("aria-label", `Remove the pin at pixel ${at[0]}, ${at[1]}`);
  chip.addEventListener("click", () => view.unpin(pin, "pointer"));
  return chip;
}
