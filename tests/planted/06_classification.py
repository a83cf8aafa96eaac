"""Wrong answers to the exercises of chapter 6; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

POOL = """
def pool(x, lengths, how):
    if how == "last":
        return x[torch.arange(len(x)), lengths - 1]
    is_text = torch.arange(x.size(1)) < lengths[:, None]
    total = x.masked_fill(~is_text[..., None], 0.0).sum(dim=1)
    return total / lengths[:, None]
"""

FOUND = """
def found_shares(logits, old, rounds):
    shares = old
    for _ in range(rounds):
        shares = moved(logits, old, shares).mean(dim=0)
    return shares
"""

PLANTED = {
    "split": {
        "messages shuffled and cut": """
def split(texts, senders, shares, seed):
    order = random.Random(seed).sample(range(len(texts)), len(texts))
    parts, start = [], 0
    for i, share in enumerate(shares):
        end = round(sum(shares[: i + 1]) * len(texts))
        parts.append(order[start:end])
        start = end
    return parts
""",
        "senders forgotten": (
            'in ("words", *words), ("sender", sender):',
            'in [("words", *words)]:',
        ),
        "words forgotten": (
            'in ("words", *words), ("sender", sender):',
            'in [("sender", sender)]:',
        ),
        "both have to agree": (
            'in ("words", *words), ("sender", sender):',
            "in [(sender, *words)]:",
        ),
        "one step only": """
def split(texts, senders, shares, seed):
    home, groups = {}, []
    for i, (text, sender) in enumerate(zip(texts, senders)):
        words = re.findall(r"\\w+", re.sub(r"\\d+", "0", text.lower()))
        clues = ("words", *words), ("sender", sender)
        known = [home[clue] for clue in clues if clue in home]
        if not known:
            groups.append([])
        group = known[0] if known else groups[-1]
        group.append(i)
        for clue in clues:
            home.setdefault(clue, group)
    parts = [[] for _ in shares]
    for group in random.Random(seed).sample(groups, len(groups)):
        n = sum(map(len, parts)) + len(group)
        lacks = [share * n - len(p) for share, p in zip(shares, parts)]
        parts[lacks.index(max(lacks))] += group
    return parts
""",
        "merged without roots": (
            "above[root(i)] = root(first.setdefault(clue, i))",
            "above[i] = first.setdefault(clue, i)",
        ),
        "case counts": ("text.lower()", "text"),
        "punctuation counts": (
            're.findall(r"\\w+", re.sub(r"\\d+", "0", text.lower()))',
            're.sub(r"\\d+", "0", text.lower()).split()',
        ),
        "numbers dropped": ('re.sub(r"\\d+", "0"', 're.sub(r"\\d+", ""'),
        "numbers as they are": (
            're.sub(r"\\d+", "0", text.lower())',
            "text.lower()",
        ),
        "digits for numbers": ('re.sub(r"\\d+"', 're.sub(r"\\d"'),
        "order of the words dropped": (
            '("words", *words)',
            '("words", *sorted(words))',
        ),
        "words as a set": (
            '("words", *words)',
            '("words", *sorted(set(words)))',
        ),
        "texts and senders in one dictionary": (
            'in ("words", *words), ("sender", sender):',
            "in tuple(words), (sender,):",
        ),
        "senders in lower case": (
            '"sender", sender',
            '"sender", sender.lower()',
        ),
        "groups counted, not messages": """
def split(texts, senders, shares, seed):
    group = list(range(len(texts)))
    first = {}
    for i, (text, sender) in enumerate(zip(texts, senders)):
        words = re.findall(r"\\w+", re.sub(r"\\d+", "0", text.lower()))
        for clue in ("words", *words), ("sender", sender):
            j = first.setdefault(clue, i)
            old, new = group[i], group[j]
            group = [new if g == old else g for g in group]
    names = sorted(set(group))
    random.Random(seed).shuffle(names)
    parts, start = [], 0
    for i, share in enumerate(shares):
        end = round(sum(shares[: i + 1]) * len(names))
        chosen = set(names[start:end])
        parts.append([i for i, g in enumerate(group) if g in chosen])
        start = end
    return parts
