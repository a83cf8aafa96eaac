"""Wrong answers to the exercises of appendix D; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

PLANTED = {
    "window": {
        "one id of a shard left out": ("and end > 0", "and end > 1"),
        "one before the first": ("if not 0 <= start", "if not -1 <= start"),
        "all files read": """
def window(shards, start, length):
    row = np.concatenate([shard[:] for shard in shards])
    if start + length > len(row):
        raise ValueError(f"{start + length} of {len(row)}")
    return row[start : start + length]
""",
        "one shard only": """
def window(shards, start, length):
    total = sum(map(len, shards))
    if start + length > total:
        raise ValueError(f"{start + length} of {total}")
    for shard in shards:
        if start < len(shard):
            return shard[start : start + length]
        start -= len(shard)
""",
        "two shards at most": """
def window(shards, start, length):
    total = sum(map(len, shards))
    if start + length > total:
        raise ValueError(f"{start + length} of {total}")
    for i, shard in enumerate(shards):
        if start < len(shard):
            first = shard[start : start + length]
            if len(first) == length:
                return first
            rest = shards[i + 1][: length - len(first)]
            return np.concatenate([first, rest])
        start -= len(shard)
""",
        "begins where it ended": ("max(start, 0)", "start"),
        "reads on after the end": ("and end > 0", ""),
        "a silently shorter window": (
            "if not 0 <= start < end <= total:",
            "if False:",
        ),
        "refuses the last window": ("end <= total", "end < total"),
        "one too few": (
            "min(end, len(shard))]",
            "min(end, len(shard) - 1)]",
        ),
        "names the start only": (
            "window up to {end}, but there are {total} ids",
            "no window at {start}",
        ),
    },
    "accumulate": {
        "mean of means": """
def accumulate(model, batches):
    model.zero_grad()
    total = 0.0
    for ids, targets in batches:
        logits = model(ids).flatten(0, 1)
        loss = F.cross_entropy(logits, targets.flatten())
        (loss / len(batches)).backward()
        total += loss.item()
    return total / len(batches)
""",
        "mean over the parts with targets": """
def accumulate(model, batches):
    model.zero_grad()
    batches = [b for b in batches if (b[1] != IGNORE).any()]
    total = 0.0
    for ids, targets in batches:
        logits = model(ids).flatten(0, 1)
        loss = F.cross_entropy(logits, targets.flatten())
        (loss / len(batches)).backward()
        total += loss.item()
    return total / len(batches)
""",
        "no division": ("(loss / n).backward()", "loss.backward()"),
        "ignored targets counted": (
            "int((targets != IGNORE).sum())",
            "targets.numel()",
        ),
        "old gradients kept": ("    model.zero_grad()\n", ""),
        "emptied for each part": (
            "        (loss / n).backward()",
            "        model.zero_grad()\n        (loss / n).backward()",
        ),
        "joined": (
            "    n = sum(",
            "    batches = [tuple(map(torch.cat, zip(*batches)))]\n"
            "    n = sum(",
        ),
        "a tensor": ("total += loss.item()", "total += loss.detach()"),
    },
    "factors": {
        "sums, one over N": ("W / N for", "1 / N for"),
        "means as they are": ("W * n / N for", "1.0 for"),
        "own count": ("[W / N for _ in counts]", "[1 / n for n in counts]"),
        "means, no W": ("W * n / N for", "n / N for"),
        "upside down": ("W * n / N for", "N / (W * n) for"),
        "sum whatever the loss": (
            "return [W * n / N for n in counts]",
            "return [W / N for n in counts]",
        ),
        "nothing to learn from": ("if N == 0:", "if W == 0:"),
        "processes without targets left out": (
            "W, N = len(counts), sum(counts)",
            "W, N = sum(n > 0 for n in counts), sum(counts)",
        ),
    },
}
