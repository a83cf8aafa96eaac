"""Scores that need no judge: repeats, right answers, intervals, agreement.

Woven from chapters/07_instructions.ipynb. Edit the chapter, then run `make
lib`.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import torch


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text; a word's second time is a word of its own.

    So "the dog and the cat" has five words: the, dog, and, the 2, cat.
    """
    count: Counter[str] = Counter()
    words = set()
    for word in re.findall(r"[\w'-]+", text.lower()):
        count[word] += 1
        words.add(word if count[word] == 1 else f"{word} {count[word]}")
    return frozenset(words)


def near_duplicates(
    texts: Sequence[str], known: Sequence[str], threshold: float = 0.75
) -> list[tuple[int, int, float]]:
    """Find pairs (i, j, s) with texts[i] near known[j], the nearest first.

    s is the share of common words among all words of both, threshold or
    more. Exact: of two such texts, one's k rarest words must hold a word of
    the other, k = the words that may be missing, plus one.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], got {threshold}")
    bags = [word_set(text) for text in known]
    count = Counter(word for bag in bags for word in bag)
    holders = defaultdict(list)
    for j, bag in enumerate(bags):
        for word in bag:
            holders[word].append(j)
    found = []
    for i, bag in enumerate(map(word_set, texts)):
        k = len(bag) - math.ceil(threshold * len(bag) - 1e-9) + 1
        rarest = sorted(bag, key=lambda word: (count[word], word))[:k]
        near = {j for word in rarest for j in holders[word]}
        shares = ((j, len(bag & bags[j]) / len(bag | bags[j])) for j in near)
        found += [(i, j, s) for j, s in shares if s >= threshold]
    return sorted(found, key=lambda pair: (-pair[2], pair[0], pair[1]))


def normal(text: str, exact: bool = False) -> str:
    """Return a text with spaces, commas and capitals made uniform.

    That is space around words, commas in numbers, a full stop at the end
    and, unless `exact`, capitals.
    """
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", " ".join(text.split()))
    text = text.removesuffix(".").strip()
    return text if exact else text.lower()


def bootstrap_interval(
    values: Sequence[float] | Sequence[bool],
    groups: Sequence[object] | None = None,
    *,
    level: float = 0.95,
    n_draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of a mean, from means of samples drawn with replacement.

    Values of one group (of one person, say) are drawn or left together.
    """
    if not values or (groups is not None and len(groups) != len(values)):
        raise ValueError(
            f"{len(values)} values and {len(groups or values)} groups: "
            "expected one or more values, and a group for each"
        )
    sums: defaultdict[object, float] = defaultdict(float)
    sizes: Counter[object] = Counter(groups or range(len(values)))
    for value, group in zip(values, groups or range(len(values))):
        sums[group] += value
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(sums), (n_draws, len(sums)), generator=generator)
    total = torch.tensor([sums[g] for g in sizes], dtype=torch.float64)
    n = torch.tensor([sizes[g] for g in sizes], dtype=torch.float64)
    means = total[drawn].sum(1) / n[drawn].sum(1)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2]).double()
    low, high = means.quantile(ends).tolist()
    return low, high


def agreement(a: Sequence[object], b: Sequence[object]) -> float:
    """How often two judges say the same."""
    if not a or len(a) != len(b):
        raise ValueError(
            f"{len(a)} and {len(b)} verdicts: expected as many, 1 or more"
        )
    return sum(x == y for x, y in zip(a, b)) / len(a)


def kappa(
    a: Sequence[float], b: Sequence[float], quadratic: bool = False
) -> float:
    """Agreement beyond chance: 1 always, 0 as by chance (Cohen, 1960).

    Quadratic: two verdicts disagree as the square of their distance. Where
    both judges always say one and the same, chance explains it: nan.
    """
    n, said_a, said_b = len(a), Counter(a), Counter(b)
    agreement(a, b)  # refuses what cannot be compared

    def apart(x: float, y: float) -> float:
        return (x - y) ** 2 if quadratic else float(x != y)

    seen = sum(apart(x, y) for x, y in zip(a, b)) / n
    chance = sum(
        apart(x, y) * said_a[x] * said_b[y] for x in said_a for y in said_b
    ) / (n * n)
    return math.nan if chance == 0 else 1 - seen / chance