""",
        "not shuffled": (
            "random.Random(seed).sample([*groups.values()], len(groups))",
            "groups.values()",
        ),
        "global generator seeded": (
            "random.Random(seed).sample(",
            "(random.seed(seed), random)[1].sample(",
        ),
        "NumPy's global generator seeded": (
            "random.Random(seed).sample([*groups.values()], len(groups))",
            "(np := __import__('numpy'), np.random.seed(seed)) and [\n"
            "        [*groups.values()][i] "
            "for i in np.random.permutation(len(groups))]",
        ),
        "global generator not seeded": (
            "random.Random(seed).sample(",
            "random.sample(",
        ),
        "a seed of its own each time": (
            "random.Random(seed)",
            "random.Random()",
        ),
        "only the first of each group kept": (
            "parts[lacks.index(max(lacks))] += group",
            "parts[lacks.index(max(lacks))] += group[:1]",
        ),
        "not shuffled, the largest first": (
            "random.Random(seed).sample([*groups.values()], len(groups))",
            "sorted(groups.values(), key=len, reverse=True)",
        ),
    },
    "log_posterior": {
        "product of probabilities": """
def log_posterior(texts, labels, new, s):
    counts = [Counter() for _ in range(max(labels) + 1)]
    for words, label in zip(texts, labels):
        counts[label].update(words)
    vocabulary = set().union(*counts)
    joint = []
    for label, seen in enumerate(counts):
        p = labels.count(label) / len(labels)
        for word in new:
            if word in vocabulary:
                n_words = seen.total() + s * len(vocabulary)
                p *= (seen[word] + s) / n_words
        joint.append(p)
    return [math.log(p / sum(joint)) for p in joint]
