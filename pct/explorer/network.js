// The pose tokenizer in plain JavaScript: poses to integer tokens and back.
//
// It runs the networks of pct/tokenizer as they are, in float64. That is how Python decides, too, wherever float32
// cannot tell two entries apart, so the ids are the same.
"use strict";

// GELU is x times the normal distribution function, which is tabulated: cubic between places errs by 1e-14.
const STEPS = 1024, FARTHEST = 8;
const [CDF, PDF] = (() => {
  const density = (x) => Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
  const cdf = new Float64Array(FARTHEST * STEPS + 2), pdf = Float64Array.from(cdf, (_, i) => density(i / STEPS));
  cdf[0] = 0.5;
  for (let i = 1; i < cdf.length; i++) {
    cdf[i] = cdf[i - 1] + (pdf[i - 1] + 4 * density((i - 0.5) / STEPS) + pdf[i]) / (6 * STEPS);
  }
  return [cdf, pdf];
})();

function gelu(x) {
  const far = Math.abs(x) * STEPS;
  if (far >= FARTHEST * STEPS) return x > 0 ? x : 0;
  const i = Math.floor(far), t = far - i, rest = 1 - t;
  const cdf = CDF[i] * rest * rest * (1 + 2 * t) + CDF[i + 1] * t * t * (3 - 2 * t)
    + (PDF[i] * rest - PDF[i + 1] * t) * t * rest / STEPS;
  return x * (x > 0 ? cdf : 1 - cdf);
}

// Sizes are cut to integers (| 0): as quotients they would make every index a float, ten times slower.

/** x (rows, in) to x W^T + b (rows, out). */
function linear(x, weight, bias) {
  const out = bias.length, width = (weight.length / out) | 0, rows = (x.length / width) | 0;
  const y = new Float64Array(rows * out);
  for (let row = 0; row < rows; row++) {
    const line = x.subarray(row * width, (row + 1) * width);
    for (let o = 0; o < out; o++) {
      // Four sums at once do not wait for each other.
      let s0 = bias[o], s1 = 0, s2 = 0, s3 = 0, i = 0, b = o * width;
      for (; i + 3 < width; i += 4, b += 4) {
        s0 += line[i] * weight[b];
        s1 += line[i + 1] * weight[b + 1];
        s2 += line[i + 2] * weight[b + 2];
        s3 += line[i + 3] * weight[b + 3];
      }
      for (; i < width; i++, b++) s0 += line[i] * weight[b];
      y[row * out + o] = s0 + s1 + (s2 + s3);
    }
  }
  return y;
}

/** x (in, width) to W x + b (out, width): linear over the rows. */
function linearOverRows(x, weight, bias) {
  const out = bias.length, rows = (weight.length / out) | 0, width = (x.length / rows) | 0;
  const y = new Float64Array(out * width);
  for (let o = 0; o < out; o++) {
    const start = o * width, end = start + width, first = o * rows, last = first + rows;
    y.fill(bias[o], start, end);
    // Two rows at once: a number of y is read and written half as often.
    for (let w = first, from = 0; w < last; w += 2, from += 2 * width) {
      const one = weight[w], two = w + 1 < last ? weight[w + 1] : 0, next = w + 1 < last ? width : 0;
      for (let at = start, i = from; at < end; at++, i++) y[at] += one * x[i] + two * x[i + next];
    }
  }
  return y;
}

function layerNorm(x, weight, bias) {
  const width = weight.length, y = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    let mean = 0, variance = 0;
    for (let i = 0; i < width; i++) mean += x[start + i] / width;
    for (let i = 0; i < width; i++) variance += (x[start + i] - mean) ** 2 / width;
    const scale = 1 / Math.sqrt(variance + 1e-5);
    for (let i = 0; i < width; i++) y[start + i] = (x[start + i] - mean) * scale * weight[i] + bias[i];
  }
  return y;
}

function add(x, y) {
  const sum = new Float64Array(x.length);
  for (let i = 0; i < sum.length; i++) sum[i] = x[i] + y[i];
  return sum;
}

