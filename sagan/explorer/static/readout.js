// What the point in hand looks at, in words and numbers.

import { beyondKernel, cellOf, center, distance, isSelective, percent, share } from "sagan/attention.js";
import { POINT_COLOR } from "sagan/annotations.js";

/** "generator.attention_16" -> {network: "Generator", size: "16 × 16"}. */
export function layerTitle(name) {
  const [network, layer] = name.split(".");
  const side = layer.split("_")[1];
  return { network: network[0].toUpperCase() + network.slice(1), size: `${side} × ${side}` };
}

/** Where a pixel looks, in numbers: {share, selective, distance, beyond, alike}. */
export function describe(map, at, size) {
  const query = cellOf(at, size, map.side);
  const { row, inside } = map.gaze(query);
  const even = row.map(() => 1);
  return {
    share: share(inside),
    selective: isSelective(inside),
    distance: distance(map, query, row, size),
    beyond: beyondKernel(map, query, row),
    alike: beyondKernel(map, query, even), // what it is for a pixel that looks everywhere alike
  };
}

/** What a pixel takes from the place of another, as a share of all that it takes. */
export function weightAt(map, from, to, size) {
  return map.gaze(cellOf(from, size, map.side)).row[cellOf(to, size, map.keySide)];
}

/** Keeps the readout beside a lens, and the tag at its point, up to date. */
export class Readout {
  /**
   * @param {Lens} lens
   * @param {ParentNode} root holds #readout, #tag and #spoken
   * @param {boolean} attends whether the model has attention layers at all
   */
  constructor(lens, root, attends) {
    this.lens = lens;
    this.attends = attends;
    this.fields = Object.fromEntries(
      ["where", "half", "far", "verdict"].map((name) => [name, root.querySelector(`#${name}`)]),
    );
    this.tag = root.querySelector("#tag");
    this.spoken = root.querySelector("#spoken");
    lens.addEventListener("point", ({ detail }) => this.update(detail.by));
    lens.addEventListener("scene", () => this.update("program"));
  }

  update(by) {
    const { lens, fields } = this;
    const at = lens.at ?? lens.pins.at(-1)?.at;
    const known = lens.map && at;
    const facts = known && describe(lens.map, at, lens.scene.size);
    fields.where.textContent = known ? `Pixel ${at[0]}, ${at[1]} · ${lens.title}` : "No pixel yet";
    fields.half.textContent = facts ? percent(facts.share) : "–";
    fields.far.textContent = facts ? `${facts.distance.toFixed(1)} px` : "–";
    fields.verdict.textContent = lens.scene && !lens.map ? this.lack() : verdict(facts);
    this.updateTag();
    if (by === "keyboard") this.spoken.textContent = this.sentence(at, facts);
  }

  /** Why there is no map. */
  lack() {
    if (!this.attends) return "There is nothing to point at: this model has no attention layer.";
    return "There is nothing to point at: this model’s discriminator has no attention layer.";
  }

  sentence(at, facts) {
    if (!facts) return "No pixel is chosen.";
    return (
      `Pixel ${at[0]}, ${at[1]}: half of its attention lies on ${percent(facts.share)} of the ` +
      `picture, ${facts.distance.toFixed(1)} pixels away on average. ${this.lens.pins.length} pins.`
    );
  }

  /** Beside the point: what it keeps for its own place, and what each pin gives to this place. */
  updateTag() {
    const { lens, tag } = this;
    tag.hidden = !(lens.map && lens.at);
    if (tag.hidden) return;
    const { size } = lens.scene;
    const sources = [{ at: lens.at, color: POINT_COLOR }, ...lens.pins];
    tag.replaceChildren(
      ...sources.map(({ at, color }) => {
        const line = document.createElement("span");
        line.style.setProperty("--dot", color);
        line.textContent = percent(weightAt(lens.map, at, lens.at, size)) + (at === lens.at ? " itself" : " here");
        return line;
      }),
    );
    const query = cellOf(lens.at, size, lens.map.side);
    const [x, y] = center(query, lens.map.side);
    const [lookedX, lookedY] = center(lens.map.gaze(query).ranking[0], lens.map.keySide);
    tag.style.setProperty("--x", x);
    tag.style.setProperty("--y", y);
    // Away from where it looks, if there is room.
    tag.classList.toggle("leftward", x > 0.75 || (x > 0.25 && lookedX > x));
    tag.classList.toggle("upward", y > 0.75 || (y > 0.25 && lookedY > y));
  }
}

function verdict(facts) {
  if (!facts) return "Move over the picture, or tap it, and the attention of that pixel is read out here.";
  if (!facts.selective) return "It looks at the whole picture almost alike: no region stands out.";
  return (
    `${percent(facts.beyond)} of its attention goes where one 3\u00a0×\u00a03 convolution here cannot see; ` +
    `looking everywhere alike, ${percent(facts.alike)} would.`
  );
}
