// Asking the server, never for more than is still wanted.

const KEPT = 32; // samples with their maps, the most recent ones

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
  const response = await fetch(url, options);
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

const kept = new Map();

/** ArrayBuffer of /api/gallery or /api/sample; recent ones are not asked for twice. */
export function ask(path, parameters) {
  const url = `api/${path}?${query(parameters)}`;
  const found = kept.get(url);
  kept.delete(url);
  const promise = found ?? answer(url).then((response) => response.arrayBuffer());
  kept.set(url, promise);
  promise.catch(() => kept.delete(url));
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
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

/** The curves and grids of the run, as JSON. */
export async function history() {
  const response = await answer("api/run/history", { cache: "no-cache" });
  return response.json();
}
