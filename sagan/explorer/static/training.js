// The training tab: a film of one or two runs, and the curves of the first. Follows runs in progress.

import { Chart } from "sagan/chart.js";
import { Film } from "sagan/film.js";
import { layerTitle } from "sagan/readout.js";
import { fetchHistory } from "sagan/server.js";
import { showToast } from "sagan/viewer.js";

const POLL_PERIOD = 3000; // milliseconds
const RUNS = ["run", "beside"]; // how the server calls them
const IMAGES = { samples: "grids", attention: "attention" }; // and the images of a track

const { size } = JSON.parse(document.querySelector("#facts").textContent);

// How the curve of a key is named: "sigma/generator/blocks.0.conv1" -> "blocks.0.conv1" and so on.
const rest = (from) => (key) => key.split("/").slice(from).join("/");
const layer = (key) => {
  const name = key.split("/").find((part) => /^\w+\.attention_\d+$/.test(part));
  return name ? layerTitle(name, size) : key;
};
const named = (names) => (key) => names[key] ?? key;

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

function newestStep({ series, grids }) {
  return Math.max(0, ...Object.values(series).map(([steps]) => steps.at(-1)), ...grids);
}

/** Make the tab and its button work. */
export function initialize() {
  const panel = document.querySelector("#training");
  const film = new Film(document.querySelector("#film"));
  const runs = RUNS.slice(0, Number(film.element.dataset.runs));
  const charts = new Map();
  const newest = [0, 0]; // steps of the runs
  let last = 0; // the later one of these
  let selected = null; // the step that the visitor selected; null follows the newest one
  let reported = false; // whether the visitor knows that the server is not answering

  const mark = () => charts.forEach((chart) => chart.mark(selected ?? last));

  function select(step) {
    selected = step < last ? step : null;
    mark();
  }

  film.addEventListener("frame", ({ detail }) => {
    select(detail.step === film.steps.at(-1) ? last : detail.step);
  });

  function chartFor(definition) {
    if (!charts.has(definition.title)) {
      const chart = new Chart(definition);
      chart.addEventListener("point", ({ detail }) => {
        film.goTo(detail.step);
        select(detail.step);
      });
      charts.set(definition.title, chart);
      document.querySelector("#charts").append(chart.element);
    }
    return charts.get(definition.title);
  }

  function showCurves(series) {
    for (const definition of chartsOf(series)) {
      const curves = Object.fromEntries(definition.keys.map((key) => [key, series[key]]));
      chartFor(definition).show(curves, last);
    }
  }

  /** Show the histories that have changed, in the order of the runs; null for the others. */
  async function show(histories) {
    for (const track of film.tracks) {
      const { run, kind } = track.element.dataset;
      const steps = histories[run]?.[IMAGES[kind]];
      if (steps) track.frames = steps.map((step) => ({ step, url: `api/${RUNS[run]}/${IMAGES[kind]}/${step}` }));
    }
    histories.forEach((history, run) => {
      if (history) newest[run] = newestStep(history);
    });
    last = Math.max(...newest);
    if (histories[0]) showCurves(histories[0].series);
    document.querySelector("#progress").textContent = `Step ${newest[0].toLocaleString("en")}.`;
    mark();
    await film.extend(selected ?? Infinity);
    panel.classList.add("filled");
  }

  async function refresh() {
    const results = await Promise.allSettled(runs.map(fetchHistory));
    const histories = results.map(({ value }) => value ?? null);
    if (histories.some(Boolean)) await show(histories);
    const failure = results.find(({ reason }) => reason);
    if (failure && !reported) showToast(failure.reason.message);
    reported = Boolean(failure);
  }

  async function poll() {
    try {
      if (!document.hidden && !panel.hidden) await refresh();
    } finally {
      setTimeout(poll, POLL_PERIOD);
    }
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
