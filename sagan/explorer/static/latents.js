// The latents of a seed: the numbers that NumPy's Philox generator and its normal distribution give,
// so that a seed means the same pictures here and in Python. A test compares them bit for bit.

const MASK = 2n ** 64n - 1n;

// Philox 4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
const MULTIPLIERS = [0xd2e7470ee14c6c93n, 0xca5a826395121157n];
const KEY_STEPS = [0x9e3779b97f4a7c15n, 0xbb67ae8584caa73bn];
const ROUNDS = 10;

// The ziggurat (Marsaglia and Tsang 2000) under exp(-x^2 / 2), x > 0, in 256 layers of equal area.
const LAYERS = 256;
const TAIL = 3.6541528853610088; // where the lowest layer's tail begins
const AREA = 0.004928673233974658; // of each layer
const GRAIN = 2 ** 23; // positions within a layer
const density = (x) => Math.exp(-0.5 * x * x);

/** For each layer: its width over GRAIN, the position up to which it is inside, and its height. */
const LAYER_TABLES = (() => {
  const scale = new Float32Array(LAYERS);
  const inside = new Uint32Array(LAYERS);
  const height = new Float32Array(LAYERS);
  const lowest = AREA / density(TAIL); // as wide as if the tail were part of its rectangle
  scale[0] = lowest / GRAIN;
  inside[0] = (TAIL / lowest) * GRAIN;
  height[0] = 1;
  for (let layer = LAYERS - 1, x = TAIL; layer > 0; layer--) {
    const above = layer > 1 ? Math.sqrt(-2 * Math.log(AREA / x + density(x))) : 0;
    scale[layer] = x / GRAIN;
    inside[layer] = (above / x) * GRAIN;
    height[layer] = density(x);
    x = above;
  }
  return { scale, inside, height };
})();

/** Two 64-bit keys from a seed, as NumPy's SeedSequence derives them (O'Neill's seed_seq_fe). */
function keysOf(seed) {
  const finish = (value) => (value ^ (value >>> 16)) >>> 0;
  let constant = 0x43b0d7e5;
  const hash = (value) => {
    const mixed = value ^ constant;
    constant = Math.imul(constant, 0x931e8875);
    return finish(Math.imul(mixed, constant));
  };
  const mix = (x, y) => finish(Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y));
  const pool = [seed, 0, 0, 0].map(hash);
  for (let from = 0; from < 4; from++) {
    for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mix(pool[to], hash(pool[from]));
  }
  constant = 0x8b51f9dd;
  const words = pool.map((value) => {
    const mixed = value ^ constant;
    constant = Math.imul(constant, 0x58f38ded);
    return BigInt(finish(Math.imul(mixed, constant)));
  });
  return [words[0] | (words[1] << 32n), words[2] | (words[3] << 32n)];
}

/** The generator's numbers: eight 32-bit words of every block, blocks counted from 1. */
function* wordsOf(seed) {
  const start = keysOf(seed);
  for (let block = 1n; ; block++) {
    let [a, b, c, d] = [block, 0n, 0n, 0n];
    let [key0, key1] = start;
    for (let round = 0; round < ROUNDS; round++) {
      const [first, second] = [MULTIPLIERS[0] * a, MULTIPLIERS[1] * c];
      [a, b, c, d] = [(second >> 64n) ^ b ^ key0, second & MASK, (first >> 64n) ^ d ^ key1, first & MASK];
      key0 = (key0 + KEY_STEPS[0]) & MASK;
      key1 = (key1 + KEY_STEPS[1]) & MASK;
    }
    for (const word of [a, b, c, d]) {
      yield Number(word & 0xffffffffn);
      yield Number(word >> 32n);
    }
  }
}

/** A standard normal number. */
function normal(word) {
  const { scale, inside, height } = LAYER_TABLES;
  const uniform = () => (word() >>> 8) / 2 ** 24;
  const exponential = () => Math.fround(-Math.log1p(-uniform()));
  for (;;) {
    const bits = word();
    const layer = bits & 0xff;
    const position = bits >>> 9;
    const x = Math.fround(position * scale[layer]) * ((bits >>> 8) & 1 ? -1 : 1);
    if (position < inside[layer]) return x;
    if (layer > 0) {
      const [low, high] = [height[layer], height[layer - 1]];
      const y = Math.fround(Math.fround(Math.fround(high - low) * uniform()) + low);
      if (y < density(x)) return x;
      continue;
    }
    for (;;) { // in the tail; the sign is a bit that the layer's position does not need here
      const beyond = Math.fround(Math.fround(1 / TAIL) * exponential());
      if (2 * exponential() > beyond * beyond) {
        return Math.fround(Math.fround(TAIL) + beyond) * ((position >>> 8) & 1 ? -1 : 1);
      }
    }
  }
}

/** Standard normal latents, `num` of `size` numbers each: those of `sagan sample --seed`. */
export function seededLatents(num, size, seed) {
  const words = wordsOf(seed);
  const word = () => words.next().value;
  return Array.from({ length: num }, () => Float32Array.from({ length: size }, () => normal(word)));
}

/** The latents at a share of the way between two, at equal angles; norms are interpolated linearly. */
export function between(start, end, share) {
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const [startNorm, endNorm] = [start, end].map((latents) => Math.sqrt(dot(latents, latents)));
  const cosine = dot(start, end) / (startNorm * endNorm);
  const angle = Math.acos(Math.min(Math.max(cosine, -1 + 1e-6), 1 - 1e-6));
  const norm = (startNorm + share * (endNorm - startNorm)) / Math.sin(angle);
  const [from, to] = [Math.sin((1 - share) * angle) / startNorm, Math.sin(share * angle) / endNorm];
  return start.map((value, i) => norm * (from * value + to * end[i]));
}