class PoseTokenizer {
  /** @param settings What pct.explorer.page says of the model. @param weights Float64Arrays by their names there. */
  constructor(settings, weights) {
    Object.assign(this, { settings, weights });
    const tokens = settings.layout === "residual" ? settings.num_tokens : 1;
    const name = (m) => `quantizer.${tokens > 1 ? `stages.${m}` : "codebook"}.codebook_buffer`;
    this.codebooks = Array.from({ length: tokens }, (_, m) => weights[name(m)]);
    this.entryWidth = (this.codebooks[0].length / settings.codebook_size) | 0;
    if (settings.layout === "coarse_fine") this.numCoarse = settings.num_tokens - settings.fine_joints.length;
  }

  static async load(settings, text) {
    return new PoseTokenizer(settings, await readWeights(text, settings));
  }

  /** Joints (K * D) in model units, flags (K): true where known; to M ids. Unknown joints may hold any number. */
  encode(joints, visible) {
    const { keypoints, dims, layout } = this.settings;
    const given = Float64Array.from(joints, (x, i) => (visible[Math.floor(i / dims)] ? Math.fround(x) : 0));
    const mask = this.weights["embedding.mask_token"], width = mask.length;
    let x = this.apply(given, "embedding.coordinates");
    for (let k = 0; k < keypoints; k++) if (!visible[k]) x.set(mask, k * width);
    x = this.mix(x, "encoder", this.settings.encoder_blocks);
    if (layout === "parallel") {
      return this.nearestOfAll(this.apply(this.apply(x, "encoder.to_tokens", linearOverRows), "encoder.to_features"));
    }
    const { middle, unit } = this.settings;
    const pose = add(this.apply(x, "encoder.to_joints"), given).map((v) => (v - middle) / unit);
    return layout === "residual" ? this.encodeResidual(pose) : this.nearestOfAll(this.seenByTokens(pose));
  }

  /** M ids, or the first m of them where a prefix can be decoded, to joints (K * D) in model units. */
  decode(ids) {
    const blocks = this.settings.decoder_blocks;
    if (this.settings.layout === "parallel") {
      const entries = new Float64Array(ids.length * this.entryWidth);
      ids.forEach((id, m) => entries.set(this.entry(m, id), m * this.entryWidth));
      return this.tail(this.apply(this.apply(entries, "decoder.to_joints", linearOverRows), "decoder.start"), blocks);
    }
    const { dims, middle, unit } = this.settings;
    const { places, said } = this.settings.layout === "residual" ? this.readResidual(ids) : this.readCoarseFine(ids);
    const joints = places.map((v) => v * unit + middle);
    const input = new Float64Array(joints.length + said.length);
    said.forEach((value, k) => {
      input.set(joints.subarray(k * dims, (k + 1) * dims), k * (dims + 1));
      input[k * (dims + 1) + dims] = value;
    });
    return add(this.tail(this.apply(input, "decoder.start"), blocks), joints);
  }

  /** The entry (D) that id means as token m. */
  entry(m, id) {
    const book = this.codebooks[this.codebooks.length > 1 ? m : 0];
    return book.subarray(id * this.entryWidth, (id + 1) * this.entryWidth);
  }

  /** The ids whose entries are nearest to that of an id, nearest first, the id itself left out. */
  alike(m, id, count) {
    const far = this.distances(this.entry(m, id), m);
    return Array.from(far.keys()).sort((a, b) => far[a] - far[b] || a - b).filter((i) => i !== id).slice(0, count);
  }

  apply(x, name, map = linear) {
    return map(x, this.weights[`${name}.weight`], this.weights[`${name}.bias`]);
  }

  mlp(x, name, map) {
    return this.apply(this.apply(x, `${name}.0`, map).map(gelu), `${name}.2`, map);
  }

  mix(x, name, blocks) {
    for (let i = 0; i < blocks; i++) {
      const block = `${name}.blocks.${i}`;
      x = add(x, this.mlp(this.apply(x, `${block}.norm1`, layerNorm), `${block}.token_mlp`, linearOverRows));
      x = add(x, this.mlp(this.apply(x, `${block}.norm2`, layerNorm), `${block}.channel_mlp`, linear));
    }
    return this.apply(x, `${name}.norm`, layerNorm);
  }

