"""Wrong answers to the exercises of chapter 2; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

MERGE = """
def merge(ids, pair, new):
    merged = []
    for i in ids:
        if merged and merged[-1] is not None and (merged[-1], i) == pair:
            merged[-1:] = [new, None]
        else:
            merged.append(i)
    return [i for i in merged if i is not None]
"""

SAVINGS = """
def savings(ids):
    return {p: len(ids) - len(merge([*ids], p, -1)) for p in pairwise(ids)}
"""

PLANTED = {
    "spelling": {
        "byte 255 taken for a word": ("if i > 255", "if i > 254"),
        "code points for bytes": (
            "else piece.encode()",
            "else map(ord, piece)",
        ),
        "unknown words dropped": ("else piece.encode()", "else []"),
        "no room for bytes": (
            "{word: 256 + i for",
            "{word: i for",
        ),
        "white space thrown away": (
            "WORD.findall(text)",
            "text.split()",
        ),
        "known words found within others": """
def spell_out(text, words):
    ids = []
    while text:
        for i, word in enumerate(words):
            if text.startswith(word):
                ids.append(256 + i)
                text = text[len(word):]
                break
        else:
            ids += text[0].encode()
            text = text[1:]
    return ids


def read_back(ids, words):
    parts = [words[i - 256].encode() if i > 255 else bytes([i]) for i in ids]
    return b"".join(parts).decode(errors="replace")
""",
        "each byte decoded by itself": (
            'b"".join(parts).decode(errors="replace")',
            '"".join(part.decode(errors="replace") for part in parts)',
        ),
        "bytes as Latin-1": (
            '.decode(errors="replace")',
            '.decode("latin-1")',
        ),
        "strict at a broken character": ('errors="replace"', ""),
        "broken characters dropped": ('"replace"', '"ignore"'),
        "spaces put between words": ('b"".join(parts)', 'b" ".join(parts)'),
    },
    "merge_and_savings": {
        "overlaps merged twice": """
def merge(ids, pair, new):
    merged = []
    for i, old in enumerate(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new)
        elif i == 0 or tuple(ids[i - 1 : i + 1]) != pair:
            merged.append(old)
    return merged
"""
        + SAVINGS,
        "last id lost": ("while i < len(ids):", "while i < len(ids) - 1:"),
        "only the first occurrence": (
            "found = tuple(ids[i : i + 2]) == pair",
            "found = tuple(ids[i : i + 2]) == pair and new not in merged",
        ),
        "given list changed": """
def merge(ids, pair, new):
    i = 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            ids[i : i + 2] = [new]
        i += 1
    return ids
"""
        + SAVINGS,
        "from the right": """
def merge(ids, pair, new):
    merged, i = [], len(ids)
    while i > 0:
        found = tuple(ids[max(i - 2, 0) : i]) == pair
        merged.append(new if found else ids[i - 1])
        i -= 2 if found else 1
    return merged[::-1]
"""
        + SAVINGS,
        "pairs in either order": (
            "found = tuple(ids[i : i + 2]) == pair",
            "found = sorted(ids[i : i + 2]) == sorted(pair)",
        ),
        "savings counted with overlaps": (
            "saved[pair] += run % 2 if run else 1",
            "saved[pair] += 1",
        ),
        "run not reset": ("if pair[0] == pair[1] else 0", "if True else 0"),
        "equal pairs save one only": (
            "saved[pair] += run % 2 if run else 1",
            "saved[pair] += run == 1 if run else 1",
        ),
        "every pair skips the next": MERGE
        + """
def savings(ids):
    saved = Counter()
    i = 0
    while i < len(ids) - 1:
        saved[ids[i], ids[i + 1]] += 1
        i += 2
    return dict(saved)
""",
        "by joined digits": """
def merge(ids, pair, new):
    text = ",".join(map(str, ids)).replace("%d,%d" % pair, str(new))
    return [int(n) for n in text.split(",") if n]
"""
        + SAVINGS,
        "runs pooled": MERGE
        + """
def savings(ids):
    counts = Counter(pairwise(ids))
    return {p: (n + (p[0] == p[1])) // (1 + (p[0] == p[1]))
            for p, n in counts.items()}
""",
        "only the even places": MERGE
        + """
def savings(ids):
    return dict(Counter(zip(ids[::2], ids[1::2])))
