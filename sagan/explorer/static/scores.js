// The discriminator's logits: a bar for each class, to the right of the middle if positive.

const MAX_BARS = 10;

/**
 * @param {HTMLElement} list
 * @param {number[]} scores one for each class; a single one for an unconditional model
 * @param {string[]} classes
 * @param {number | null} own the class that the image was generated for
 */
export function showScores(list, scores, classes, own) {
  const best = scores.map((_, index) => index).sort((a, b) => scores[b] - scores[a]);
  const shown = best.slice(0, MAX_BARS);
  if (own !== null && !shown.includes(own)) shown[MAX_BARS - 1] = own;
  const reach = Math.max(2, ...shown.map((index) => Math.abs(scores[index])));
  list.replaceChildren(
    ...shown.map((index) => {
      const name = classes[index] ?? "real?";
      return bar(name, scores[index], reach, index === (own ?? best[0]));
    }),
  );
}

function bar(name, score, reach, own) {
  const line = document.createElement("li");
  line.classList.toggle("own", own);
  const label = Object.assign(document.createElement("span"), { className: "name", textContent: name });
  const track = Object.assign(document.createElement("span"), { className: "track" });
  const fill = document.createElement("i");
  const width = (50 * Math.abs(score)) / reach;
  fill.style.left = `${score < 0 ? 50 - width : 50}%`;
  fill.style.width = `${width}%`;
  track.append(fill);
  const text = `${score < 0 ? "−" : "+"}${Math.abs(score).toFixed(2)}`;
  const value = Object.assign(document.createElement("span"), { className: "value", textContent: text });
  line.append(label, track, value);
  return line;
}
