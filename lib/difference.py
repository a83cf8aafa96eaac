"""A tuned model as a difference to the model that it began as.

Woven from chapters/07_instructions.ipynb. Edit the chapter, then run `make
lib`.
"""

from collections.abc import Mapping
from pathlib import Path

import tiktoken
import torch
from pooch import file_hash
from safetensors.torch import save_file
from torch import Tensor

from lib.data import DataAltered, atomic_path
from lib.gpt import GPT
from lib.hub import find_model, opened, weight_files
from lib.weights import load_pretrained

FILE = "difference.safetensors"


def digest(name: str) -> str:
    """Return the SHA-256 of a model's weights."""
    (file,) = weight_files(find_model(name))
    return str(file_hash(file))


def save_difference(model: GPT, base_name: str, directory: str | Path) -> Path:
    """Save what a tuned model adds to a named one, in 16 bits.

    Of weights that were not trained nothing is kept.
    """
    base, _ = load_pretrained(base_name)
    before = dict(base.named_parameters())
    gaps = {
        name: (weight - before[name]).detach().half()
        for name, weight in model.named_parameters()
        if not torch.equal(weight, before[name])
    }
    about = {"base": base_name, "sha256": digest(base_name)}
    path = Path(directory, FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        save_file(gaps, part, about)
    return path


@torch.no_grad()
def add_difference(model: GPT, gaps: Mapping[str, Tensor]) -> GPT:
    """Add what a tuning added, in place; ValueError names what misfits."""
    weights = dict(model.named_parameters())
    for name, gap in gaps.items():
        if name not in weights or weights[name].shape != gap.shape:
            there = weights.get(name)
            raise ValueError(
                f"the difference holds {name} of shape {tuple(gap.shape)}, "
                f"the model {'none' if there is None else tuple(there.shape)}"
            )
        if not gap.isfinite().all():
            raise ValueError(f"{name} of the difference is not finite")
    for name, gap in gaps.items():
        weights[name].add_(gap.to(weights[name]))
    return model


def load_tuned(name_or_path: str | Path) -> tuple[GPT, tiktoken.Encoding]:
    """Load a model, whole or as a difference, and its tokenizer.

    Raises DataAltered where the base is not the one that the difference was
    taken from; else what `load_pretrained` raises.
    """
    file = find_model(name_or_path) / FILE
    if not file.is_file():
        return load_pretrained(name_or_path)
    with opened(file) as stored:
        about = stored.metadata() or {}
        gaps = {key: stored.get_tensor(key) for key in stored.keys()}
    if "base" not in about or "sha256" not in about:
        raise ValueError(f"{file} does not say what it is a difference to")
    if (found := digest(about["base"])) != about["sha256"]:
        raise DataAltered(
            f"{file} belongs to {about['base']!r} with SHA-256 "
            f"{about['sha256']}, but that has {found}"
        )
    model, tokenizer = load_pretrained(about["base"])
    return add_difference(model, gaps), tokenizer