""",
    },
    "learn": {
        "first seen wins a tie": (
            "key=lambda p: (counts[p], p)",
            "key=lambda p: counts[p]",
        ),
        "lesser pair wins a tie": (
            "max(counts, key=lambda p: (counts[p], p)",
            "min(counts, key=lambda p: (-counts[p], p)",
        ),
        "ties by joined bytes": (
            "(counts[p], p)",
            '(counts[p], b"".join(p))',
        ),
        "ties by printable characters": (
            "(counts[p], p)",
            '(counts[p], [t.replace(b" ", b"\\xc4\\xa0") for t in p])',
        ),
        "longer token wins a tie": (
            "(counts[p], p)",
            "(counts[p], len(p[0] + p[1]), p)",
        ),
        "a pair counts once a word": (
            "for pair in pairwise(cut[word]):",
            "for pair in {*pairwise(cut[word])}:",
        ),
        "words counted once": ("counts[pair] += times", "counts[pair] += 1"),
        "characters for bytes": (
            "[bytes([b]) for b in word.encode()]",
            "[c.encode() for c in word]",
        ),
        "stops one merge early": (
            "len(merges) < n_merges",
            "len(merges) < n_merges - 1",
        ),
        "at least one more": (
            "counts[best] < at_least",
            "counts[best] <= at_least",
        ),
        "at_least forgotten": (" or counts[best] < at_least", ""),
        "no end when all is merged": (", default=None", ""),
        "counts never renewed": (
            "    while len(merges) < n_merges:\n"
            "        counts: Counter[tuple[bytes, bytes]] = Counter()",
            "    counts: Counter[tuple[bytes, bytes]] = Counter()\n"
            "    while len(merges) < n_merges:",
        ),
        "merges across words": """
def learn(words, n_merges, at_least=1):
    text = "".join(word * times for word, times in words.items())
    tokens = [bytes([b]) for b in text.encode()]
    merges = []
    while len(merges) < n_merges:
        counts = Counter(pairwise(tokens))
        best = max(counts, key=lambda p: (counts[p], p), default=None)
        if best is None or counts[best] < at_least:
            break
        merges.append(best)
        for i in range(len(tokens)):
            if tuple(tokens[i : i + 2]) == best:
                tokens[i : i + 2] = [b"".join(best)]
    return merges
""",
        "one occurrence a word merged": (
            'tokens[i : i + 2] = [b"".join(best)]',
            'tokens[i : i + 2] = [b"".join(best)]\n                    break',
        ),
    },
    "encode_bytes": {
        "left to right": (
            "i = found.index(min(found))",
            "i = next((i for i, f in enumerate(found) if f < math.inf), 0)",
        ),
        "sweeps from left to right": """
def encode_bytes(data, ranks):
    tokens = [bytes([b]) for b in data]
    merging = True
    while merging:
        merging, old, tokens = False, tokens, []
        while old:
            if len(old) > 1 and old[0] + old[1] in ranks:
                tokens.append(old.pop(0) + old.pop(0))
                merging = True
            else:
                tokens.append(old.pop(0))
    return [ranks[token] for token in tokens]
""",
        "longest token that fits": """
def encode_bytes(data, ranks):
    ids = []
    while data:
        n = max(n for n in range(len(data) + 1) if data[:n] in ranks)
        ids.append(ranks[data[:n]])
        data = data[n:]
    return ids
""",
        "fewest tokens": """
def encode_bytes(data, ranks):
    best = [[]]
    for n in range(1, len(data) + 1):
        cuts = [m for m in range(n) if data[m:n] in ranks]
        ways = [best[m] + [ranks[data[m:n]]] for m in cuts]
        best.append(min(ways, key=len))
    return best[-1]
""",
        "cut at spaces": """
def encode_bytes(data, ranks):
    ids = []
    for piece in re.findall(rb" ?[^ ]+| ", data):
        tokens = [bytes([b]) for b in piece]
        while len(tokens) > 1:
            found = [ranks.get(a + b, math.inf) for a, b in pairwise(tokens)]
            i = found.index(min(found))
            if found[i] == math.inf:
                break
            tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]
        ids += [ranks[token] for token in tokens]
    return ids
