"""What a classifier has to beat: counting words.

Woven from chapters/06_classification.ipynb. Edit the chapter, then run `make
lib`.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence


class NaiveBayes:
    """Count words by class, and let each word of a text vote.

    score(c) = ln share(c) + sum over words of ln p(word | c), where
    p(word | c) = (count + smoothing) / (words in c + smoothing * V). Words
    that training never met do not vote (multinomial model).
    """

    def __init__(self, smoothing: float = 1.0) -> None:
        if smoothing <= 0:
            raise ValueError(f"smoothing must be positive, got {smoothing}")
        self.smoothing = smoothing

    def fit(self, texts: Sequence[str], labels: Sequence[int]) -> "NaiveBayes":
        """Count the words of texts, whose classes are labels from 0 up."""
        if len(texts) != len(labels) or not texts:
            raise ValueError(
                f"{len(texts)} texts and {len(labels)} labels: expected as "
                "many, and at least one"
            )
        self.n_texts = Counter(labels)
        self.counts: list[Counter[str]] = [
            Counter() for _ in range(max(labels) + 1)
        ]
        for text, label in zip(texts, labels):
            self.counts[label].update(words(text))
        self.vocabulary = set().union(*self.counts)
        return self

    def scores(self, text: str) -> list[float]:
        """Return the score of each class; -inf for one without texts."""
        known = [word for word in words(text) if word in self.vocabulary]
        added = self.smoothing * len(self.vocabulary)
        scores = []
        for label, counts in enumerate(self.counts):
            share = self.n_texts[label] / self.n_texts.total()
            score = math.log(share) if share else -math.inf
            for word in known:
                score += math.log(counts[word] + self.smoothing)
            score -= len(known) * math.log(counts.total() + added)
            scores.append(score)
        return scores

    def predict(self, texts: Sequence[str]) -> list[int]:
        """Return the likeliest class of each text."""
        scores = map(self.scores, texts)
        return [row.index(max(row)) for row in scores]


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, numbers among them."""
    return re.findall(r"\w+", text.casefold())
