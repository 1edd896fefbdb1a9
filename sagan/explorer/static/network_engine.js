// The engine of the static page: both networks run in this browser, in a worker.

import { moved } from "sagan/directions.js";
import { between, seededLatents } from "sagan/latents.js";
import { countOf } from "sagan/grid.js";
import { LruCache } from "sagan/lru.js";
import { AttentionMap, decodeGallery, decodePayload } from "sagan/payload.js";

const CACHE_BYTES = 64 * 2 ** 20; // images, and samples with their maps
const CACHED_SEEDS = 8;
const BLEND_STEPS = 64; // from one latent to another
// The worker computes one thing at a time, the most urgent first.
const [GALLERY, SAMPLE, PHOTO] = [0, 1, 2];

const absolute = (path) => new URL(path, document.baseURI).href;

/** What a query asks for, with every default written out: equal ones give the same sample. */
function normalized({ seed, label, truncation, index, gamma = 1, toward = null, blend = 0, moves = [] }) {
  return { seed, label, truncation, index, gamma, toward: blend ? toward : null, blend, moves };
}

/** Fires "progress" with detail.share while files arrive; then "ready", or "failed" if networks cannot run. */
export class NetworkEngine extends EventTarget {
  /** @param {object} facts `files`, `bytes`, `start` and more on the model: see folder.py */
  constructor(facts) {
    super();
    this.facts = facts;
    this.jobs = [];
    this.running = null;
    this.latents = new LruCache(CACHED_SEEDS);
    this.cache = new LruCache(CACHE_BYTES);
    this.loadStart().then(() => this.startWorker()).catch((error) => this.fail(error.message));
  }

  /** The view that the page opens with was computed in advance, so it need not wait for networks. */
  async loadStart() {
    const { start, files, gammas } = this.facts;
    const read = async (path) => {
      const response = await fetch(path);
      if (!response.ok) throw new Error(`${path} is missing from this page’s folder`);
      return response.arrayBuffer();
    };
    const [gallery, sample] = [read(files.gallery).then(decodeGallery), read(files.sample)];
    for (let index = 0; index < this.facts.gallery; index++) {
      this.remember("image", normalized({ ...start, index }), gallery.then((images) => images[index]));
    }
    this.remember("sample", normalized(start), sample.then((buffer) => decodePayload(buffer, gammas)));
    await Promise.allSettled([gallery, sample]);
  }

  startWorker() {
    const { files, size, channels, fit } = this.facts;
    // A blob's worker inherits this page's Content-Security-Policy, which a file's would not.
    const source = `import ${JSON.stringify(absolute("static/network_worker.js"))};`;
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.worker = new Worker(url, { type: "module" });
    this.worker.addEventListener("message", ({ data }) => this.receive(data));
    this.worker.addEventListener("error", () => this.fail("The networks cannot run in this browser."));
    const [runtime, generator, discriminator] = [files.runtime, files.generator, files.discriminator].map(absolute);
    const request = { runtime, generator, discriminator, size, channels, fit };
    this.worker.postMessage({ kind: "load", request });
    this.runNext();
  }

  receive({ loaded, ready, failed, result, error }) {
    if (loaded !== undefined) {
      this.dispatchEvent(new CustomEvent("progress", { detail: { share: loaded / this.facts.bytes } }));
    } else if (ready) this.dispatchEvent(new Event("ready"));
    else if (failed) this.dispatchEvent(new Event("failed"));
    else if (this.running) { // nothing waits for what arrives after a failure
      const { resolve, reject } = this.running;
      this.running = null;
      if (error !== undefined) reject(new Error(error));
      else resolve(result);
      this.runNext();
    }
  }

  fail(message) {
    this.failure = new Error(message);
    for (const { reject } of [this.running, ...this.jobs].filter(Boolean)) reject(this.failure);
    [this.running, this.jobs] = [null, []];
    this.dispatchEvent(new Event("failed"));
  }

  /** Have the worker do something: a promise of its result. */
  submit(kind, request, urgency, signal) {
    if (this.failure) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => {
      this.jobs.push({ kind, request, urgency, signal, resolve, reject });
      this.runNext();
    });
  }

  runNext() {
    if (!this.worker || this.running) return;
    const [dropped, wanted] = [[], []];
    for (const job of this.jobs) (job.signal?.aborted ? dropped : wanted).push(job);
    for (const { reject } of dropped) reject(new DOMException("no longer shown", "AbortError"));
    const next = wanted.reduce((best, job) => (best && best.urgency >= job.urgency ? best : job), null);
    this.jobs = wanted.filter((job) => job !== next);
    this.running = next;
    if (next) this.worker.postMessage({ kind: next.kind, request: next.request });
  }

  /** What was computed lately, or else what `compute` gives. */
  recall(kind, query, compute) {
    const known = this.cache.get(`${kind} ${JSON.stringify(query)}`);
    return known ?? this.remember(kind, query, compute());
  }

  remember(kind, query, promise) {
    const key = `${kind} ${JSON.stringify(query)}`;
    this.cache.set(key, promise, 0);
    promise.then((value) => this.cache.set(key, promise, sizeOf(value)), () => this.cache.delete(key));
    return promise;
  }

  image(query, signal) {
    const wanted = normalized(query);
    return this.recall("image", wanted, () => this.submit("image", this.request(wanted), GALLERY, signal));
  }

  sample(query) {
    const wanted = normalized(query);
    return this.recall("sample", wanted, async () => {
      return this.payload(await this.submit("sample", this.request(wanted), SAMPLE));
    });
  }

  async photo(file) {
    return this.payload(await this.submit("photo", { file }, PHOTO));
  }

  /** What the generator takes for a query. */
  request({ seed, label, truncation, index, gamma, toward, blend, moves }) {
    const { classes, directions } = this.facts;
    const start = this.latentsOf(seed)[index];
    const unmoved = blend ? between(start, this.latentsOf(toward)[index], blend / BLEND_STEPS) : start;
    const latents = moved(unmoved, moves, directions);
    const own = label ?? (classes.length ? index % classes.length : null);
    return { latents, truncation, label: own, gamma };
  }

  latentsOf(seed) {
    let latents = this.latents.get(seed);
    if (!latents) {
      latents = seededLatents(this.facts.gallery, this.facts.latentSize, seed);
      this.latents.set(seed, latents);
    }
    return latents;
  }

  /** A worker's result as a payload, its maps in the order of the model's layers. */
  payload({ image, size, scores, maps, withoutAttention = null, label = null }) {
    const order = Object.keys(this.facts.gammas);
    maps.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
    return { image, size, scores, withoutAttention, label, maps: maps.map(attentionMap) };
  }
}

function attentionMap({ name, queries, keys, weights, highlights }) {
  const length = countOf(keys);
  const row = (query) => weights.subarray(query * length, (query + 1) * length);
  return Object.assign(new AttentionMap(name, queries, keys, row, highlights), { bytes: weights.byteLength });
}

/** Bytes of an image, or of a payload. */
function sizeOf({ image, maps = [] }) {
  return maps.reduce((sum, { bytes = 0 }) => sum + bytes, image.byteLength);
}
