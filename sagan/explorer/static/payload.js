// An image with its attention maps, as the server sends it: a safetensors file.

import { ranked, region } from "sagan/attention.js";
import { LruCache } from "sagan/lru.js";

const CACHED_QUERIES = 16; // by each map: the point, six pins, and where the point was before

const READERS = {
  U8: (buffer, start, length) => new Uint8Array(buffer, start, length),
  I32: (buffer, start, length) => new Int32Array(buffer, start, length / 4),
  F32: (buffer, start, length) => new Float32Array(buffer, start, length / 4),
};

/** The byte at which the tensors of a safetensors file begin. */
export function dataStart(buffer) {
  return 8 + Number(new DataView(buffer).getBigUint64(0, true));
}

/** The header of a safetensors file: {entries: {name: {dtype, shape, data_offsets}}, metadata}. */
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

/** An attention layer's map for one image: side x side queries, keySide x keySide keys. */
export class AttentionMap {
  constructor(name, bytes, scale, highlights) {
    this.name = name;
    this.bytes = bytes.data;
    this.scale = scale.data;
    this.highlights = [...highlights.data];
    this.side = Math.round(Math.sqrt(bytes.shape[0]));
    this.keySide = Math.round(Math.sqrt(bytes.shape[1]));
    this.cache = new LruCache(CACHED_QUERIES);
  }

  /** What a query attends to: its row, the keys by rank, and the region that gets half of it. */
  attended(query) {
    let attended = this.cache.get(query);
    if (!attended) {
      const row = this.row(query);
      const ranking = ranked(row);
      attended = { row, ranking, inside: region(row, ranking) };
      this.cache.set(query, attended);
    }
    return attended;
  }

  /** The weights of all keys for a query, Float32Array (M,): scale * (byte / 255)^2. */
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

/** An image (S x S x 3 bytes), its attention maps, and the discriminator's scores. */
export class Payload {
  /** @param {ArrayBuffer} buffer @param {Object<string, number>} gammas gamma of each of the model's layers, in order */
  constructor(buffer, gammas) {
    const { tensors, metadata } = unpack(buffer);
    this.size = tensors.image.shape[0];
    this.image = tensors.image.data;
    this.withoutAttention = tensors.without_attention?.data ?? null;
    this.scores = [...tensors.scores.data];
    this.label = metadata.label === undefined ? null : Number(metadata.label);
    this.maps = Object.keys(gammas)
      .filter((name) => `bytes/${name}` in tensors)
      .map((name) => {
        const part = (kind) => tensors[`${kind}/${name}`];
        return new AttentionMap(name, part("bytes"), part("scale"), part("highlights"));
      });
  }
}
