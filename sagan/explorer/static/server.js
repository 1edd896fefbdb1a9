// Requests to the server.

import { LruCache } from "sagan/lru.js";
import { decodeGallery, decodePayload } from "sagan/payload.js";

const CACHE_BYTES = 64 * 2 ** 20; // galleries, and samples with their maps

async function request(url, options) {
  const response = await fetch(url, options).catch(() => {
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

function queryString(parameters) {
  const known = Object.entries(parameters).filter(([, value]) => value !== null);
  return new URLSearchParams(known.map(([name, value]) => [name, String(value)]));
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
    const response = await request("api/image", {
      method: "POST",
      body: file,
      headers: { "content-type": "application/octet-stream" },
    });
    return decodePayload(await response.arrayBuffer(), this.gammas);
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