  tail(x, blocks) {
    return this.apply(this.mix(x, "decoder", blocks), "decoder.to_coordinates");
  }

  /** Squared distances (V) of a feature from the entries of token m. */
  distances(feature, m) {
    const book = this.codebooks[this.codebooks.length > 1 ? m : 0], width = this.entryWidth;
    const far = new Float64Array(this.settings.codebook_size);
    for (let v = 0, at = 0; v < far.length; v++) {
      let sum = 0;
      for (let i = 0; i < width; i++, at++) {
        const step = feature[i] - book[at];
        sum += step * step;
      }
      far[v] = sum;
    }
    return far;
  }

  /** The nearest entry; of those that are equally near, up to the rounding of float64, the first one. */
  nearest(feature, m) {
    const far = this.distances(feature, m);
    let least = Infinity, most = 0;
    for (const d of far) {
      if (d < least) least = d;
      if (d > most) most = d;
    }
    return far.findIndex((d) => d <= least + 1e-12 * most);
  }

  nearestOfAll(features) {
    const width = this.entryWidth;
    return Array.from({ length: this.settings.num_tokens }, (_, m) =>
      this.nearest(features.subarray(m * width, (m + 1) * width), m));
  }

  encodeResidual(left) {
    return this.codebooks.map((_, m) => {
      const id = this.nearest(left, m), entry = this.entry(m, id);
      left = left.map((v, i) => v - entry[i]);
      return id;
    });
  }

  readResidual(ids) {
    const { keypoints, num_tokens } = this.settings;
    const places = ids.reduce((sum, id, m) => add(sum, this.entry(m, id)), new Float64Array(this.entryWidth));
    return { places, said: new Float64Array(keypoints).fill(ids.length / num_tokens) };
  }

  /** What each token sees of a pose (K * D): its limb, or its joint's place on the circles of a period. */
  seenByTokens(pose) {
    const { dims, period, fine_radius, fine_joints, num_tokens } = this.settings;
    const { "quantizer.see": see, "quantizer.offsets": offsets, "quantizer.signs": signs } = this.weights;
    const seen = Float64Array.from(offsets), content = this.entryWidth - 2, width = this.entryWidth;
    linear(pose, see, new Float64Array(see.length / pose.length)).forEach((value, i) => {
      seen[Math.floor(i / content) * width + (i % content)] += value;
    });
    fine_joints.forEach((joint, place) => {
      const start = (num_tokens - fine_joints.length + place) * width;
      for (let d = 0; d < dims; d++) {
        const angle = pose[joint * dims + d] * signs[joint * dims + d] * (2 * Math.PI / period);
        seen[start + d] += fine_radius * Math.cos(angle);
        seen[start + dims + d] += fine_radius * Math.sin(angle);
      }
    });
    return seen;
  }

  /** Coarse tokens give every joint a place, fine ones move it to where they say within a period. */
  readCoarseFine(ids) {
    const { dims, period, fine_radius, fine_joints, keypoints, trusted } = this.settings;
    const { "quantizer.offsets": offsets, "quantizer.signs": signs } = this.weights;
    const coarse = this.numCoarse, content = this.entryWidth - 2, said = new Float64Array(keypoints);
    const limbs = new Float64Array(coarse * content).map((_, i) => {
      const m = Math.floor(i / content), at = i % content;
      return this.entry(m, ids[m])[at] - offsets[m * this.entryWidth + at];
    });
    const places = add(this.apply(limbs, "quantizer.to_places"), this.mlp(limbs, "quantizer.mix", linear));
    ids.slice(coarse).forEach((id, place) => {
      const joint = fine_joints[place], entry = this.entry(coarse + place, id);
      for (let d = 0; d < dims; d++) {
        const cosine = entry[d], sine = entry[dims + d], at = joint * dims + d;
        const sure = Math.min(1, Math.sqrt(cosine ** 2 + sine ** 2 + 1e-12) / (trusted * fine_radius));
        const step = Math.atan2(sine, cosine) * signs[at] * (period / (2 * Math.PI)) - places[at];
        places[at] += sure * (step - period * Math.round(step / period));
        said[joint] += sure / dims;
      }
    });
    return { places, said };
  }
}
