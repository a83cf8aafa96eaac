// The GPT of chapter 4, a token at a time; the keys and values of the tokens
// before are kept. Weights are named and laid out as in lib/gpt.py: a matrix
// holds the rows that belong to its outputs, one after the other.

const HALVES = Float32Array.from({length: 1 << 16}, (_, bits) => {
  const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) / 1024;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction)
    : 2 ** -14 * fraction);
});

// A safetensors file of 16-bit numbers, in base64: its tensors by name.
function readWeights(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  const start = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = new TextDecoder().decode(bytes.subarray(8, start));
  const weights = {};
  for (const [name, about] of Object.entries(JSON.parse(header))) {
    if (name === "__metadata__") continue;
    if (about.dtype !== "F16") throw Error(`${name} is ${about.dtype}, not F16`);
    const [from, to] = about.data_offsets;
    const halves = new Uint16Array(bytes.buffer, start + from, (to - from) / 2);
    weights[name] = Float32Array.from(halves, (bits) => HALVES[bits]);
  }
  return weights;
}

// A tuned model: what the tuning added, on top of the weights before.
function addWeights(weights, gaps) {
  const sums = {...weights};
  for (const [name, gap] of Object.entries(gaps)) {
    sums[name] = weights[name].map((weight, i) => weight + gap[i]);
  }
  return sums;
}

// Four sums at a time: each alone would wait for its own last addition.
function linear(x, weight, bias) {
  const d = x.length, y = new Float32Array(weight.length / d);
  for (let row = 0, at = 0; row < y.length; row += 1) {
    let a = bias ? bias[row] : 0, b = 0, c = 0, e = 0, i = 0;
    for (; i + 3 < d; i += 4, at += 4) {
      a += weight[at] * x[i];
      b += weight[at + 1] * x[i + 1];
      c += weight[at + 2] * x[i + 2];
      e += weight[at + 3] * x[i + 3];
    }
    for (; i < d; i += 1, at += 1) a += weight[at] * x[i];
    y[row] = a + b + (c + e);
  }
  return y;
}

function normalize(x, scale, shift) {
  const mean = x.reduce((sum, n) => sum + n, 0) / x.length;
  const variance = x.reduce((sum, n) => sum + (n - mean) ** 2, 0) / x.length;
  const unit = 1 / Math.sqrt(variance + 1e-5);
  return x.map((n, i) => (n - mean) * unit * scale[i] + shift[i]);
}

function gelu(x) {
  const c = Math.sqrt(2 / Math.PI);
  return x.map((n) => 0.5 * n * (1 + Math.tanh(c * (n + 0.044715 * n ** 3))));
}

// What a model keeps while it reads: how many tokens, their keys and values.
function newReader(config) {
  const empty = () => Array.from({length: config.n_layers}, () =>
    new Float32Array(config.context_length * config.d_model));
  return {length: 0, keys: empty(), values: empty()};
}

// One query against the keys so far, head by head: the mixed values, and the
// weights (heads x tokens) that each head gives to the tokens.
function attendLast(q, keys, values, n, heads) {
  const d = q.length / heads, mixed = new Float32Array(q.length);
  const weights = new Float32Array(heads * n);
  for (let h = 0; h < heads; h += 1) {
    const own = weights.subarray(h * n, (h + 1) * n);
    for (let t = 0; t < n; t += 1) {
      let score = 0;
      for (let i = h * d; i < (h + 1) * d; i += 1) {
        score += q[i] * keys[t * q.length + i];
      }
      own[t] = score / Math.sqrt(d);
    }
    const highest = own.reduce((a, b) => Math.max(a, b), -Infinity);
    let total = 0;
    for (let t = 0; t < n; t += 1) total += own[t] = Math.exp(own[t] - highest);
    for (let t = 0; t < n; t += 1) {
      own[t] /= total;
      for (let i = h * d; i < (h + 1) * d; i += 1) {
        mixed[i] += own[t] * values[t * q.length + i];
      }
    }
  }
  return [mixed, weights];
}

// Read one more token: the logits of the next, and each layer's attention.
function readToken({config, weights}, reader, id) {
  const D = config.d_model, t = reader.length, attention = [];
  if (t >= config.context_length) throw Error("the context is full");
  const token = weights["token_embedding.weight"].subarray(id * D, (id + 1) * D);
  const place = weights["position_embedding.weight"].subarray(t * D);
  let x = token.map((n, i) => n + place[i]);
  const add = (y) => { x = x.map((n, i) => n + y[i]); };
  for (let layer = 0; layer < config.n_layers; layer += 1) {
    const of = (name) => weights[`blocks.${layer}.${name}`];
    const pass = (x, name) => linear(x, of(`${name}.weight`), of(`${name}.bias`));
    const norm = (name) =>
      normalize(x, of(`${name}.weight`), of(`${name}.bias`));
    const qkv = pass(norm("attention_norm"), "attention.qkv");
    reader.keys[layer].set(qkv.subarray(D, 2 * D), t * D);
    reader.values[layer].set(qkv.subarray(2 * D), t * D);
    const [mixed, seen] = attendLast(qkv.subarray(0, D), reader.keys[layer],
      reader.values[layer], t + 1, config.n_heads);
    attention.push(seen);
    add(pass(mixed, "attention.out"));
    const wide = gelu(pass(norm("feed_forward_norm"), "feed_forward.up"));
    add(pass(wide, "feed_forward.down"));
  }
  reader.length += 1;
  x = normalize(x, weights["final_norm.weight"], weights["final_norm.bias"]);
  return {logits: linear(x, weights["token_embedding.weight"]), attention};
}
