// The networks, in a worker of their own: onnxruntime-web runs what `sagan export` writes. This
// module is only loaded by a worker, where import maps do not apply: it imports by relative path.

import * as ort from "../runtime/ort.wasm.bundle.min.mjs";
import { asRgb } from "./colors.js";
import { countOf, gridOf } from "./grid.js";
import { interestingQueries } from "./highlights.js";
import { fittedPhoto } from "./photo.js";

const NUM_HIGHLIGHTS = 4; // query points that the page shows by itself, for each layer

let size = null; // of the images in pixels, {width, height}
let channels = 3; // of the images: gray, RGB or RGBA
let fit = ""; // how photos get their proportions
let networks = {}; // promises of sessions: generator, discriminator
let plain = { key: "", image: null }; // the last sample without attention: it does not depend on gamma

/** Fetch gzip files at once, reporting how many bytes of all have arrived: promises of their content. */
function fetchFiles(files) {
  let loaded = 0;
  return files.map(async (url) => {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url} is missing from this page’s folder`);
    const chunks = [];
    const reader = response.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      chunks.push(part.value);
      loaded += part.value.length;
      postMessage({ loaded });
    }
    return unpacked(new Blob(chunks));
  });
}

/** The content of a gzip file. Where a host declares its encoding, the browser has unpacked it already. */
async function unpacked(blob) {
  const [first, second] = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  const packed = first === 0x1f && second === 0x8b;
  const stream = packed ? blob.stream().pipeThrough(new DecompressionStream("gzip")) : blob.stream();
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function load({ runtime, generator, discriminator }) {
  const [wasm, ...models] = fetchFiles([runtime, generator, discriminator]);
  const open = async (model) => {
    ort.env.wasm.wasmBinary = await wasm;
    // The log's third level is errors: no warning that an input, truncation, has a default.
    return ort.InferenceSession.create(await model, { executionProviders: ["wasm"], logSeverityLevel: 3 });
  };
  ort.env.wasm.numThreads = 1; // more need headers that a static host does not send
  const first = open(models[0]);
  // Sessions are opened one after the other, the generator first.
  networks = { generator: first, discriminator: first.then(() => open(models[1])) };
  // What fails is reported by each job that needs it.
  Promise.all(Object.values(networks)).then(() => postMessage({ ready: true }), () => postMessage({ failed: true }));
}

/** Rounded as torch rounds: halves to even. */
function toBytes({ data }) {
  const pixels = countOf(size);
  const bytes = new Uint8Array(channels * pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let channel = 0; channel < channels; channel++) {
      const value = Math.fround(Math.fround(data[channel * pixels + pixel] + 1) * 127.5);
      const whole = Math.round(value);
      bytes[channels * pixel + channel] = Math.min(Math.max(whole - value === 0.5 && whole % 2 ? whole - 1 : whole, 0), 255);
    }
  }
  return bytes;
}

/** Bytes -> float32 (1, channels, height, width) in [-1, 1]. */
function toTensor(image) {
  const data = new Float32Array(image.length);
  const scale = Math.fround(2 / 255);
  const pixels = countOf(size);
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let channel = 0; channel < channels; channel++) {
      data[channel * pixels + pixel] = Math.fround(image[channels * pixel + channel] * scale) - 1;
    }
  }
  return new ort.Tensor("float32", data, [1, channels, size.height, size.width]);
}

const labelTensor = (label) => new ort.Tensor("int64", BigInt64Array.of(BigInt(label)), [1]);
const mapNames = (session) => session.outputNames.filter((name) => name.includes(".attention_"));

async function generate({ latents, truncation, label, gamma }, outputs) {
  const session = await networks.generator;
  const feeds = {
    // The file's own input for truncation is optional, and this runtime does not take such inputs.
    latents: new ort.Tensor("float32", latents.map((value) => truncation * value), [1, latents.length]),
    gamma_scale: new ort.Tensor("float32", Float32Array.of(gamma), []),
  };
  if (label !== null) feeds.labels = labelTensor(label);
  return session.run(feeds, outputs(session));
}

/** The maps of a network's outputs, with the query points to show first. */
function mapsOf(session, results, image) {
  return mapNames(session).map((name) => {
    const { data, dims } = results[name];
    const map = { name, weights: data, queries: gridOf(dims[1], size), keys: gridOf(dims[2], size) };
    return { ...map, highlights: interestingQueries(map, image, size, NUM_HIGHLIGHTS) };
  });
}

const jobs = {
  /** A small image for the gallery, without its maps. */
  async image(request) {
    const { images } = await generate(request, () => ["images"]);
    return { image: asRgb(toBytes(images), channels), size };
  },

  /** A sample with and without attention, all maps, and the discriminator's scores. */
  async sample(request) {
    const results = await generate(request, (session) => ["images", ...mapNames(session)]);
    const image = toBytes(results.images);
    const key = `${request.label} ${request.truncation} ${request.latents}`;
    if (key !== plain.key) {
      const { images } = await generate({ ...request, gamma: 0 }, () => ["images"]);
      plain = { key, image: asRgb(toBytes(images), channels) };
    }
    const judged = await jobs.judge({ image });
    const maps = [...mapsOf(await networks.generator, results, judged.image), ...judged.maps];
    return { ...judged, maps, withoutAttention: plain.image, label: request.label };
  },

  /** The same for a visitor's own picture. */
  async photo({ file }) {
    return jobs.judge({ image: await fittedPhoto(file, size, fit, channels) });
  },

  /** What the discriminator makes of an image in its own channels. */
  async judge({ image }) {
    const session = await networks.discriminator;
    const feeds = { images: toTensor(image) };
    const conditional = session.inputNames.includes("labels");
    if (conditional) feeds.labels = labelTensor(0); // scores are given for all labels
    const scores = conditional ? "class_logits" : "logits";
    const results = await session.run(feeds, [scores, ...mapNames(session)]);
    const rgb = asRgb(image, channels);
    return { image: rgb, size, scores: [...results[scores].data], maps: mapsOf(session, results, rgb) };
  },
};

onmessage = async ({ data: { kind, request } }) => {
  if (kind === "load") {
    ({ size, channels, fit } = request);
    load(request);
    return;
  }
  try {
    postMessage({ result: await jobs[kind](request) });
  } catch (error) {
    postMessage({ error: error.message });
  }
};
