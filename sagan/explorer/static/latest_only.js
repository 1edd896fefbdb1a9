// Work that follows a control which is dragged: never for a value that has changed since.

/** Run `work` one call at a time; of the calls made meanwhile, only the last one is carried out. */
export function latestOnly(work) {
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
