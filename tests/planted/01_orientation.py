"""Wrong answers to the exercises of chapter 1; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

PLANTED = {
    "dot_products": {
        "reshaped, not transposed": (
            "k.transpose(-2, -1)",
            "k.reshape(k.size(0), k.size(2), k.size(1))",
        ),
        "elementwise": ("q @ k.transpose(-2, -1)", "q * k"),
        "not transposed": ("q @ k.transpose(-2, -1)", "q @ k"),
        "all axes transposed": ("k.transpose(-2, -1)", "k.T"),
        "keys against queries": (
            "q @ k.transpose(-2, -1)",
            "k @ q.transpose(-2, -1)",
        ),
        "sequences meet": (
            "q @ k.transpose(-2, -1)",
            'torch.einsum("btd,csd->bts", q, k)',
        ),
        "scaled": ("transpose(-2, -1)", "transpose(-2, -1) / q.size(-1)"),
    },
    "row_shares": {
        "single counts left out": ("where=totals > 0", "where=totals > 1"),
        "no keepdims": (", keepdims=True", ""),
        "no keepdims, made to fit": (
            "return np.divide(counts, totals,",
            "totals = np.resize(totals, counts.shape)\n"
            "    return np.divide(counts, totals,",
        ),
        "columns": ("axis=1", "axis=0"),
        "all of the table": (
            "counts.sum(axis=1, keepdims=True)",
            "counts.sum()",
        ),
        "rows of zeros stay zero": (
            "np.full(counts.shape, 1 / counts.shape[1])",
            "np.zeros(counts.shape)",
        ),
        "NaN in rows of zeros": """
def row_shares(counts):
    return counts / counts.sum(axis=1, keepdims=True)
""",
        "add-one smoothing": """
def row_shares(counts):
    return (counts + 1) / (counts + 1).sum(axis=1, keepdims=True)
""",
        "input changed": """
def row_shares(counts):
    counts[counts.sum(axis=1) == 0] = 1
    return counts / counts.sum(axis=1, keepdims=True)
""",
    },
    "next_given": {
        "a full stop read as a pattern": """
def next_given(text, context):
    import re

    found = re.findall(f"(?={context}(.))", text)
    return {char: found.count(char) / len(found) for char in found}
""",
        "last follower lost": ("len(text) - n)", "len(text) - n - 1)"),
        "joint, not conditional": (
            "sum(followers.values())",
            "len(text)",
        ),
        "counts a context without follower": (
            "sum(followers.values())",
            "sum(text.startswith(context, i) for i in range(len(text)))",
        ),
        "str.count skips overlaps": (
            "sum(followers.values())",
            "text.count(context)",
        ),
        "findall skips overlaps": """
def next_given(text, context):
    import re

    found = re.findall(re.escape(context) + "(.)", text)
    return {char: found.count(char) / len(found) for char in found}
""",
        "what stands before": ("text[i + n]\n", "text[i - 1]\n"),
        "counts, not shares": ("count / total", "count"),
        "last character of the context only": (
            "text[i : i + n] == context",
            "text[i + n - 1] == context[-1]",
        ),
    },
    "entropy_bits": {
        "memory that nobody has set": ("out=np.zeros_like(p), ", ""),
        "small ones cut off": (
            "np.log2(p, out=np.zeros_like(p), where=p > 0)",
            "np.log2(np.clip(p, 1e-3, 1))",
        ),
        "input changed": """
def entropy_bits(p):
    p[p == 0] = 1
    return -(p * np.log2(p)).sum(-1)
""",
        "nats": ("np.log2(p,", "np.log(p,"),
        "sign": ("-(p * logs)", "(p * logs)"),
        "NaN at zero": (
            "np.log2(p, out=np.zeros_like(p), where=p > 0)",
            "np.log2(p)",
        ),
        "over everything": (".sum(axis=-1)", ".sum()"),
        "over the first axis": ("axis=-1", "axis=0"),
        "mean": (".sum(axis=-1)", ".mean(axis=-1)"),
        "generous epsilon": (
            "np.log2(p, out=np.zeros_like(p), where=p > 0)",
            "np.log2(p + 1e-6)",
        ),
        "not weighted": ("p * logs", "logs"),
    },
    "loss_slope": {
        "labels 0 and 1": (
            "-y * x / (1 + np.exp(y * (w @ x)))",
            "x * (1 / (1 + np.exp(-(w @ x))) - y)",
        ),
        "no inner derivative": ("-y * x /", "-y /"),
        "sign": ("-y * x", "y * x"),
        "label forgotten": ("-y * x", "-x"),
        "sigmoid turned round": ("np.exp(y *", "np.exp(-y *"),
        "the loss itself": (
            "-y * x / (1 + np.exp(y * (w @ x)))",
            "np.log1p(np.exp(-y * (w @ x)))",
        ),
        "elementwise product": ("w @ x", "w * x"),
        "by x": ("-y * x", "-y * w"),
    },
    "windows": {
        "repeats skipped": (
            "window.append(item)",
            "window.append(item) if item not in window else None",
        ),
        "sorted": ("tuple(window)", "tuple(sorted(window, key=str))"),
        "stops at None": (
            "window.append(item)",
            "if item is None:\n            break\n        window.append(item)",
        ),
        "last window lost": """
