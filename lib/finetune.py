"""Fine-tuning: train a classifier, use it, keep it.

Woven from chapters/06_classification.ipynb. Edit the chapter, then run `make
lib`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiktoken
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lib.classify import (
    ClassificationDataset,
    Classifier,
    class_scores,
    in_order,
    pad_batch,
)
from lib.data import atomic_path
from lib.hub import opened
from lib.train import (
    Batch,
    Record,
    TrainConfig,
    cross_entropy,
    make_optimizer,
    run,
)
from lib.weights import load_pretrained, save_pretrained


def learner_and_batches(
    model: Classifier, dataset: ClassificationDataset, batch_size: int
) -> tuple[nn.Module, DataLoader[Batch]]:
    """Return what has to run in training, and its shuffled batches.

    Where the GPT may not change, that is the head alone: what it reads is
    computed here, once, without dropout.
    """
    if any(weight.requires_grad for weight in model.gpt.parameters()):
        texts: Dataset[Any] = dataset
        return model, DataLoader(
            texts, batch_size, shuffle=True, collate_fn=pad_batch
        )
    model.eval()
    with torch.no_grad():
        fixed = in_order(model.features, dataset)
    pairs: Dataset[Any] = TensorDataset(fixed, torch.tensor(dataset.labels))
    return model.head, DataLoader(pairs, batch_size, shuffle=True)


def validate(
    model: Classifier, dataset: ClassificationDataset
) -> dict[str, float]:
    """Return loss and accuracy on a validation set."""
    scores, labels = class_scores(model, dataset), torch.tensor(dataset.labels)
    right = (scores.argmax(dim=-1) == labels).float().mean()
    loss = cross_entropy(scores, labels) / len(labels)
    return {"val_loss": loss.item(), "val_accuracy": right.item()}


def fine_tune(
    model: Classifier,
    train_set: ClassificationDataset,
    val_set: ClassificationDataset | None = None,
    *,
    passes: int = 3,
    batch_size: int = 16,
    learning_rate: float = 5e-4,
    seed: int = 0,
    looks: int = 10,
) -> list[Record]:
    """Train what may change (see `set_trainable`); return the history.

    About `looks` records of step, learning_rate and train_loss, the mean
    since the record before; with a val_set of val_loss and val_accuracy
    too. The rate rises over a tenth of the steps and falls to a tenth of
    its peak.
    """
    learner, loader = learner_and_batches(model, train_set, batch_size)
    steps = passes * len(loader)
    config = TrainConfig(
        steps,
        learning_rate,
        learning_rate / 10,
        warmup_steps=steps // 10,
        eval_every=max(1, steps // looks),
        seed=seed,
    )
    history = []
    for record in run(learner, make_optimizer(model, config), loader, config):
        seen = {} if val_set is None else validate(model, val_set)
        history.append(record | seen)
    model.eval()
    return history


def leave_one_out(
    model: Classifier, tokenizer: tiktoken.Encoding, text: str
) -> list[tuple[str, float]]:
    """Return each token of a text, and what it adds to the log-odds.

    Of class 1 against class 0: the difference that leaving the token out
    makes. Raises ValueError for a text of fewer than two tokens.
    """
    ids = tokenizer.encode_ordinary(text)[: model.gpt.config.context_length]
    if len(ids) < 2:
        raise ValueError(f"{text!r} has {len(ids)} tokens, expected 2 or more")
    rows = [ids, *(ids[:i] + ids[i + 1 :] for i in range(len(ids)))]
    batch, _ = pad_batch([(torch.tensor(row), 0) for row in rows])
    with torch.inference_mode():
        z = model.eval()(batch.to(model.head.weight.device)).cpu()
    odds = z[:, 1] - z[:, 0]
    parts = [tokenizer.decode([i]) for i in ids]
    return list(zip(parts, (odds[0] - odds[1:]).tolist(), strict=True))


@dataclass(frozen=True)
class TextClassifier:
    """A classifier with what it takes to use it: tokenizer and names."""

    model: Classifier
    tokenizer: tiktoken.Encoding
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        n_classes = self.model.head.out_features
        if len(self.names) != n_classes:
            raise ValueError(
                f"expected {n_classes} names of classes, got {self.names}"
            )

    def probabilities(self, texts: Sequence[str]) -> Tensor:
        """Return p(class) for each text, (N, n_classes)."""
        length, labels = self.model.gpt.config.context_length, [0] * len(texts)
        dataset = ClassificationDataset(texts, labels, self.tokenizer, length)
        return class_scores(self.model, dataset).softmax(dim=-1)

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Return the name of the likeliest class of each text."""
        return [self.names[i] for i in self.probabilities(texts).argmax(-1)]

    def save(self, folder: str | Path) -> None:
        """Write the GPT as `save_pretrained` does, and head.safetensors."""
        save_pretrained(self.model.gpt, folder, self.tokenizer)
        about = {"names": self.names, "pool": self.model.pool}
        tensors = {n: w.data for n, w in self.model.head.named_parameters()}
        with atomic_path(Path(folder, "head.safetensors")) as file:
            save_file(tensors, file, {"classifier": json.dumps(about)})

    @classmethod
    def load(cls, folder: str | Path) -> "TextClassifier":
        """Read what `save` wrote; ValueError where the head does not fit."""
        gpt, tokenizer = load_pretrained(folder)
        with opened(path := Path(folder, "head.safetensors")) as file:
            facts = (file.metadata() or {}).get("classifier")
            head = {name: file.get_tensor(name) for name in file.keys()}
        if facts is None:
            raise ValueError(f"{path} does not say what it classifies")
        names, pool = map(json.loads(facts).get, ("names", "pool"))
        model = Classifier(gpt, len(names), pool)
        model.head.load_state_dict(head)
        return cls(model.eval(), tokenizer, tuple(names))
