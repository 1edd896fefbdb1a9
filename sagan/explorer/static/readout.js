// What the point looks at, in words and numbers.

import { POINT_COLOR } from "sagan/annotations.js";
import { beyondKernel, distance, isSelective, percent, share } from "sagan/attention.js";
import { cellOf, center, gridOfSide } from "sagan/grid.js";

/** "generator.attention_16" -> "Generator 16 × 16", or "Generator 24 × 16" for a picture of 96 × 64. */
export function layerTitle(name, size) {
  const [network, layer] = name.split(".");
  const { width, height } = gridOfSide(Number(layer.split("_")[1]), size);
  return `${network[0].toUpperCase()}${network.slice(1)} ${width} × ${height}`;
}

/** Measures of where a pixel looks: {share, selective, distance, beyond, beyondUniform}. */
export function describe(map, at, size) {
  const query = cellOf(at, size, map.queries);
  const { row, inside } = map.attended(query);
  const uniform = row.map(() => 1);
  return {
    share: share(inside),
    selective: isSelective(inside),
    distance: distance(map, query, row, size),
    beyond: beyondKernel(map, query, row),
    beyondUniform: beyondKernel(map, query, uniform), // the same for a pixel that attends evenly
  };
}

/** The share of its attention that pixel `from` gives to the place of pixel `to`. */
export function weightAt(map, from, to, size) {
  return map.attended(cellOf(from, size, map.queries)).row[cellOf(to, size, map.keys)];
}

/** Keeps the readout beside a view, and the tooltip at its point, up to date. */
export class Readout {
  /**
   * @param {PictureView} view
   * @param {ParentNode} root contains #readout, #tooltip and #announcement
   * @param {boolean} attends whether the model has attention layers at all
   */
  constructor(view, root, attends) {
    this.view = view;
    this.attends = attends;
    this.fields = Object.fromEntries(
      ["where", "half", "far", "explanation"].map((name) => [name, root.querySelector(`#${name}`)]),
    );
    this.tooltip = root.querySelector("#tooltip");
    this.announcement = root.querySelector("#announcement");
    view.addEventListener("point", ({ detail }) => this.update(detail.by));
    view.addEventListener("shown", () => this.update("program"));
  }

  update(by) {
    const { view, fields } = this;
    const at = view.at ?? view.pins.at(-1)?.at;
    const known = view.map && at;
    const facts = known && describe(view.map, at, view.payload.size);
    fields.where.textContent = known ? `Pixel ${at[0]}, ${at[1]} · ${view.title}` : "No pixel selected";
    fields.half.textContent = facts ? percent(facts.share) : "–";
    fields.far.textContent = facts ? `${facts.distance.toFixed(1)} px` : "–";
    fields.explanation.textContent = view.payload && !view.map ? this.missingMap() : explanation(facts);
    this.updateTooltip();
    if (by === "keyboard") this.announcement.textContent = this.sentence(at, facts);
  }

  /** The reason that no map is shown. */
  missingMap() {
    if (!this.attends) return "Nothing to point at: this model has no attention layer.";
    return "Nothing to point at: this model’s discriminator has no attention layer.";
  }

  sentence(at, facts) {
    if (!facts) return "No pixel selected.";
    return (
      `Pixel ${at[0]}, ${at[1]}: half of its attention falls on ${percent(facts.share)} of the ` +
      `picture, ${facts.distance.toFixed(1)} pixels away on average. ${this.view.pins.length} pins.`
    );
  }

  /** Beside the point: the attention it gives its own place, and what each pin gives this place. */
  updateTooltip() {
    const { view, tooltip } = this;
    tooltip.hidden = !(view.map && view.at);
    if (tooltip.hidden) return;
    const { size } = view.payload;
    const points = [{ at: view.at, color: POINT_COLOR }, ...view.pins];
    tooltip.replaceChildren(
      ...points.map(({ at, color }) => {
        const line = document.createElement("span");
        line.style.setProperty("--dot", color);
        const where = at === view.at ? "self" : "here";
        line.textContent = `${percent(weightAt(view.map, at, view.at, size))} ${where}`;
        return line;
      }),
    );
    const query = cellOf(view.at, size, view.map.queries);
    const [x, y] = center(query, view.map.queries);
    const [peakX, peakY] = center(view.map.attended(query).ranking[0], view.map.keys);
    tooltip.style.setProperty("--x", x);
    tooltip.style.setProperty("--y", y);
    // On the side away from the strongest attention, if there is room.
    tooltip.classList.toggle("leftward", x > 0.75 || (x > 0.25 && peakX > x));
    tooltip.classList.toggle("upward", y > 0.75 || (y > 0.25 && peakY > y));
  }
}

function explanation(facts) {
  if (!facts) return "Point at the picture, or tap it, to see what that pixel attends to.";
  if (!facts.selective) return "It looks at the whole picture almost evenly: no region stands out.";
  return (
    `${percent(facts.beyond)} of its attention is beyond the reach of a 3\u00a0×\u00a03 convolution; ` +
    `spread evenly, it would be ${percent(facts.beyondUniform)}.`
  );
}