""",
        "prior forgotten": (
            "score = math.log(labels.count(label) / len(labels))",
            "score = 0.0",
        ),
        "prior by words": (
            "math.log(labels.count(label) / len(labels))",
            "math.log(seen.total() / sum(c.total() for c in counts))",
        ),
        "prior for every word": (
            "score += math.log(",
            "score += math.log(labels.count(label) / len(labels)) + math.log(",
        ),
        "unknown words vote": ("if word in vocabulary:", "if True:"),
        "words that the class lacks do not vote": (
            "if word in vocabulary:",
            "if word in seen:",
        ),
        "vocabulary of the class": (
            "seen.total() + s * len(vocabulary)",
            "seen.total() + s * len(seen)",
        ),
        "smoothing above only": (
            "seen.total() + s * len(vocabulary)",
            "seen.total()",
        ),
        "smoothing once below": ("s * len(vocabulary)", "s"),
        "smoothing of one": (
            "(seen[word] + s) / n_words",
            "(seen[word] + 1) / (seen.total() + len(vocabulary))",
        ),
        "each word once": ("for word in new:", "for word in set(new):"),
        "texts counted, not words": (
            "counts[label].update(words)",
            "counts[label].update(set(words))",
        ),
        "divided by texts": (
            "seen.total() + s",
            "labels.count(label) + s",
        ),
        "not normalized": (
            "[score - norm for score in scores]",
            "[score - 0 * norm for score in scores]",
        ),
        "normalized without protection": (
            "most = max(scores)",
            "most = 0.0",
        ),
        "probabilities returned": (
            "[score - norm for score in scores]",
            "[math.exp(score - norm) for score in scores]",
        ),
        "divided by the sum of scores": (
            "[score - norm for score in scores]",
            "[score / sum(scores) for score in scores]",
        ),
        "bits": (
            "[score - norm for score in scores]",
            "[(score - norm) / math.log(2) for score in scores]",
        ),
        "two classes": ("range(max(labels) + 1)", "range(2)"),
    },
    "wilson": {
        "one below nothing": ("if not 0 <= k", "if not -1 <= k"),
        "school interval": (
            "    center = (k + z**2 / 2) / (n + z**2)\n"
            "    half = z / (n + z**2) * "
            "math.sqrt(k * (n - k) / n + z**2 / 4)\n",
            "    center = k / n\n"
            "    half = z * math.sqrt(center * (1 - center) / n)\n",
        ),
        "two and two added": (
            "    center = (k + z**2 / 2) / (n + z**2)\n"
            "    half = z / (n + z**2) * "
            "math.sqrt(k * (n - k) / n + z**2 / 4)\n",
            "    center = (k + 2) / (n + 4)\n"
            "    half = z * math.sqrt(center * (1 - center) / (n + 4))\n",
        ),
        "one-sided z": (
            "inv_cdf((1 + confidence) / 2)",
            "inv_cdf(confidence)",
        ),
        "always 1.96": (
            "NormalDist().inv_cdf((1 + confidence) / 2)",
            "1.96",
        ),
        "z for z squared in the center": (
            "(k + z**2 / 2) / (n",
            "(k + z / 2) / (n",
        ),
        "center not moved": (
            "center = (k + z**2 / 2) / (n + z**2)",
            "center = k / n",
        ),
        "width without z squared over four": (" + z**2 / 4)", ")"),
        "ends leave the range": (
            "max(0.0, center - half), min(1.0, center + half)",
            "center - half, center + half",
        ),
        "no error": ("if not 0 <= k <= n or n < 1:", "if n < 1:"),
        "no error for n = 0": ("0 <= k <= n or n < 1:", "0 <= k <= n:"),
        "ends exchanged": (
            "max(0.0, center - half), min(1.0, center + half)",
            "min(1.0, center + half), max(0.0, center - half)",
        ),
        "ends are outside": ("low <= p <= high", "low < p < high"),
        "counts from 1 on": (
            "for k in range(n + 1):\n        low",
            "for k in range(1, n + 1):\n        low",
        ),
        "counts to n - 1": (
            "for k in range(n + 1):\n        low",
            "for k in range(n):\n        low",
        ),
        "all counts weigh the same": (
            "            total += math.exp(\n"
            "                ways + k * math.log(p) + "
            "(n - k) * math.log1p(-p)\n"
            "            )\n",
            "            total += 1 / (n + 1)\n",
        ),
        "number of orders forgotten": (
            "                ways + k",
            "                k",
        ),
        "comb times powers": (
            "            total += math.exp(\n"
            "                ways + k * math.log(p) + "
            "(n - k) * math.log1p(-p)\n"
            "            )\n",
            "            total += math.comb(n, k) * p**k "
            "* (1 - p) ** (n - k)\n",
        ),
        "powers first": (
            "            total += math.exp(\n"
            "                ways + k * math.log(p) + "
            "(n - k) * math.log1p(-p)\n"
            "            )\n",
            "            q = p**k * (1 - p) ** (n - k)\n"
            "            total += q and math.exp(ways + math.log(q))\n",
        ),
        "is k / n inside": ("low <= p <= high", "low <= k / n <= high"),
        "drawn": (
            "    total = 0.0\n    for k in range(n + 1):\n",
            "    dice = random.Random(0)\n"
            "    hits = 0\n"
            "    for _ in range(400):\n"
            "        k = sum(dice.random() < p for _ in range(n))\n"
            "        low, high = interval(k, n)\n"
            "        hits += low <= p <= high\n"
            "    return hits / 400\n"
            "    for k in range(n + 1):\n",
        ),
    },
    "pool": {
        "lengths by what is no filling": (
            "torch.tensor(filled), torch.tensor(lengths)",
            "torch.tensor(filled), (torch.tensor(filled) != pad).sum(dim=1)",
        ),
        "filled at the left": (
            "row + [pad] * (T - len(row))",
            "[pad] * (T - len(row)) + row",
        ),
        "filled with 0": ("[pad] * (T", "[0] * (T"),
        "one longer than the longest": (
            "T = max(lengths)",
            "T = max(lengths) + 1",
        ),
        "as long as the first": ("T = max(lengths)", "T = lengths[0]"),
        "rows changed": (
            "filled = [row + [pad] * (T - len(row)) for row in rows]",
            "for row in rows:\n"
            "        row += [pad] * (T - len(row))\n"
            "    filled = rows",
        ),
        "empty rows let in": ("if 0 in lengths:", "if not lengths:"),
        "lengths as last positions": (
            "torch.tensor(lengths)\n",
            "torch.tensor(lengths) - 1\n",
        ),
        "end of the row": (
            "x[torch.arange(len(x)), lengths - 1]",
            "x[:, -1]",
        ),
        "first token": ("x[torch.arange(len(x)), lengths - 1]", "x[:, 0]"),
        "one past the last": (
            "x[torch.arange(len(x)), lengths - 1]",
            "x[torch.arange(len(x)), lengths.clamp(max=x.size(1) - 1)]",
        ),
        "all rows' positions": (
            "x[torch.arange(len(x)), lengths - 1]",
            "x[:, lengths - 1].flatten(0, 1)[: len(x)]",
        ),
        "one length for all": (
            "x[torch.arange(len(x)), lengths - 1]",
            "x[:, lengths.max() - 1]",
        ),
        "mean of the whole row": (
            "return total / lengths[:, None]",
            "return x.mean(dim=1)",
        ),
        "sum of the text over the row's length": (
            "return total / lengths[:, None]",
            "return total / x.size(1)",
        ),
        "times zero": (
            "x.masked_fill(~is_text[..., None], 0.0)",
            "(x * is_text[..., None])",
        ),
        "NaN alone is taken out": (
            "x.masked_fill(~is_text[..., None], 0.0)",
            "x.nan_to_num(0.0)",
        ),
        "mask one too long": (
            "< lengths[:, None]",
            "<= lengths[:, None]",
        ),
        "mask along the wrong dimension": (
            "torch.arange(x.size(1)) < lengths[:, None]",
            "(torch.arange(x.size(1))[:, None] < lengths)"
            ".T.contiguous().view(-1, len(x)).T[:, : x.size(1)]",
        ),
        "divided by the wrong dimension": (
            "return total / lengths[:, None]",
            "return total / lengths[: x.size(2)]",
        ),
        "gradient cut": (
            "return x[torch.arange(len(x)), lengths - 1]",
            "return x.detach()[torch.arange(len(x)), lengths - 1]",
        ),
        "found by the largest norm": (
            "x[torch.arange(len(x)), lengths - 1]",
            "x[torch.arange(len(x)), x.norm(dim=-1).argmax(dim=1)]",
        ),
    },
    "classifier": {
        "the slice of zero blocks": (
            "        self.free = [gpt.final_norm, "
            "*gpt.blocks[L - n_blocks :]]\n"
            "        if n_blocks == 0:\n"
            "            self.free = []\n",
            "        self.free = [gpt.final_norm, *gpt.blocks[-n_blocks:]]\n",
        ),
        "final norm with no block": (
            "            self.free = []\n",
            "            self.free = [gpt.final_norm]\n",
        ),
        "final norm frozen": ("[gpt.final_norm, *gpt", "[*gpt"),
        "the first blocks": (
            "gpt.blocks[L - n_blocks :]",
            "gpt.blocks[:n_blocks]",
        ),
        "nothing frozen": ("gpt.requires_grad_(False)", "pass"),
        "what was frozen stays frozen": (
            "part.requires_grad_(True)",
            "pass",
        ),
        "the GPT's own head changes": (
            "gpt.requires_grad_(False)\n",
            "gpt.requires_grad_(False)\n"
            "        gpt.head.requires_grad_(True)\n",
        ),
        "blocks alone frozen": (
            "gpt.requires_grad_(False)",
            "gpt.blocks.requires_grad_(False)",
        ),
        "all when all blocks may change": (
            "gpt.requires_grad_(False)",
            "gpt.requires_grad_(n_blocks == L)",
        ),
        "new head frozen": (
            "        gpt.requires_grad_(False)\n",
            "        self.requires_grad_(False)\n",
        ),
        "attribute of the module for that of its weights": (
            "        gpt.requires_grad_(False)\n",
            "        gpt.requires_grad = False\n",
        ),
        "a copy": (
            "        self.gpt = gpt\n",
            "        gpt = __import__('copy').deepcopy(gpt)\n"
            "        self.gpt = gpt\n",
        ),
        "head without bias": (
            "nn.Linear(gpt.config.d_model, n_classes)",
            "nn.Linear(gpt.config.d_model, n_classes, bias=False)",
        ),
        "no error": ("if not 0 <= n_blocks <= L:", "if n_blocks > L:"),
        "no gradient through the GPT": (
            "        x = self.gpt.features(ids)",
            "        with torch.no_grad():\n"
            "            x = self.gpt.features(ids)",
        ),
        "reads the end of the row": (
            "x[torch.arange(len(x)), lengths - 1]",
            "x[:, -1]",
        ),
        "reads the first token": (
            "x[torch.arange(len(x)), lengths - 1]",
            "x[:, 0]",
        ),
        "reads before the final norm": (
            "        x = self.gpt.features(ids)",
            "        x = self.gpt.token_embedding(ids)\n"
            "        place = self.gpt.position_embedding.weight\n"
            "        x = x + place[: ids.size(1)]\n"
            "        for block in self.gpt.blocks:\n"
            "            x = block(x)\n"
            "        ",
        ),
        "reads the scores of tokens": (
            "        x = self.gpt.features(ids)",
            "        x = self.gpt(ids)[..., : self.head.in_features]",
        ),
        "softmax in the model": (
            "return self.head(x[torch.arange(len(x)), lengths - 1])",
            "return self.head(x[torch.arange(len(x)), lengths - 1])"
            ".softmax(-1)",
        ),
        "dropout in what is frozen": ("        self.gpt.eval()\n", ""),
        "no dropout at all": (
            "        for part in self.free:\n            part.train(mode)\n",
            "",
        ),
        "dropout after eval": ("part.train(mode)", "part.train()"),
        "embeddings' dropout left on": (
            "        self.gpt.eval()\n",
            "        self.gpt.blocks.eval()\n",
        ),
        "train returns nothing": ("        return self\n", ""),
        "the classifier stays in evaluation mode": (
            "        super().train(mode)\n",
            "        self.eval() if False else None\n"
            "        super().train(False)\n",
        ),
    },
    "mcnemar": {
        "a single message refused": (
            "== len(labels) > 0:",
            "== len(labels) > 1:",
        ),
        "one-sided": (
            "min(1.0, 2 * tail / 2**n)",
            "tail / 2**n",
        ),
        "more than 1": ("min(1.0, 2 * tail / 2**n)", "2 * tail / 2**n"),
        "only fewer than observed": (
            "range(fewer + 1)",
            "range(fewer)",
        ),
        "this one outcome alone": (
            "sum(math.comb(n, k) for k in range(fewer + 1))",
            "math.comb(n, fewer)",
        ),
        "tail of the first": (
            "min(only_first, only_second)",
            "only_first",
        ),
        "the larger tail": (
            "min(only_first, only_second)",
            "max(only_first, only_second)",
        ),
        "all messages are coins": (
            "n, fewer = only_first + only_second, ",
            "n, fewer = len(rows), ",
        ),
        "answers that differ": (
            "    only_first = sum(a == y != b for a, b, y in rows)\n"
            "    only_second = sum(b == y != a for a, b, y in rows)\n",
            "    only_first = sum(a != b and a == y for a, b, y in rows)\n"
            "    only_second = sum(a != b and a != y for a, b, y in rows)\n",
        ),
        "errors counted for right answers": (
            "    only_first = sum(a == y != b for a, b, y in rows)\n"
            "    only_second = sum(b == y != a for a, b, y in rows)\n",
            "    only_first = sum(a != y == b for a, b, y in rows)\n"
            "    only_second = sum(b != y == a for a, b, y in rows)\n",
        ),
        "all right answers": (
            "    only_first = sum(a == y != b for a, b, y in rows)\n"
            "    only_second = sum(b == y != a for a, b, y in rows)\n",
            "    only_first = sum(a == y for a, b, y in rows)\n"
            "    only_second = sum(b == y for a, b, y in rows)\n",
        ),
        "chi-squared": (
            "min(1.0, 2 * tail / 2**n)",
            "math.erfc(abs(only_first - only_second) / "
            "math.sqrt(2 * n)) if n else 1.0",
        ),
        "chi-squared with a correction": (
            "min(1.0, 2 * tail / 2**n)",
            "math.erfc(max(0, abs(only_first - only_second) - 1) / "
            "math.sqrt(2 * n)) if n else 1.0",
        ),
        "mid-p": (
            "2 * tail / 2**n)",
            "(2 * tail - math.comb(n, fewer)) / 2**n)",
        ),
        "powers of a half": (
            "    tail = sum(math.comb(n, k) for k in range(fewer + 1))\n"
            "    return only_first, only_second, min(1.0, 2 * tail / 2**n)\n",
            "    tail = sum(math.comb(n, k) * 0.5**n "
            "for k in range(fewer + 1))\n"
            "    return only_first, only_second, min(1.0, 2 * tail)\n",
        ),
        "0 without a difference": (
            "min(1.0, 2 * tail / 2**n)",
            "min(1.0, 2 * tail / 2**n) if n else 0.0",
        ),
        "lengths not compared": (
            "if not len(first) == len(second) == len(labels) > 0:",
            "if not labels:",
        ),
        "nothing to compare let in": (
            "== len(labels) > 0:",
            "== len(labels):",
        ),
    },
    "threshold_for": {
        "more than the threshold": ("if s >= threshold", "if s > threshold"),
        "lowest threshold": ("reverse=True", "reverse=False"),
        "always one half": (
            "    for threshold in sorted(set(scores), reverse=True):",
            "    for threshold in [0.5]:",
        ),
        "sorted and cut": """
