// The discriminator's logits: a bar for each class, to the right of the middle if positive.

const MAX_BARS = 10;

/** What the bars answer, for people: "Would it pass for a real cat?". */
export function scoresQuestion(classes, own, isPhoto) {
  if (isPhoto) return "What would it pass for?";
  return `Would it pass for a real ${classes[own] ?? "picture"}?`;
}

/**
 * The image's own class comes first; nothing is highlighted for a photo, which has none.
 *
 * @param {HTMLElement} list
 * @param {number[]} scores one for each class; a single one for an unconditional model
 * @param {string[]} classes
 * @param {number | null} own the class that the image was generated for
 */
export function showScores(list, scores, classes, own) {
  const others = scores.map((_, index) => index).filter((index) => index !== own);
  others.sort((a, b) => scores[b] - scores[a]);
  const shown = (own !== null ? [own, ...others] : others).slice(0, MAX_BARS);
  const reach = Math.max(2, ...shown.map((index) => Math.abs(scores[index])));
  list.replaceChildren(
    ...shown.map((index) => {
      const name = classes[index] ?? "real?";
      return bar(name, scores[index], reach, index === own);
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