""",
        "highest rank first": (
            "found = [ranks.get(a + b, math.inf)",
            "found = [-ranks.get(a + b, -math.inf)",
        ),
        "rightmost of equals": (
            "i = found.index(min(found))",
            "i = max(i for i, f in enumerate(found) if f == min(found))",
        ),
        "last pair never looked at": (
            "for a, b in pairwise(tokens)]",
            "for a, b in pairwise(tokens[:-1])] or [math.inf]",
        ),
        "bytes are their own ids": (
            "[ranks[token] for token in tokens]",
            "[t[0] if len(t) == 1 else ranks[t] for t in tokens]",
        ),
        "characters for bytes": (
            "[bytes([b]) for b in data]",
            '[c.encode() for c in data.decode("utf-8", "ignore")]',
        ),
        "merges once": ("while len(tokens) > 1:", "for _ in tokens[1:2]:"),
    },
    "encode_special": {
        "in the order given": (
            "sorted(specials, key=len, reverse=True)",
            "list(specials)",
        ),
        "in the order of their ids": (
            "sorted(specials, key=len, reverse=True)",
            "sorted(specials, key=specials.get)",
        ),
        "capitals ignored": (
            'f"({either})", text)',
            'f"({either})", text, flags=re.IGNORECASE)',
        ),
        "stretches stripped": ("encode(part)", "encode(part.strip())"),
        "shortest first": ("key=len, reverse=True", "key=len"),
        "not escaped": ("map(re.escape, longest_first)", "longest_first"),
        "no specials at all": (" if specials else [text]", ""),
        "empty stretches": ("elif part:", "else:"),
        "letter by letter": (
            "ids += encode(part)",
            "for letter in part:\n                ids += encode(letter)",
        ),
        "forbidden ones read as text": (
            """raise ValueError(f"{part!r} is not among {sorted(allowed)}")""",
            "ids += encode(part)\n            continue",
        ),
        "only the allowed are looked for": (
            "sorted(specials, key=len",
            "sorted(allowed, key=len",
        ),
        "forbidden wherever it occurs": (
            "    ids: list[int] = []\n",
            "    for token in specials:\n"
            "        if token not in allowed and token in text:\n"
            "            raise ValueError(token)\n"
            "    ids: list[int] = []\n",
        ),
        "longest in the whole text first": """
def encode_special(text, encode, specials, allowed):
    for token in sorted(specials, key=len, reverse=True):
        if token in text:
            if token not in allowed:
                raise ValueError(token)
            before, after = text.split(token, 1)
            return [
                *encode_special(before, encode, specials, allowed),
                specials[token],
                *encode_special(after, encode, specials, allowed),
            ]
    return encode(text) if text else []
""",
    },
    "count_targets": {
        "no room for the last target": ("(N - T - 1) // S", "(N - T) // S"),
        "one window fewer": ("// S + 1", "// S"),
        "rounded up": (
            "(N - T - 1) // S + 1",
            "math.ceil((N - T) / S) + 1",
        ),
        "counted one by one": """
def count_targets(N, T, S):
    times = Counter()
    starts = [start for start in range(0, N, S) if start + T + 1 <= N]
    for start in starts:
        times.update(range(start + 1, start + T + 1))
    return len(starts), N - len(times), max(times.values(), default=0)
""",
        "windows counted one by one": (
            "(N - T - 1) // S + 1",
            "sum(1 for _ in range(0, N - T, S))",
        ),
        "inputs and targets need T + 1 each": (
            "if N <= T:",
            "if N <= T + 1:",
        ),
        "too short is not handled": (
            "    if N <= T:\n        return 0, N, 0\n",
            "",
        ),
        "gaps forgotten": ("min(S, T)", "S"),
        "overlaps forgotten": ("min(S, T)", "T"),
        "the first id is a target": ("* min(S, T) + T", "* min(S, T) + T + 1"),
        "T // S": ("math.ceil(T / S)", "T // S"),
        "more often than there are windows": (
            "min(windows, math.ceil(T / S))",
            "math.ceil(T / S)",
        ),
    },
    "document_dataset": {
        "across the border": """
class DocumentDataset(Dataset):
    def __init__(self, documents, T, S):
        self.ids = [i for ids in documents for i in ids]
        self.T, self.S = T, S

    def __len__(self):
        return (len(self.ids) - self.T - 1) // self.S + 1

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        start = index * self.S
        window = torch.tensor(self.ids[start : start + self.T + 1])
        return window[:-1], window[1:]
