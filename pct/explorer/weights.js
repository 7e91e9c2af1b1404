// The weights of a page: text to numbers.
"use strict";

// 7 bits a character; after these four, which a page would not keep, the next 7 bits share a longer character.
const UNSAFE = [0, 10, 13, 60];

/** Undo pct.explorer.packing.pack_text: text to bytes. */
function unpackText(text, length) {
  const bytes = new Uint8Array(length);
  let held = 0, bits = 0, place = 0;
  const push = (seven) => {
    held = ((held << 7) | seven) & 0x7fff;
    bits += 7;
    if (bits >= 8 && place < length) bytes[place++] = held >> (bits -= 8);
  };
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) push(UNSAFE[(code >> 7) - 1]);
    push(code & 127);
  }
  return bytes;
}

/** Bytes in planes (all first bytes, all second bytes, ...) to numbers: float16 from two planes, float32 from four. */
function numbersOfPlanes(planes, width) {
  const count = planes.length / width;
  const words = new Uint32Array(count);
  for (let plane = 0; plane < width; plane++) {
    for (let i = 0; i < count; i++) words[i] |= planes[plane * count + i] << (8 * plane);
  }
  return width === 4 ? new Float32Array(words.buffer) : Float32Array.from(words, halfToNumber);
}

function halfToNumber(half) {
  const sign = half & 0x8000 ? -1 : 1, exponent = (half >> 10) & 31, fraction = half & 1023;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

/** Read the weights of a page: an object of Float64Arrays by name. */
async function readWeights(text, settings) {
  const packed = unpackText(text, settings.packed_bytes);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const numbers = numbersOfPlanes(new Uint8Array(await new Response(stream).arrayBuffer()), settings.number_bytes);
  const weights = {};
  let start = 0;
  for (const [name, size] of settings.tensors) {
    weights[name] = Float64Array.from(numbers.subarray(start, start + size));
    start += size;
  }
  return weights;
}
