// Asking the server, never for more than is still wanted.

import { Recent } from "sagan/lru.js";

const KEPT = 64 * 2 ** 20; // bytes of galleries and of samples with their maps

/** Runs work one call at a time; of the calls that come meanwhile only the last one is done. */
export function latest(work) {
  let next = null;
  let running = false;
  return async (...args) => {
    next = args;
    if (running) return;
    running = true;
    try {
      while (next) {
        const now = next;
        next = null;
        await work(...now);
      }
    } finally {
      running = false;
    }
  };
}

async function answer(url, options) {
  const response = await fetch(url, options).catch(() => {
    throw new Error("The server does not answer: has sagan explore ended?");
  });
  if (response.ok) return response;
  let detail = response.statusText;
  try {
    ({ detail } = await response.json());
  } catch {
    // No JSON: the status must do.
  }
  throw new Error(typeof detail === "string" ? detail : "the server refused these values");
}

function query(parameters) {
  const known = Object.entries(parameters).filter(([, value]) => value !== null);
  return new URLSearchParams(known.map(([name, value]) => [name, String(value)]));
}

const kept = new Recent(KEPT);

/** ArrayBuffer of /api/gallery or /api/sample; recent ones are not asked for twice. */
export function ask(path, parameters) {
  const url = `api/${path}?${query(parameters)}`;
  const found = kept.get(url);
  if (found) return found;
  const promise = answer(url).then((response) => response.arrayBuffer());
  kept.set(url, promise, 0);
  promise.then((buffer) => kept.set(url, promise, buffer.byteLength), () => kept.delete(url));
  return promise;
}

/** Let the discriminator look at a picture file: ArrayBuffer of a scene. */
export async function send(file) {
  const response = await answer("api/picture", {
    method: "POST",
    body: file,
    headers: { "content-type": "application/octet-stream" },
  });
  return response.arrayBuffer();
}

let read = null; // the tag of the history that was read last

/** The curves and grids of the run, as JSON; null when they are as they were. */
export async function history() {
  const response = await answer("api/run/history", { cache: "no-cache" });
  const tag = response.headers.get("etag");
  if (tag === read) return null;
  const content = await response.json();
  read = tag;
  return content;
}
