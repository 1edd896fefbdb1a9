// An image with its attention maps, and the safetensors file in which the server sends it.

import { ranked, region } from "sagan/attention.js";
import { countOf, gridOf } from "sagan/grid.js";
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

/** An attention layer's map for one image. */
export class AttentionMap {
  /**
   * @param {string} name the layer's
   * @param {Grid} queries
   * @param {Grid} keys
   * @param {(query: number) => Float32Array} row the weights of all keys for a query
   * @param {number[]} highlights queries worth a look, the most interesting first
   */
  constructor(name, queries, keys, row, highlights) {
    Object.assign(this, { name, queries, keys, row, highlights });
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
}

/** Rows that were sent as bytes: weight = scale * (byte / 255)^2. */
function quantizedRow(bytes, scale, length) {
  return (query) => {
    const weights = new Float32Array(length);
    for (let m = 0; m < length; m++) {
      const root = bytes[query * length + m] / 255;
      weights[m] = scale[query] * root * root;
    }
    return weights;
  };
}

/**
 * @typedef {object} Payload an image with what both networks say of it
 * @property {Uint8Array} image RGB bytes, row by row
 * @property {{width: number, height: number}} size of the image in pixels
 * @property {Uint8Array | null} withoutAttention the same latents without attention; null for a photo
 * @property {number[]} scores the discriminator's logits
 * @property {number | null} label the class that it was generated for
 * @property {AttentionMap[]} maps in the order of the model's layers
 */

/**
 * @param {ArrayBuffer} buffer as sagan.explorer.payload encodes it
 * @param {Object<string, number>} gammas gamma of each of the model's layers, in order
 * @returns {Payload}
 */
export function decodePayload(buffer, gammas) {
  const { tensors, metadata } = unpack(buffer);
  const size = sizeOf(tensors.image.shape);
  const maps = Object.keys(gammas)
    .filter((name) => `bytes/${name}` in tensors)
    .map((name) => {
      const [bytes, scale, highlights] = ["bytes", "scale", "highlights"].map((kind) => tensors[`${kind}/${name}`]);
      const [queries, keys] = bytes.shape.map((count) => gridOf(count, size));
      const row = quantizedRow(bytes.data, scale.data, countOf(keys));
      return new AttentionMap(name, queries, keys, row, [...highlights.data]);
    });
  return {
    size,
    image: tensors.image.data,
    withoutAttention: tensors.without_attention?.data ?? null,
    scores: [...tensors.scores.data],
    label: metadata.label === undefined ? null : Number(metadata.label),
    maps,
  };
}

/** Width and height of an image array (height, width, channels). */
export const sizeOf = ([height, width]) => ({ width, height });

/** The images of a gallery, {image, size} each, from the bytes of a safetensors file. */
export function decodeGallery(buffer) {
  const { shape: [num, ...shape], data } = unpack(buffer).tensors.images;
  const size = sizeOf(shape);
  const bytes = 3 * countOf(size);
  return Array.from({ length: num }, (_, index) => {
    return { image: data.subarray(index * bytes, (index + 1) * bytes), size };
  });
}
