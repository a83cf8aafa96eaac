"""Classification: from a set of labelled texts to a model that labels.

Woven from chapters/06_classification.ipynb. Edit the chapter, then run `make
lib`.
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import tiktoken
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from lib.baselines import NaiveBayes
from lib.evidence import fingerprint, wilson_interval
from lib.gpt import GPT, count_parameters
from lib.train import Batch

Labelled = dict[str, Any]  # a record with "text" and "label"


def split_without_leaks(
    records: Sequence[Labelled],
    shares: Sequence[float] = (0.7, 0.1, 0.2),
    *,
    seed: int = 0,
    key: Callable[[str], Hashable] = fingerprint,
) -> list[list[Labelled]]:
    """Part records at random so that no text stands on two sides.

    Records whose texts have the same key stay in one part. Each part gets
    its share of each label, as nearly as that allows. Raises ValueError
    for shares that are not positive or do not sum to one.
    """
    if min(shares, default=0) <= 0 or not math.isclose(sum(shares), 1):
        raise ValueError(
            f"shares {tuple(shares)}: expected positive numbers of sum 1"
        )
    groups: dict[Hashable, list[Labelled]] = defaultdict(list)
    for record in records:
        groups[key(record["text"])].append(record)
    rng = random.Random(seed)
    parts: list[list[Labelled]] = [[] for _ in shares]
    for label in sorted({str(record["label"]) for record in records}):
        alike = [g for g in groups.values() if str(g[0]["label"]) == label]
        deal(rng.sample(alike, len(alike)), shares, parts)
    return [rng.sample(part, len(part)) for part in parts]


def deal(
    groups: Sequence[list[Labelled]],
    shares: Sequence[float],
    parts: Sequence[list[Labelled]],
) -> None:
    """Give group after group to the part that lacks most of its share."""
    given = [0] * len(shares)
    for group in groups:
        total = sum(given) + len(group)
        lacks = [share * total - n for share, n in zip(shares, given)]
        poorest = lacks.index(max(lacks))
        given[poorest] += len(group)
        parts[poorest].extend(group)


@dataclass(frozen=True)
class Accuracy:
    """How many of n answers were right; prints with its 95% interval."""

    right: int
    n: int

    @property
    def share(self) -> float:
        """The accuracy, from 0 to 1."""
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% Wilson interval."""
        return wilson_interval(self.right, self.n)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:6.1%} ({low:5.1%} to {high:5.1%})"


def accuracy(predicted: Sequence[int], labels: Sequence[int]) -> Accuracy:
    """Count the right answers of any classifier."""
    if len(predicted) != len(labels) or not labels:
        raise ValueError(
            f"{len(predicted)} answers for {len(labels)} labels: expected "
            "as many, and at least one"
        )
    right = sum(a == b for a, b in zip(predicted, labels))
    return Accuracy(right, len(labels))


def counted_accuracy(
    train: Sequence[Labelled], test: Sequence[Labelled]
) -> Accuracy:
    """Return what naive Bayes reaches: the line that others must pass."""
    counter = NaiveBayes().fit(*texts_and_labels(train))
    texts, labels = texts_and_labels(test)
    return accuracy(counter.predict(texts), labels)


def texts_and_labels(
    records: Sequence[Labelled],
) -> tuple[list[str], list[int]]:
    """Take the texts and the labels out of records."""
    return [r["text"] for r in records], [int(r["label"]) for r in records]


PAD = -1  # fills rows up; no token has this id


def pad_batch(items: Sequence[tuple[Tensor, int]]) -> Batch:
    """Fill texts up to the longest: ids (B, T) and labels (B,)."""
    rows = [ids for ids, _ in items]
    labels = torch.tensor([label for _, label in items])
    return pad_sequence(rows, batch_first=True, padding_value=PAD), labels


class ClassificationDataset(Dataset[tuple[Tensor, int]]):
    """Texts as ids, each with its label.

    Item i is (ids, label), ids an int64 tensor (T,) of its own length, cut
    after max_length tokens. Raises ValueError for a text without a token
    and for a label below 0.
    """

    def __init__(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        tokenizer: tiktoken.Encoding,
        max_length: int | None = None,
    ) -> None:
        lowest = min(labels, default=0)
        if len(texts) != len(labels) or lowest < 0:
            raise ValueError(
                f"{len(texts)} texts with {len(labels)} labels, the lowest "
                f"{lowest}: expected as many, from 0 up"
            )
        rows = tokenizer.encode_ordinary_batch(list(texts), num_threads=1)
        for text, row in zip(texts, rows, strict=True):
            if not row[:max_length]:
                raise ValueError(f"{text!r} has no token to classify by")
        self.rows = [torch.tensor(row[:max_length]) for row in rows]
        self.labels = list(labels)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.rows[index], self.labels[index]


