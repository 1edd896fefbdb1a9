// A picture with its attention maps, as the server packed it: a safetensors file.

import { ranked, region } from "sagan/attention.js";
import { Recent } from "sagan/lru.js";

const GAZES = 16; // that a map remembers: of a point, six pins, and where the point was before

const READERS = {
  U8: (buffer, start, length) => new Uint8Array(buffer, start, length),
  I32: (buffer, start, length) => new Int32Array(buffer, start, length / 4),
  F32: (buffer, start, length) => new Float32Array(buffer, start, length / 4),
};

/** Where the tensors begin, in bytes from the start of a safetensors file. */
export function dataStart(buffer) {
  return 8 + Number(new DataView(buffer).getBigUint64(0, true));
}

/** What a safetensors file says of itself: {entries: {name: {dtype, shape, data_offsets}}, metadata}. */
export function headerOf(buffer) {
  const text = new TextDecoder().decode(new Uint8Array(buffer, 8, dataStart(buffer) - 8));
  const { __metadata__: metadata = {}, ...entries } = JSON.parse(text);
  return { entries, metadata };
}

/** ArrayBuffer of a safetensors file -> {tensors: {name: {shape, data}}, metadata}. */
export function unpack(buffer) {
  const { entries, metadata } = headerOf(buffer);
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [start, stop] }] of Object.entries(entries)) {
    tensors[name] = { shape, data: READERS[dtype](buffer, dataStart(buffer) + start, stop - start) };
  }
  return { tensors, metadata };
}

/** One attention layer's map of one picture: side x side queries over keySide x keySide keys. */
export class AttentionMap {
  constructor(name, bytes, scale, tour) {
    this.name = name;
    this.bytes = bytes.data;
    this.scale = scale.data;
    this.tour = [...tour.data];
    this.side = Math.round(Math.sqrt(bytes.shape[0]));
    this.keySide = Math.round(Math.sqrt(bytes.shape[1]));
    this.gazes = new Recent(GAZES);
  }

  /** What a query looks at: its row, the keys from the most attended down, and those that hold half of it. */
  gaze(query) {
    let gaze = this.gazes.get(query);
    if (!gaze) {
      const row = this.row(query);
      const ranking = ranked(row);
      gaze = { row, ranking, inside: region(row, ranking) };
      this.gazes.set(query, gaze);
    }
    return gaze;
  }

  /** The weights that a query gives to all keys, Float32Array (M,): scale * (byte / 255)^2. */
  row(query) {
    const length = this.keySide ** 2;
    const weights = new Float32Array(length);
    for (let m = 0; m < length; m++) {
      const root = this.bytes[query * length + m] / 255;
      weights[m] = this.scale[query] * root * root;
    }
    return weights;
  }
}

/** A picture (S x S x 3 bytes), its maps, and what the discriminator makes of it. */
export class Scene {
  /** @param {ArrayBuffer} buffer @param {Object<string, number>} gammas of the model's layers, in their order */
  constructor(buffer, gammas) {
    const { tensors, metadata } = unpack(buffer);
    this.size = tensors.picture.shape[0];
    this.picture = tensors.picture.data;
    this.without = tensors.without?.data ?? null;
    this.scores = [...tensors.scores.data];
    this.label = metadata.label === undefined ? null : Number(metadata.label);
    this.maps = Object.keys(gammas)
      .filter((name) => `bytes/${name}` in tensors)
      .map((name) => {
        const part = (kind) => tensors[`${kind}/${name}`];
        return new AttentionMap(name, part("bytes"), part("scale"), part("tour"));
      });
  }
}
