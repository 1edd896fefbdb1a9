// The training tab: the film of sample grids and the curves beside it, live while training goes on.

import { Chart } from "sagan/chart.js";
import { Film } from "sagan/film.js";
import { layerTitle } from "sagan/readout.js";
import { history as askHistory } from "sagan/server.js";
import { tell } from "sagan/viewer.js";

const PERIOD = 3000; // milliseconds between questions

const rest = (from) => (key) => key.split("/").slice(from).join("/");
const layer = (key) => {
  const { network, size } = layerTitle(key.split("/").find((part) => part.includes(".attention_")));
  return `${network} ${size}`;
};
const named = (names) => (key) => names[key];

/** What belongs in one chart, what it means, and how its curves are called. */
const KINDS = [
  {
    title: "Loss", has: /^loss\//, name: named({ "loss/d": "discriminator", "loss/g": "generator" }),
    why: "Each network's own. They pull against each other, so neither should run away.",
  },
  {
    title: "Verdicts", has: /^logits\//, name: named({ "logits/real": "real pictures", "logits/fake": "drawn pictures" }),
    why: "The discriminator's average score. The closer the curves, the harder it is to tell.",
  },
  {
    title: "Gradients", has: /^gradient\//, name: rest(1),
    why: "Their norm in each network. A leap tells of a step that went wrong, 0 of nothing left to learn from.",
  },
  {
    title: "Gamma", has: /^gamma\//, name: layer,
    why: "How strongly each attention layer is mixed in. Every one starts at 0.",
  },
  {
    title: "Attention distance", has: /^attention\/.*\/distance$/, name: layer,
    why: "How far a pixel looks on average, in pixels.",
  },
  {
    title: "Attention entropy", has: /^attention\/.*\/entropy$/, name: layer,
    why: "How undecided a pixel is, in nats. Lower: it looks at fewer places.",
  },
  {
    title: "Attention concentration", has: /^attention\/.*\/concentration$/, name: layer,
    why: "The share of places that holds half of a pixel's attention.",
  },
  {
    title: "Sigma, generator", has: /^sigma\/generator\//, name: rest(2),
    why: "Spectral normalization divides each weight by its largest singular value: this, over all layers.",
  },
  {
    title: "Sigma, discriminator", has: /^sigma\/discriminator\//, name: rest(2),
    why: "The same for the discriminator.",
  },
  { title: "Speed", has: /^images_per_second$/, name: () => "images a second", why: "A batch for each step." },
  { title: "Augmentation", has: /^augment\//, name: rest(1), why: "Share of pictures that are changed before judging." },
];

/** The kinds of chart that a history calls for: {kind, keys}; each metric has a scale of its own. */
function chartsOf(series) {
  const keys = Object.keys(series);
  const metrics = keys
    .filter((key) => key.startsWith("metric/") && key !== "metric/seconds")
    .map((key) => ({ title: key.slice("metric/".length), name: rest(1), keys: [key], why: "Measured against the data." }));
  const kinds = KINDS.map((kind) => ({ ...kind, keys: keys.filter((key) => kind.has.test(key)) }));
  return [...metrics, ...kinds].filter((kind) => kind.keys.length > 0);
}

/** Make the tab and its button work. */
export function initialize() {
  const panel = document.querySelector("#training");
  const film = new Film(document.querySelector("#film"));
  const charts = new Map();
  let last = 0; // the newest step
  let chosen = null; // the step that is looked at; null follows the newest one
  let silent = false; // whether the visitor knows already that the server is gone

  const mark = () => charts.forEach((chart) => chart.mark(chosen ?? last));

  function choose(step) {
    chosen = step < last ? step : null;
    mark();
  }

  film.addEventListener("frame", ({ detail }) => {
    choose(detail.step === film.steps.at(-1) ? last : detail.step);
  });

  function chartFor(kind) {
    if (!charts.has(kind.title)) {
      const chart = new Chart(kind);
      chart.addEventListener("point", ({ detail }) => {
        film.goTo(detail.step);
        choose(detail.step);
      });
      charts.set(kind.title, chart);
      document.querySelector("#charts").append(chart.element);
    }
    return charts.get(kind.title);
  }

  async function show({ series, grids }) {
    const steps = Object.values(series).map(([measured]) => measured.at(-1));
    last = Math.max(0, ...steps, ...grids);
    for (const kind of chartsOf(series)) {
      chartFor(kind).show(Object.fromEntries(kind.keys.map((key) => [key, series[key]])), last);
    }
    mark();
    await film.extend(grids, chosen ?? last);
    document.querySelector("#progress").textContent = `Step ${last.toLocaleString("en")}.`;
    panel.classList.add("filled");
  }

  async function refresh() {
    try {
      const history = await askHistory();
      if (history) await show(history);
      silent = false;
    } catch (error) {
      if (!silent) tell(error.message);
      silent = true;
    }
  }

  async function keepRefreshing() {
    if (!document.hidden && !panel.hidden) await refresh();
    setTimeout(keepRefreshing, PERIOD);
  }

  initializeTabs(refresh);
  setTimeout(keepRefreshing, PERIOD);
}

function initializeTabs(opened) {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  function choose(tab) {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
    }
    tab.focus();
    if (tab.id === "tab-training") opened();
  }
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") choose(tabs[1 - index]);
    });
  });
}
