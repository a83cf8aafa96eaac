// Byte-pair encoding as the chapter builds it. A token is a string with one
// character (0 to 255) a byte, so that strings compare as Python's bytes do.
const toBytes = (text) =>
  Array.from(new TextEncoder().encode(text), (b) => String.fromCharCode(b));
const keyOf = (left, right) => left + "\u0100" + right;
// Python's \s is the property White_Space; JavaScript's own \s differs.
const PRETOKEN = new RegExp(
  "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+" +
    "| ?[^\\p{White_Space}\\p{L}\\p{N}]+" +
    "|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+",
  "gu");

function mergePair(word, left, right) {
  const merged = [];
  for (let i = 0; i < word.length; i++) {
    const hit = word[i] === left && word[i + 1] === right;
    merged.push(hit ? left + right : word[i]);
    if (hit) i++;
  }
  return merged;
}

// Merges arrive as pairs of ids in one flat list.
function readMerges(flat) {
  const vocabulary = Array.from({length: 256}, (_, b) => String.fromCharCode(b));
  const ranks = new Map(), ids = new Map();
  for (let i = 0; i < flat.length; i += 2) {
    const left = vocabulary[flat[i]], right = vocabulary[flat[i + 1]];
    ranks.set(keyOf(left, right), i / 2);
    vocabulary.push(left + right);
  }
  vocabulary.forEach((token, id) => ids.set(token, id));
  return {vocabulary, ranks, ids, count: flat.length / 2};
}

// All states of a pre-token on its way, each with the ranks of its pairs.
function stepsByRank(pretoken, ranks, limit) {
  const steps = [];
  for (let word = toBytes(pretoken); ; ) {
    const found = word.slice(1).map((right, i) => {
      const rank = ranks.get(keyOf(word[i], right));
      return rank < limit ? rank : Infinity;
    });
    const best = Math.min(...found, Infinity);
    steps.push({word, found, best});
    if (best === Infinity) return steps;
    const at = found.indexOf(best);
    word = mergePair(word, word[at], word[at + 1]);
  }
}

function leftToRight(pretoken, ranks) {
  const word = toBytes(pretoken);
  for (let i = 0; i + 1 < word.length; ) {
    if (ranks.has(keyOf(word[i], word[i + 1]))) {
      word.splice(i, 2, word[i] + word[i + 1]);
      i = 0;
    } else i++;
  }
  return word;
}

function encode(text, table, limit = table.count) {
  return (text.match(PRETOKEN) || []).flatMap((pretoken) => {
    const {word} = stepsByRank(pretoken, table.ranks, limit).at(-1);
    return word.map((token) => table.ids.get(token));
  });
}

// What a token looks like; bytes that are no whole characters, in hex.
function show(token) {
  const bytes = Uint8Array.from(token, (c) => c.charCodeAt(0));
  try {
    const text = new TextDecoder("utf-8", {fatal: true, ignoreBOM: true});
    return text.decode(bytes).replace(/ /g, "\u2423").replace(/\n/g, "\u21b5")
      .replace(/\t/g, "\u21e5").replace(/\p{C}/gu, "\ufffd");
  } catch {
    return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join(" ");
  }
}

function box(token, kind = "") {
  const span = document.createElement("span");
  span.className = "tok " + kind;
  span.textContent = show(token);
  return span;
}
