// A picture with its attention maps, as the server packed it: a safetensors file.

const READERS = {
  U8: (buffer, start, length) => new Uint8Array(buffer, start, length),
  I32: (buffer, start, length) => new Int32Array(buffer, start, length / 4),
  F32: (buffer, start, length) => new Float32Array(buffer, start, length / 4),
};

/** ArrayBuffer of a safetensors file -> {tensors: {name: {shape, data}}, metadata}. */
export function unpack(buffer) {
  const headerLength = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, headerLength)));
  const { __metadata__: metadata = {}, ...entries } = header;
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [start, stop] }] of Object.entries(entries)) {
    tensors[name] = { shape, data: READERS[dtype](buffer, 8 + headerLength + start, stop - start) };
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
  constructor(buffer) {
    const { tensors, metadata } = unpack(buffer);
    this.size = tensors.picture.shape[0];
    this.picture = tensors.picture.data;
    this.without = tensors.without?.data ?? null;
    this.scores = [...tensors.scores.data];
    this.label = metadata.label === undefined ? null : Number(metadata.label);
    this.maps = Object.keys(tensors)
      .filter((name) => name.startsWith("bytes/"))
      .map((name) => name.slice("bytes/".length))
      .sort(inOrder)
      .map((name) => {
        const part = (kind) => tensors[`${kind}/${name}`];
        return new AttentionMap(name, part("bytes"), part("scale"), part("tour"));
      });
  }
}

/** The generator's layers first, small feature maps first. */
function inOrder(a, b) {
  const [[networkA, layerA], [networkB, layerB]] = [a.split("."), b.split(".")];
  return networkB.localeCompare(networkA) || layerA.split("_")[1] - layerB.split("_")[1];
}
