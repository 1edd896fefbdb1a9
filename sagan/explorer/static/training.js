// The training tab: sample grids over time, and the curves beside them. Follows a run in progress.

import { Chart } from "sagan/chart.js";
import { layerTitle } from "sagan/readout.js";
import { fetchHistory } from "sagan/server.js";
import { Timelapse } from "sagan/timelapse.js";
import { showToast } from "sagan/viewer.js";

const POLL_PERIOD = 3000; // milliseconds

// How the curve of a key is named: "sigma/generator/blocks.0.conv1" -> "blocks.0.conv1" and so on.
const rest = (from) => (key) => key.split("/").slice(from).join("/");
const layer = (key) => {
  const { network, size } = layerTitle(key.split("/").find((part) => part.includes(".attention_")));
  return `${network} ${size}`;
};
const named = (names) => (key) => names[key];

/** Which keys share a chart, what the chart shows, and how its curves are named. */
const CHARTS = [
  {
    title: "Loss", has: /^loss\//, name: named({ "loss/d": "discriminator", "loss/g": "generator" }),
    description: "Each network’s loss. The two compete, so neither should run away.",
  },
  {
    title: "Discriminator scores", term: "logit", has: /^logits\//,
    name: named({ "logits/real": "real pictures", "logits/fake": "generated pictures" }),
    description: "The mean score. The closer the curves, the harder the two are to tell apart.",
  },
  {
    title: "Gradients", has: /^gradient\//, name: rest(1),
    description: "Gradient norm of each network. A spike is a step gone wrong; at 0, nothing is learned.",
  },
  {
    title: "Gamma", term: "gamma", has: /^gamma\//, name: layer,
    description: "How much each attention layer contributes. All start at 0.",
  },
  {
    title: "Attention distance", has: /^attention\/.*\/distance$/, name: layer,
    description: "How far a pixel looks on average, in pixels.",
  },
  {
    title: "Attention entropy", term: "entropy", has: /^attention\/.*\/entropy$/, name: layer,
    description: "How spread out a pixel’s attention is, in nats. Lower: on fewer places.",
  },
  {
    title: "Attention concentration", has: /^attention\/.*\/concentration$/, name: layer,
    description: "The share of the picture that gets half of a pixel’s attention.",
  },
  {
    title: "Sigma, generator", has: /^sigma\/generator\//, name: rest(2),
    description: "Each layer’s largest singular value, by which spectral normalization divides its weight.",
  },
  {
    title: "Sigma, discriminator", has: /^sigma\/discriminator\//, name: rest(2),
    description: "The same for the discriminator.",
  },
  {
    title: "Speed", has: /^images_per_second$/, name: () => "images per second",
    description: "Training throughput, one batch per step.",
  },
  {
    title: "Augmentation", has: /^augment\//, name: rest(1),
    description: "The share of pictures altered before the discriminator sees them.",
  },
];

/** The charts that a history needs, each with its keys; every metric has a scale of its own. */
function chartsOf(series) {
  const keys = Object.keys(series);
  const metrics = keys
    .filter((key) => key.startsWith("metric/") && key !== "metric/seconds")
    .map((key) => ({
      title: key.slice("metric/".length), name: rest(1), keys: [key], description: "Compared with the data.",
    }));
  const charts = CHARTS.map((chart) => ({ ...chart, keys: keys.filter((key) => chart.has.test(key)) }));
  return [...metrics, ...charts].filter((chart) => chart.keys.length > 0);
}

/** Make the tab and its button work. */
export function initialize() {
  const panel = document.querySelector("#training");
  const timelapse = new Timelapse(document.querySelector("#timelapse"));
  const charts = new Map();
  let last = 0; // the newest step
  let selected = null; // the step that the visitor selected; null follows the newest one
  let reported = false; // whether the visitor knows that the server is not answering

  const mark = () => charts.forEach((chart) => chart.mark(selected ?? last));

  function select(step) {
    selected = step < last ? step : null;
    mark();
  }

  timelapse.addEventListener("frame", ({ detail }) => {
    select(detail.step === timelapse.steps.at(-1) ? last : detail.step);
  });

  function chartFor(definition) {
    if (!charts.has(definition.title)) {
      const chart = new Chart(definition);
      chart.addEventListener("point", ({ detail }) => {
        timelapse.goTo(detail.step);
        select(detail.step);
      });
      charts.set(definition.title, chart);
      document.querySelector("#charts").append(chart.element);
    }
    return charts.get(definition.title);
  }

  async function show({ series, grids }) {
    const steps = Object.values(series).map(([measured]) => measured.at(-1));
    last = Math.max(0, ...steps, ...grids);
    for (const definition of chartsOf(series)) {
      const curves = Object.fromEntries(definition.keys.map((key) => [key, series[key]]));
      chartFor(definition).show(curves, last);
    }
    mark();
    await timelapse.extend(grids, selected ?? last);
    document.querySelector("#progress").textContent = `Step ${last.toLocaleString("en")}.`;
    panel.classList.add("filled");
  }

  async function refresh() {
    try {
      const history = await fetchHistory();
      if (history) await show(history);
      reported = false;
    } catch (error) {
      if (!reported) showToast(error.message);
      reported = true;
    }
  }

  async function poll() {
    if (!document.hidden && !panel.hidden) await refresh();
    setTimeout(poll, POLL_PERIOD);
  }

  initializeTabs(refresh);
  setTimeout(poll, POLL_PERIOD);
}

function initializeTabs(onTrainingOpened) {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  function open(tab) {
    for (const other of tabs) {
      const selected = other === tab;
      other.setAttribute("aria-selected", String(selected));
      other.tabIndex = selected ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !selected;
    }
    tab.focus();
    if (tab.id === "tab-training") onTrainingOpened();
  }
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") open(tabs[1 - index]);
    });
  });
}
