// Text inside a PNG file, as in sagan.images.credits: who made the pictures behind it.

const KEYWORD = "Copyright"; // of the PNG specification, 11.3.3.2
const HEADER_END = 33; // the signature, and the chunk IHDR

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}

/** The same PNG with a text in its metadata (the chunk iTXt, in UTF-8); without one, the PNG itself. */
export async function withText(png, text) {
  if (!text) return png;
  // The keyword, then: not compressed, no language, no translated keyword.
  const typeAndData = new TextEncoder().encode(`iTXt${KEYWORD}\0\0\0\0\0${text}`);
  const chunk = new Uint8Array(typeAndData.length + 8);
  const numbers = new DataView(chunk.buffer);
  numbers.setUint32(0, typeAndData.length - 4);
  chunk.set(typeAndData, 4);
  numbers.setUint32(4 + typeAndData.length, crc(typeAndData));
  return new Blob([png.slice(0, HEADER_END), chunk, png.slice(HEADER_END)], { type: png.type });
}