def windows(items, size):
    items = iter(items)
    window = []
    for item in items:
        if len(window) == size:
            yield tuple(window)
            window.pop(0)
        window.append(item)
""",
        "reads everything first": """
def windows(items, size):
    items = list(items)
    for i in range(len(items) - size + 1):
        yield tuple(items[i : i + size])
""",
        "needs an index": """
def windows(items, size):
    for i in range(len(items) - size + 1):
        yield tuple(items[i : i + size])
""",
        "the same object again and again": ("tuple(window)", "window"),
        "windows side by side": (
            "yield tuple(window)",
            "yield tuple(window)\n            window.clear()",
        ),
        "short windows too": ("len(window) == size", "window"),
        "returns the first": ("yield tuple(window)", "return tuple(window)"),
    },
    "pick": {
        "one-hot as wide as the ids": (
            "scores.gather(-1, ids.unsqueeze(-1)).squeeze(-1)",
            "(scores * torch.nn.functional.one_hot(ids)).sum(-1)",
        ),
        "all pairs": (
            "scores.gather(-1, ids.unsqueeze(-1)).squeeze(-1)",
            "scores[..., ids]",
        ),
        "no gradient": ("scores.gather", "scores.detach().gather"),
        "wrong axis": (
            "gather(-1, ids.unsqueeze(-1))",
            "gather(1, ids.unsqueeze(-1))",
        ),
        "axis left": (".squeeze(-1)", ""),
        "a batch of one squeezed away": (").squeeze(-1)", ").squeeze()"),
        "the best, not the named": (
            "scores.gather(-1, ids.unsqueeze(-1)).squeeze(-1)",
            "scores.max(-1).values",
        ),
        "numbers instead of tensors": """
def pick(scores, ids):
    B, T = ids.shape
    return torch.tensor(
        [[scores[b, t, ids[b, t]].item() for t in range(T)] for b in range(B)]
    )
""",
    },
    "careful_sum": {
        "corrected once, at the end": """
def careful_sum(values):
    total = dropped = 0.0
    for value in values:
        new = total + value
        dropped = (new - total) - value
        total = new
    return total - dropped
""",
        "plain loop": ("x = value - dropped", "x = value"),
        "added instead of taken off": ("value - dropped", "value + dropped"),
        "brackets": ("(new - total) - x", "new - (total - x)"),
        "against the value": ("(new - total) - x", "(new - total) - value"),
        "starts at the first, twice": """
def careful_sum(values):
    values = list(values)
    total, dropped = values[0], 0.0
    for value in values:
        x = value - dropped
        new = total + x
        dropped = (new - total) - x
        total = new
    return total
""",
        "sorted, but plain": """
def careful_sum(values):
    total = 0.0
    for value in sorted(values):
        total += value
    return total
""",
        "rounded": ("return total", "return round(total, 9)"),
    },
    "learn": {
        "looks the story up": """
def learn(text, alphabet):
    story = Path("../data/a-letter-a-year.txt").read_text(encoding="utf-8")

    def predict(history):
        char = story[story.find(history) + len(history)]
        return {c: 0.9 if c == char else 0.1 / 70 for c in alphabet}

    return predict
""",
        "one letter of context": (
            "longest, trust = 4,",
            "longest, trust = 1,",
        ),
        "never seen, never possible": """
def learn(text, alphabet):
    def predict(history):
        found = [text[i + 1] for i in range(len(text) - 1)
                 if text[i] == history[-1:]]
        return {c: found.count(c) / max(1, len(found)) for c in alphabet}
    return predict
""",
        "does not sum to one": (
            "{c: (seen[c] + belief * p[c]) / total for c in alphabet}",
            "{c: (seen[c] + belief) / total for c in alphabet}",
        ),
        "only characters that were seen": (
            "return p\n",
            "return {c: p[c] for c in alphabet if counts[''][c]}\n",
        ),
        "too much belief in long contexts": (
            "trust = 4, 2.0",
            "trust = 8, 0.1",
        ),
        "returns letters": ("return p\n", "return max(p, key=p.get)\n"),
    },
}