POOLS = ("last", "first", "mean", "end")


def positions_read(is_text: Tensor, pool: str) -> Tensor:
    """Mark the positions that a head reads: is_text (B, T) -> (B, T).

    "last": the last token of each text. "first": its first. "mean": all of
    them. "end": the last position of the row, be it text or filling.
    """
    B, T = is_text.shape
    at = torch.arange(T, device=is_text.device).expand(B, T)
    if pool == "mean":
        return is_text
    if pool == "first":
        return at == 0
    if pool == "end":
        return at == T - 1
    return at == is_text.sum(dim=1, keepdim=True) - 1


class Classifier(nn.Module):
    """A GPT with a head for classes in place of the head for tokens.

    pool: one of POOLS, what the head reads (see `positions_read`). The GPT
    is taken as it is, not copied.
    """

    def __init__(self, gpt: GPT, n_classes: int, pool: str = "last") -> None:
        super().__init__()
        if n_classes < 2:
            raise ValueError(f"n_classes must be 2 or more, got {n_classes}")
        if pool not in POOLS:
            raise ValueError(f"pool {pool!r} is none of {', '.join(POOLS)}")
        self.gpt = gpt
        self.pool = pool
        self.head = nn.Linear(gpt.config.d_model, n_classes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def features(self, ids: Tensor) -> Tensor:
        """Map ids (B, T), filled up with PAD, to vectors (B, d_model)."""
        is_text = ids != PAD
        check_padding(is_text)
        x = self.gpt.features(ids.clamp_min(0))  # (B, T, D)
        read = positions_read(is_text, self.pool)[..., None]
        return (x * read).sum(dim=1) / read.sum(dim=1)  # (B, D)

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids (B, T), filled up with PAD, to logits (B, n_classes)."""
        return self.head(self.features(ids))


def check_padding(is_text: Tensor) -> None:
    """Raise ValueError unless each row is text first, and then filling."""
    resumed = is_text[:, 1:] & ~is_text[:, :-1]
    wrong = resumed.any(dim=1) | ~is_text[:, 0]
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"row {row} is {is_text[row].int().tolist()}, 1 for text and 0 "
            "for PAD: expected text first, and PAD only after it"
        )


def set_trainable(model: Classifier, policy: str | int) -> int:
    """Choose what training may change; return how many numbers that is.

    "head": the new head alone. k: the head, the final norm and the last k
    blocks. "all": everything. The GPT's own head changes only where it is
    tied to the embedding: the classifier does not use it.
    """
    blocks = list(model.gpt.blocks)
    if policy not in ("head", "all", *range(1, len(blocks) + 1)):
        raise ValueError(
            f"policy {policy!r} is neither 'head' nor 'all' nor a number of "
            f"blocks from 1 to {len(blocks)}"
        )
    model.requires_grad_(policy == "all")
    if not model.gpt.config.tie_weights:
        model.gpt.head.requires_grad_(False)
    model.head.requires_grad_(True)
    if isinstance(policy, int):
        for part in (model.gpt.final_norm, *blocks[-policy:]):
            part.requires_grad_(True)
    return count_parameters(model)


def in_order(
    compute: Callable[[Tensor], Tensor],
    dataset: ClassificationDataset,
    batch_size: int = 64,
) -> Tensor:
    """Apply a function of ids (B, T) to all texts; keep their order.

    Texts of like length share a batch, so that little is filled up.
    """
    order = sorted(range(len(dataset)), key=lambda i: len(dataset.rows[i]))
    parts = []
    for start in range(0, len(order), batch_size):
        items = [dataset[i] for i in order[start : start + batch_size]]
        parts.append(compute(pad_batch(items)[0]))
    return torch.cat(parts)[torch.tensor(order).argsort()]


@torch.inference_mode()
def class_scores(model: Classifier, dataset: ClassificationDataset) -> Tensor:
    """Return the logits (N, n_classes) of a dataset, dropout off."""
    was_training = model.training
    device = model.head.weight.device
    model.eval()
    scores = in_order(lambda ids: model(ids.to(device)).cpu(), dataset)
    model.train(was_training)
    return scores


def predict(
    model: Classifier, tokenizer: tiktoken.Encoding, texts: Sequence[str]
) -> list[int]:
    """Return the likeliest class of each text, cut at the context length."""
    length = model.gpt.config.context_length
    dataset = ClassificationDataset(texts, [0] * len(texts), tokenizer, length)
    return class_scores(model, dataset).argmax(dim=-1).tolist()
