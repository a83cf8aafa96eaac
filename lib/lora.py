"""LoRA: train a thin update beside weights that stand still; keep, merge.

Woven from chapters/appendix_e_lora.ipynb. Edit the chapter, then run `make
lib`.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn


class LoRALinear(nn.Linear):
    """A linear layer whose weight gets an update of low rank.

    y = x W + b + (alpha / rank) x A B. lora_a is A (d_in, rank), random;
    lora_b is B (rank, d_out), zero, so that at first nothing changes (Hu
    et al., 2022). Weight and bias are those of the given layer.
    """

    def __init__(
        self,
        layer: nn.Linear,
        rank: int,
        alpha: float,
        generator: torch.Generator | None = None,
    ) -> None:
        check_rank(layer, rank, alpha)
        d_in, d_out = layer.in_features, layer.out_features
        super().__init__(d_in, d_out, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.rank, self.alpha = rank, alpha
        a = torch.randn(d_in, rank, generator=generator) / math.sqrt(d_in)
        self.lora_a = nn.Parameter(a.to(layer.weight))
        self.lora_b = nn.Parameter(layer.weight.new_zeros(rank, d_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., d_in) to (..., d_out)."""
        thin = x @ self.lora_a  # (..., rank)
        update = thin @ self.lora_b  # (..., d_out)
        return super().forward(x) + self.alpha / self.rank * update

    def update(self) -> Tensor:
        """Return (alpha / rank) A B, of shape (d_in, d_out)."""
        return self.alpha / self.rank * self.lora_a @ self.lora_b


def check_rank(layer: nn.Linear, rank: int, alpha: float) -> None:
    """Raise ValueError unless a layer can have adapters of this rank."""
    most = min(layer.in_features, layer.out_features)
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ValueError(f"rank must be a whole number from 1, got {rank!r}")
    if rank > most:
        raise ValueError(
            f"rank is {rank}, but a matrix of {layer.in_features} x "
            f"{layer.out_features} has rank {most} at most"
        )
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha must be positive and finite, got {alpha}")


Model = TypeVar("Model", bound=nn.Module)


def adapters(model: nn.Module) -> dict[str, LoRALinear]:
    """Return the adapted layers of a model, by name."""
    layers = model.named_modules()
    return {n: layer for n, layer in layers if isinstance(layer, LoRALinear)}


def linears(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers of a model, by name."""
    layers = model.named_modules()
    return {n: w for n, w in layers if n and isinstance(w, nn.Linear)}


def check_untied(model: nn.Module, layers: Mapping[str, nn.Linear]) -> None:
    """Raise ValueError for a layer whose weight is another one's, too."""
    everywhere = model.named_parameters(remove_duplicate=False)
    uses = Counter(id(weight) for _, weight in everywhere)
    for name, layer in layers.items():
        if uses[id(layer.weight)] > 1:
            raise ValueError(
                f"{name}.weight is tied to another layer's weight, which an "
                "update of this one would leave behind"
            )


def find_linears(model: nn.Module, *parts: str) -> dict[str, nn.Linear]:
    """Return the linear layers whose names hold one of the parts.

    Raises ValueError for a part that none holds, and for a tied layer.
    """
    there = linears(model)
    for part in parts:
        if not any(part in name for name in there):
            known = ", ".join(there)
            raise ValueError(f"no linear layer's name holds {part!r}: {known}")
    chosen = {n: w for n, w in there.items() if any(p in n for p in parts)}
    check_untied(model, chosen)
    return chosen


def install(model: nn.Module, layers: Mapping[str, nn.Linear]) -> None:
    """Freeze a model, then put layers into it, which are not."""
    model.requires_grad_(False)
    for name, layer in layers.items():
        model.set_submodule(name, layer)


def apply_lora(
    model: Model,
    rank: int,
    alpha: float,
    *parts: str,
    generator: torch.Generator | None = None,
) -> Model:
    """Freeze a model and give linear layers adapters to train, in place.

    Those whose names hold one of the parts; without parts, those of the
    blocks. A new head that is to be trained whole has to be unfrozen
    afterwards. Raises ValueError, and changes nothing, for a rank below 1
    or above a matrix's, for a tied layer, and where adapters are already.
    """
    for name, thin in adapters(model).items():
        raise ValueError(
            f"{name} has an adapter of rank {thin.rank} already: expected "
            "none; merge_lora or remove_lora first"
        )
    chosen = find_linears(model, *(parts or ("blocks",)))
    for layer in chosen.values():
        check_rank(layer, rank, alpha)
    made = {
        name: LoRALinear(layer, rank, alpha, generator)
        for name, layer in chosen.items()
    }
    install(model, made)
    return model


def need_adapters(model: nn.Module) -> dict[str, LoRALinear]:
    """Return the adapted layers; ValueError where there is none."""
    if not (layers := adapters(model)):
        raise ValueError(
            "the model has 0 adapters, expected 1 or more: none were applied, "
            "or they are merged already"
        )
    return layers


def remove_lora(model: Model) -> Model:
    """Take the adapters off, in place: the base is left, bit for bit.

    All its weights may be trained again. ValueError without adapters.
    """
    for name, layer in need_adapters(model).items():
        bias = layer.bias is not None
        d_in, d_out = layer.in_features, layer.out_features
        plain = nn.Linear(d_in, d_out, bias, device="meta")
        plain.weight, plain.bias = layer.weight, layer.bias
        model.set_submodule(name, plain)
    model.requires_grad_(True)
    return model


@torch.no_grad()
def merge_lora(model: Model) -> Model:
    """Add the adapters to the weights they stand beside, in place.

    The model is plain again, computes the same up to rounding, and all its
    weights may be trained. Raises ValueError without adapters.
    """
    for layer in need_adapters(model).values():
        layer.weight.add_(layer.update().T)
    return remove_lora(model)