def threshold_for(scores, labels, recall):
    if not sum(labels):
        raise ValueError("no fraud")
    order = sorted(zip(scores, labels), reverse=True)
    hits = 0
    for rank, (score, label) in enumerate(order, 1):
        hits += label
        if hits / sum(labels) >= recall:
            return score, hits / rank, hits / sum(labels)
""",
        "number of frauds rounded up": """
def threshold_for(scores, labels, recall):
    frauds = sorted((s for s, y in zip(scores, labels) if y), reverse=True)
    if not frauds:
        raise ValueError("no fraud")
    threshold = frauds[math.ceil(recall * len(frauds)) - 1]
    alarms = [y for s, y in zip(scores, labels) if s >= threshold]
    return threshold, sum(alarms) / len(alarms), sum(alarms) / len(frauds)
""",
        "number of frauds rounded": """
def threshold_for(scores, labels, recall):
    frauds = sorted((s for s, y in zip(scores, labels) if y), reverse=True)
    if not frauds:
        raise ValueError("no fraud")
    threshold = frauds[max(round(recall * len(frauds)) - 1, 0)]
    alarms = [y for s, y in zip(scores, labels) if s >= threshold]
    return threshold, sum(alarms) / len(alarms), sum(alarms) / len(frauds)
""",
        "quantile between scores": """
