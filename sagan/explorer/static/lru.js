// What was used last, as much of it as there is room for.

/** A map that drops what was used longest ago when its values weigh more than `limit` together. */
export class Recent {
  constructor(limit) {
    this.limit = limit;
    this.held = 0;
    this.entries = new Map();
  }

  get(key) {
    const entry = this.entries.get(key);
    if (!entry) return undefined;
    this.entries.delete(key);
    this.entries.set(key, entry);
    return entry.value;
  }

  set(key, value, weight = 1) {
    this.delete(key);
    this.entries.set(key, { value, weight });
    this.held += weight;
    for (const oldest of this.entries.keys()) {
      if (this.held <= this.limit) break;
      this.delete(oldest);
    }
  }

  delete(key) {
    this.held -= this.entries.get(key)?.weight ?? 0;
    this.entries.delete(key);
  }
}
