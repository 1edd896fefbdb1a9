// Requests to the server.

import { LruCache } from "sagan/lru.js";
import { decodeGallery, decodePayload } from "sagan/payload.js";

const CACHE_BYTES = 64 * 2 ** 20; // galleries, and samples with their maps

async function request(url, options) {
  const response = await fetch(url, options).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Error("The server is not answering. Is sagan explore still running?");
  });
  if (response.ok) return response;
  let detail = response.statusText;
  try {
    ({ detail } = await response.json());
  } catch {
    // Not JSON: the status text must do.
  }
  throw new Error(typeof detail === "string" ? detail : "The server rejected these values.");
}

function upload(url, file, signal) {
  return request(url, {
    method: "POST", body: file, signal, headers: { "content-type": "application/octet-stream" },
  });
}

/** The lines of a response as they arrive. */
async function* linesOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    yield* lines;
  }
}

function queryString(parameters) {
  const pairs = Object.entries(parameters).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  return new URLSearchParams(pairs.filter(([, value]) => value !== null));
}

const cache = new LruCache(CACHE_BYTES);

/** Request /api/gallery or /api/sample, ArrayBuffer; recent results are cached. */
export function fetchBuffer(path, parameters) {
  const url = `api/${path}?${queryString(parameters)}`;
  const cached = cache.get(url);
  if (cached) return cached;
  const promise = request(url).then((response) => response.arrayBuffer());
  cache.set(url, promise, 0);
  promise.then((buffer) => cache.set(url, promise, buffer.byteLength), () => cache.delete(url));
  return promise;
}

/** The engine of the served page: everything is computed by the server. */
export class ServerEngine {
  /** @param {Object<string, number>} gammas gamma of each of the model's layers, in order */
  constructor(gammas) {
    this.gammas = gammas;
  }

  /** The gallery's images come together; one on the way to another seed is a sample. */
  async image(query) {
    if (query.blend) return this.sample(query);
    const { seed, label, truncation, index } = query;
    return decodeGallery(await fetchBuffer("gallery", { seed, label, truncation }))[index];
  }

  async sample(query) {
    return decodePayload(await fetchBuffer("sample", query), this.gammas);
  }

  async photo(file) {
    const response = await upload("api/image", file);
    return decodePayload(await response.arrayBuffer(), this.gammas);
  }

  /**
   * Find the sample that comes nearest to a photo.
   *
   * @param {File} file
   * @param {(progress: {done: number, total: number}) => void} onProgress called with steps
   * @param {AbortSignal} signal
   * @returns {Promise<{payload: Payload, distance: number, randomDistance: number}>}
   */
  async project(file, onProgress, signal) {
    const response = await upload("api/projection", file, signal);
    for await (const line of linesOf(response.body)) {
      const { detail, payload, distance, random_distance: randomDistance, ...progress } = JSON.parse(line);
      if (detail) throw new Error(detail);
      if (!payload) onProgress(progress);
      else {
        const { buffer } = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
        return { payload: decodePayload(buffer, this.gammas), distance, randomDistance };
      }
    }
    throw new Error("The server stopped before it was done.");
  }
}

const tags = new Map(); // of the histories that were read last, by run

/** The curves of "run" or "beside" and the steps of its images, as JSON; null if unchanged. */
export async function fetchHistory(run) {
  const response = await request(`api/${run}/history`, { cache: "no-cache" });
  const tag = response.headers.get("etag");
  if (tag === tags.get(run)) return null;
  const content = await response.json();
  tags.set(run, tag);
  return content;
}