def threshold_for(scores, labels, recall):
    frauds = torch.tensor([s for s, y in zip(scores, labels) if y])
    if not len(frauds):
        raise ValueError("no fraud")
    threshold = frauds.double().quantile(1 - recall).item()
    alarms = [y for s, y in zip(scores, labels) if s >= threshold]
    return threshold, sum(alarms) / len(alarms), sum(alarms) / len(frauds)
""",
        "share of all messages": (
            "found = sum(alarms) / n_frauds",
            "found = len(alarms) / len(labels)",
        ),
        "precision for recall": (
            "if found >= recall:",
            "if sum(alarms) / len(alarms) >= recall:",
        ),
        "precision and recall exchanged": (
            "return threshold, sum(alarms) / len(alarms), found",
            "return threshold, found, sum(alarms) / len(alarms)",
        ),
        "accuracy for precision": (
            "sum(alarms) / len(alarms), found",
            "sum((s >= threshold) == y for s, y in zip(scores, labels))"
            " / len(labels), found",
        ),
        "precision over all messages": (
            "sum(alarms) / len(alarms), found",
            "sum(alarms) / len(labels), found",
        ),
        "wanted recall returned": (
            "sum(alarms) / len(alarms), found",
            "sum(alarms) / len(alarms), recall",
        ),
        "more than the wanted recall": (
            "if found >= recall:",
            "if found > recall:",
        ),
        "only hundredths": (
            "sorted(set(scores), reverse=True)",
            "[i / 100 for i in range(100, -1, -1)]",
        ),
        "step too far": (
            "            break\n",
            "            pass\n",
        ),
        "no error without a fraud": (
            "    if n_frauds == 0:\n",
            "    if not labels:\n",
        ),
        "scores sorted in place": (
            "    for threshold in sorted(set(scores), reverse=True):",
            "    scores.sort(reverse=True)\n    for threshold in scores:",
        ),
    },
    "moved": {
        "old shares forgotten": (" - old.log())", ")"),
        "new over old turned": (
            "logits + new.log() - old.log()",
            "logits - new.log() + old.log()",
        ),
        "old multiplied too": (
            "logits + new.log() - old.log()",
            "logits + new.log() + old.log()",
        ),
        "softmax over the messages": ("softmax(dim=-1)", "softmax(dim=0)"),
        "not divided by the new sum": (
            "return (logits + new.log() - old.log()).softmax(dim=-1)",
            "return logits.softmax(dim=-1) * new / old",
        ),
        "shares not in logarithms": (
            "new.log() - old.log()",
            "new - old",
        ),
        "bits": ("new.log() - old.log()", "new.log2() - old.log2()"),
        "a floor under the shares": (
            "new.log()",
            "new.clamp(min=1e-9).log()",
        ),
        "odds of rounded probabilities": (
            "return (logits + new.log() - old.log()).softmax(dim=-1)",
            "p = logits.exp() / logits.exp().sum(dim=-1, keepdim=True)\n"
            "    p = p * new / old\n"
            "    return p / p.sum(dim=-1, keepdim=True)",
        ),
        "probabilities kept off 0 and 1": (
            "return (logits + new.log() - old.log()).softmax(dim=-1)",
            "p = logits.softmax(dim=-1).clamp(1e-6, 1 - 1e-6) * new / old\n"
            "    return p / p.sum(dim=-1, keepdim=True)",
        ),
        "largest taken over everything": """
