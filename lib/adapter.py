"""Adapters in files, each bound to the weights it was trained beside.

Woven from chapters/appendix_e_lora.ipynb. Edit the chapter, then run `make
lib`.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import tiktoken
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lib.data import DataAltered, atomic_path
from lib.gpt import GPT
from lib.hub import opened
from lib.lora import (
    LoRALinear,
    Model,
    adapters,
    check_untied,
    install,
    linears,
    need_adapters,
    remove_lora,
)
from lib.weights import load_pretrained

ADAPTER = "adapter.safetensors"
FACTORS = ("lora_a", "lora_b")


def weights_digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model's weights, adapters left out.

    As 32-bit numbers, so that the same weights in 16 bits have the same.
    """
    summed = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        if not name.endswith(FACTORS):
            summed.update(f"{name} {tuple(weight.shape)}".encode())
            summed.update(
                weight.detach().float().cpu().contiguous().numpy().data
            )
    return summed.hexdigest()


def save_adapter(
    model: nn.Module, base_name: str | Path, directory: str | Path
) -> Path:
    """Save the adapters of a model alone; return the file.

    base_name: what `load_pretrained` finds their base by. Raises ValueError
    where that has other weights, where there are no adapters, and where
    weights besides them were trained, which the file would not hold.
    """
    layers = need_adapters(model)
    for name, weight in model.named_parameters():
        if weight.requires_grad and not name.endswith(FACTORS):
            raise ValueError(f"{name} is trained, too: an adapter lacks it")
    digest = weights_digest(model)
    if (found := weights_digest(load_pretrained(base_name)[0])) != digest:
        raise ValueError(
            f"the adapters stand beside weights with SHA-256 {digest}, but "
            f"{base_name!r} has {found}"
        )
    alpha = next(iter(layers.values())).alpha
    about = {"base": str(base_name), "sha256": digest, "alpha": repr(alpha)}
    factors = {
        f"{name}.{factor}": getattr(layer, factor).detach().contiguous()
        for name, layer in layers.items()
        for factor in FACTORS
    }
    path = Path(directory, ADAPTER)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        save_file(factors, part, about)
    return path


def read_adapter(
    directory: str | Path,
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read an adapter: what it says of itself, and its factors by name."""
    path = Path(directory, ADAPTER)
    with opened(path) as stored:
        about = dict(stored.metadata() or {})
        factors = {key: stored.get_tensor(key) for key in stored.keys()}
    if missing := {"base", "sha256", "alpha"} - about.keys():
        raise ValueError(
            f"{path} is no adapter: it lacks {', '.join(sorted(missing))}"
        )
    return about, factors


def fit(
    model: nn.Module, factors: Mapping[str, Tensor], alpha: float
) -> dict[str, LoRALinear]:
    """Make the layers that an adapter asks for; ValueError for a misfit."""
    made = {}
    for name in sorted({key.rpartition(".")[0] for key in factors}):
        layer = linears(model).get(name)
        a, b = (factors.get(f"{name}.{factor}") for factor in FACTORS)
        if layer is None or a is None or b is None:
            lacks = "the model" if layer is None else "the adapter"
            raise ValueError(f"{lacks} lacks a part of {name or 'a layer'}")
        expected = (layer.in_features, len(b)), (len(b), layer.out_features)
        if (tuple(a.shape), tuple(b.shape)) != expected:
            raise ValueError(
                f"the factors of {name} have shapes {tuple(a.shape)} and "
                f"{tuple(b.shape)}, expected {expected[0]} and {expected[1]}"
            )
        if not (a.isfinite().all() and b.isfinite().all()):
            raise ValueError(f"{name} of the adapter is not finite")
        made[name] = LoRALinear(layer, len(b), alpha, torch.Generator())
        made[name].lora_a.data.copy_(a)
        made[name].lora_b.data.copy_(b)
    check_untied(model, made)
    return made


def load_adapter(model: Model, directory: str | Path) -> Model:
    """Put a saved adapter on a model, in the place of any that is there.

    Raises DataAltered where the model's weights are not those that it was
    trained beside, ValueError where the file is damaged; then nothing is
    changed.
    """
    about, factors = read_adapter(directory)
    if (found := weights_digest(model)) != about["sha256"]:
        raise DataAltered(
            f"the adapter in {directory} belongs to {about['base']!r} with "
            f"weights of SHA-256 {about['sha256']}, but these have {found}"
        )
    layers = fit(model, factors, float(about["alpha"]))
    if adapters(model):
        remove_lora(model)
    install(model, layers)
    return model


def load_adapted(directory: str | Path) -> tuple[GPT, tiktoken.Encoding]:
    """Load an adapter with its base; return the model and its tokenizer.

    Raises what `load_pretrained` and `load_adapter` raise.
    """
    about, _ = read_adapter(directory)
    model, tokenizer = load_pretrained(about["base"])
    return load_adapter(model, directory), tokenizer
