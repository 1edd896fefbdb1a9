// The cards beside the picture: what attention adds to it, and what the discriminator says of it.

import { difference, paint } from "sagan/compose.js";
import { scoresQuestion, showScores } from "sagan/scores.js";

const $ = (selector) => document.querySelector(selector);

/** Keep the cards up to date with a view. */
export function initializeCards(view, classes) {
  view.addEventListener("shown", () => {
    const { image, size, withoutAttention, scores, label } = view.payload;
    showScores($("#scores"), scores, classes, label);
    $("#scores-title").textContent = scoresQuestion(classes, label, !withoutAttention);
    if (!withoutAttention) return;
    paint($("#without-attention"), withoutAttention, size);
    const { image: added, gain } = difference(image, withoutAttention);
    paint($("#difference"), added, size);
    $("#difference-title").textContent = `difference${gain > 1 ? ` (× ${gain})` : ""}`;
  });
}