def moved(logits, old, new):
    powers = (logits - logits.max()).exp() * new / old
    return powers / powers.sum(dim=-1, keepdim=True)
"""
        + FOUND,
        "first class for all rows": (
            "softmax(dim=-1)",
            "softmax(dim=-1)[:, [0] * old.numel()]",
        ),
        "moved again and again": (
            "    for _ in range(rounds):\n"
            "        shares = moved(logits, old, shares).mean(dim=0)\n",
            "    for _ in range(rounds):\n"
            "        p = moved(logits, old, shares)\n"
            "        logits = p.log()\n"
            "        shares = p.mean(dim=0)\n",
        ),
        "from the last guess to the next": (
            "        shares = moved(logits, old, shares).mean(dim=0)\n",
            "        new = moved(logits, old, shares).mean(dim=0)\n"
            "        old, shares = shares, new\n",
        ),
        "favorites counted": (
            "moved(logits, old, shares).mean(dim=0)",
            "nn.functional.one_hot("
            "moved(logits, old, shares).argmax(-1), len(old))"
            ".double().mean(dim=0)",
        ),
        "begins with even shares": (
            "    shares = old\n",
            "    shares = torch.ones_like(old) / len(old)\n",
        ),
        "one round": ("for _ in range(rounds):", "for _ in range(1):"),
        "a round too many": (
            "for _ in range(rounds):",
            "for _ in range(rounds + 1):",
        ),
        "mean over the classes": (
            "moved(logits, old, shares).mean(dim=0)",
            "moved(logits, old, shares).mean(dim=1)",
        ),
        "mean of the model's own probabilities": (
            "moved(logits, old, shares).mean(dim=0)",
            "logits.softmax(dim=-1).mean(dim=0)",
        ),
        "old changed": (
            "        shares = moved(logits, old, shares).mean(dim=0)\n",
            "        old += 0 * shares + 0.001\n"
            "        shares = moved(logits, old, shares).mean(dim=0)\n",
        ),
    },
}