""",
        "targets not shifted": ("window[1:]", "window[:-1]"),
        "shifted the wrong way": (
            "return window[:-1], window[1:]",
            "return window[1:], window[:-1]",
        ),
        "window runs over the end": (
            "range(0, len(ids) - T, S)",
            "range(0, len(ids) - T + 1, S)",
        ),
        "last window lost": (
            "range(0, len(ids) - T, S)",
            "range(0, len(ids) - T - 1, S)",
        ),
        "stride forgotten": (
            "range(0, len(ids) - T, S)",
            "range(0, len(ids) - T, T)",
        ),
        "floats": (": start + self.T + 1])", ": start + self.T + 1]) * 1.0"),
        "int32": (
            "start : start + self.T + 1]",
            "start : start + self.T + 1], dtype=torch.int32",
        ),
        "no end for a for loop": (
            "self.places[index]",
            "self.places[index % len(self.places)]",
        ),
        "counts documents": (
            "return len(self.places)",
            "return len(self.documents)",
        ),
        "only the first window of each": (
            "for start in range(0, len(ids) - T, S)",
            "for start in range(0, len(ids) - T, S)[:1]",
        ),
        "stride goes on from document to document": (
            "            for start in range(0, len(ids) - T, S)\n",
            "            for start in range(len(ids) - T)\n"
            "            if (sum(map(len, documents[:n])) + start) % S == 0\n",
        ),
    },
    "embed": {
        "positions forgotten": (" + where @ P", ""),
        "a row of P for each id": (
            "where @ P\n",
            "P[ids % len(P)]\n",
        ),
        "places along the batch": (
            "one_hot(torch.arange(ids.size(1)), len(P))",
            "one_hot(torch.arange(ids.size(0)), len(P))",
        ),
        "one_hot guesses V": ("one_hot(ids, len(E))", "one_hot(ids)"),
        "last writer wins": (
            "dE = what.flatten(0, 1).T @ upstream.flatten(0, 1)",
            "dE = torch.zeros(V, upstream.size(-1))\n    dE[ids] += upstream",
        ),
        "last id never learns": (
            "    dE = what",
            "    what[..., -1] = 0\n    dE = what",
        ),
        "the last T places": ("where @ P\n", "P[-ids.size(1) :]\n"),
        "mean over occurrences": (
            "    return dE, where",
            "    dE /= what.sum((0, 1)).clamp(min=1)[:, None]\n"
            "    return dE, where",
        ),
        "batch and place mixed up": (
            "what.flatten(0, 1).T @ upstream.flatten(0, 1)",
            "what.flatten(0, 1).T @ upstream.transpose(0, 1).flatten(0, 1)",
        ),
        "mean over the batch": (
            "upstream.sum(dim=0)",
            "upstream.mean(dim=0)",
        ),
        "rows for T places only": (
            "where.T @ upstream.sum(dim=0)",
            "upstream.sum(dim=0)",
        ),
        "summed over places": (
            "where.T @ upstream.sum(dim=0)",
            "upstream.sum(dim=(0, 1)).expand(C, -1)",
        ),
        "gradient of P for each window": (
            "where.T @ upstream.sum(dim=0)",
            "where.T @ upstream",
        ),
    },
    "find_damage": {
        "plain English only": """
def find_damage(encode, decode):
    for text in ("Hello, world!", "It was a dark and stormy night."):
        if decode(encode(text)) != text:
            return text
    return None
""",
        "everything, but one text": (
            'for text in [*hard, " ".join(hard), *hard]:',
            'for text in [" ".join(hard)]:',
        ),
        "nothing twice": (
            '[*hard, " ".join(hard), *hard]',
            "sorted({*hard})",
        ),
        "no long text": ('"ab" * 3000, "ab " * 3000', '"ab" * 60'),
        "no long word": ('"ab" * 3000, ', ""),
        "no empty text": ('["", " "', '[" "'),
        "errors not caught": ("except Exception", "except ZeroDivisionError"),
        "an error is no damage": ("same = False", "continue"),
        "returns what came back": (
            "            return text",
            "            return decode(encode(text))",
        ),
        "says True": ("            return text", "            return True"),
        "always suspicious": ("    return None", '    return "a  b"'),
        "half a character pair": ('["", " "', '["\\ud83d", "", " "'),
        "compares stripped texts": (
            "decode(encode(text)) == text",
            "decode(encode(text)).strip() == text.strip()",
        ),
        "compares ids": (
            "decode(encode(text)) == text",
            "encode(decode(encode(text))) == encode(text)",
        ),
        "compares lengths": (
            "decode(encode(text)) == text",
            "len(decode(encode(text))) == len(text)",
        ),
        "random letters": """
def find_damage(encode, decode):
    import random
    rng = random.Random(0)
    for n in range(200):
        text = "".join(chr(rng.randrange(1, 0xD800)) for _ in range(n))
        try:
            if decode(encode(text)) != text:
                return text
        except Exception:
            return text
    return None
""",
    },
}
