"""Evidence: which texts repeat, and what a count of right answers proves.

Woven from chapters/06_classification.ipynb. Edit the chapter, then run `make
lib`.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist


def fingerprint(text: str) -> str:
    """Return what is left of a text without case, marks and numbers.

    Each number becomes a 0, all else that is no letter a space: "Call
    0800-123 NOW!" and "call 0500 456 now" have the same fingerprint.
    """
    parts = re.findall(r"[^\W\d_]+|\d+", text.casefold())
    plain = ("0" if part[0].isdigit() else part for part in parts)
    return " ".join(plain) or text.strip()


def wilson_interval(
    right: int, n: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the lowest and highest accuracy that `right` of n allow.

    All p for which right / n lies within z standard deviations,
    sqrt(p (1 - p) / n), of p (Wilson, 1927; section "How sure?"). Raises
    ValueError unless 0 <= right <= n, n >= 1 and 0 < confidence < 1.
    """
    if not 0 <= right <= n or n < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"right={right} of n={n} at confidence={confidence}: expected "
            "0 <= right <= n, n >= 1 and 0 < confidence < 1"
        )
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    center = (right + z2 / 2) / (n + z2)
    half = math.sqrt(z2 * (right * (n - right) / n + z2 / 4)) / (n + z2)
    return max(0.0, center - half), min(1.0, center + half)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Return how often chance parts two equally good classifiers so far.

    first, second: whether each of the two was right, message by message of
    one test set. Only messages on which they differ count, and under
    chance each falls to either side like a coin (McNemar, 1947; the exact,
    two-sided form). Raises ValueError for lists of different lengths.
    """
    pairs = Counter(zip(map(bool, first), map(bool, second), strict=True))
    n = pairs[True, False] + pairs[False, True]
    fewer = min(pairs[True, False], pairs[False, True])
    tail = sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n
    return min(1.0, 2 * tail)


@dataclass(frozen=True)
class Confusion:
    """What became of the positives and the negatives of a test set."""

    hits: int  # positives that were called so
    misses: int
    false_alarms: int  # negatives that were called positive
    passes: int

    @classmethod
    def at(
        cls, threshold: float, scores: Sequence[float], labels: Sequence[int]
    ) -> "Confusion":
        """Call positive what scores the threshold or more; label 1 is."""
        n = Counter(
            (label == 1, score >= threshold)
            for label, score in zip(labels, scores, strict=True)
        )
        found, alarm = (n[True, True], n[True, False]), n[False, True]
        return cls(*found, alarm, n[False, False])

    @property
    def precision(self) -> float:
        """The share of alarms that are right; NaN without an alarm."""
        return divide(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        """The share of positives that are found; NaN without a positive."""
        return divide(self.hits, self.hits + self.misses)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        wrong = self.misses + self.false_alarms
        return divide(2 * self.hits, 2 * self.hits + wrong)


def divide(part: int, whole: int) -> float:
    """Return a ratio; NaN where there is nothing to divide by."""
    return part / whole if whole else math.nan
