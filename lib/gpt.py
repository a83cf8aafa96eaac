"""The GPT model: embeddings, a stack of blocks, and a head.

Woven from chapters/04_gpt.ipynb. Edit the chapter, then run `make lib`.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.attention import KVCache, MultiHeadAttention, check_length

PRESETS: dict[str, dict[str, int]] = {
    "gpt2-small": {"d_model": 768, "n_layers": 12, "n_heads": 12},
    "gpt2-medium": {"d_model": 1024, "n_layers": 24, "n_heads": 16},
    "gpt2-large": {"d_model": 1280, "n_layers": 36, "n_heads": 20},
    "gpt2-xl": {"d_model": 1600, "n_layers": 48, "n_heads": 25},
    "course": {
        "vocab_size": 8192,
        "context_length": 256,
        "d_model": 256,
        "n_layers": 6,
        "n_heads": 4,
    },
}


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT; raises ValueError where it makes no sense."""

    vocab_size: int
    context_length: int
    d_model: int
    n_layers: int
    n_heads: int
    dropout: float = 0.0
    qkv_bias: bool = True
    tie_weights: bool = True

    def __post_init__(self) -> None:
        for field in fields(self)[:5]:
            size = getattr(self, field.name)
            if not isinstance(size, int) or size < 1:
                raise ValueError(
                    f"{field.name} must be a positive integer, got {size!r}"
                )
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model={self.d_model} cannot be split into "
                f"n_heads={self.n_heads} heads of equal width"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "GPTConfig":
        """Return a well-known shape, with changes: preset("gpt2-small")."""
        if name not in PRESETS:
            raise ValueError(
                f"unknown preset {name!r}; known are {', '.join(PRESETS)}"
            )
        sizes = {"vocab_size": 50257, "context_length": 1024} | PRESETS[name]
        return cls(**(sizes | changes))


class LayerNorm(nn.Module):
    """Give each token mean 0 and variance 1, then scale and shift it."""

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x (..., d_model) over its last dimension."""
        width = (x.size(-1),)
        return F.layer_norm(x, width, self.weight, self.bias, self.eps)


class GELU(nn.Module):
    """A smooth ReLU, in GPT-2's tanh form (Hendrycks and Gimpel, 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."""
        return F.gelu(x, approximate="tanh")


class FeedForward(nn.Module):
    """Think about each token by itself: widen to 4 d_model, bend, narrow."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, 4 * config.d_model)
        self.gelu = GELU()
        self.down = nn.Linear(4 * config.d_model, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., d_model) to the same shape."""
        return self.down(self.gelu(self.up(x)))


class TransformerBlock(nn.Module):
    """Attention, then feed-forward; each normed before and added back."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(config.d_model)
        self.attention = MultiHeadAttention(
            config.d_model,
            config.d_model,
            config.context_length,
            config.dropout,
            config.n_heads,
            config.qkv_bias,
        )
        self.feed_forward_norm = LayerNorm(config.d_model)
        self.feed_forward = FeedForward(config)
        p = config.dropout
        self.dropout = nn.Dropout(p) if p > 0 else nn.Identity()

    def forward(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        """Map x (B, T, d_model) to the same shape."""
        mixed = self.attention(self.attention_norm(x), cache)
        x = x + self.dropout(mixed)
        thought = self.feed_forward(self.feed_forward_norm(x))
        return x + self.dropout(thought)


class GPT(nn.Module):
    """GPT-2: ids in, a score for every next token out."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        V, D = config.vocab_size, config.d_model
        self.token_embedding = nn.Embedding(V, D)
        self.position_embedding = nn.Embedding(config.context_length, D)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(config) for _ in range(config.n_layers)
        )
        self.final_norm = LayerNorm(D)
        self.head = nn.Linear(D, V, bias=False)
        if config.tie_weights:
            self.head.weight = self.token_embedding.weight
        self.initialize()

    def initialize(self) -> None:
        """Draw GPT-2's starting weights from torch's generator.

        Matrices from N(0, 0.02^2), the two that write into the residual
        stream of each block narrower by sqrt(2 L); biases start at zero.
        """
        narrow = 0.02 / math.sqrt(2 * self.config.n_layers)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                writes = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=narrow if writes else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def features(
        self, ids: Tensor, cache: list[KVCache] | None = None
    ) -> Tensor:
        """Map ids (B, T) to what the head reads, (B, T, d_model)."""
        check_batch(ids)
        start = cache[0].length if cache else 0
        end = start + ids.size(1)
        check_length(end, self.config.context_length)
        try:
            x = self.token_embedding(ids)
        except IndexError:
            check_ids(ids, self.config.vocab_size)
            raise
        x = self.dropout(x + self.position_embedding.weight[start:end])
        for layer, block in enumerate(self.blocks):
            x = block(x, cache[layer] if cache else None)
        return self.final_norm(x)

    def forward(
        self, ids: Tensor, cache: list[KVCache] | None = None
    ) -> Tensor:
        """Map ids (B, T) to logits (B, T, V).

        With a cache (from `new_cache`), ids continue the tokens it holds.
        Raises ValueError for ids outside the vocabulary and for more
        tokens than the context has room for.
        """
        return self.head(self.features(ids, cache))

    def next_logits(
        self, ids: Tensor, cache: list[KVCache] | None = None
    ) -> Tensor:
        """Map ids (B, T) to the scores (B, V) of the token after them."""
        return self.head(self.features(ids, cache)[:, -1])

    def new_cache(self) -> list[KVCache]:
        """Return an empty cache, one KVCache a layer."""
        return [KVCache(self.config.context_length) for _ in self.blocks]


def check_batch(ids: Tensor) -> None:
    """Raise ValueError unless ids are whole numbers of shape (B, T)."""
    whole = ids.dtype in (torch.int32, torch.int64)
    if not whole or ids.dim() != 2 or ids.numel() == 0:
        raise ValueError(
            "ids must be whole numbers of shape (B, T) with B, T >= 1, got "
            f"{ids.dtype} of shape {tuple(ids.shape)}"
        )


def check_ids(ids: Tensor, vocab_size: int) -> None:
    """Raise ValueError for ids outside the vocabulary."""
    low, high = (int(end) for end in ids.aminmax())
    if low < 0 or high >= vocab_size:
        raise ValueError(
            f"id {low if low < 0 else high} is outside the vocabulary of "
            f"{vocab_size} entries, 0 to {vocab_size - 1}"
        )


def count_parameters(model: nn.Module) -> int:
    """Count the numbers that training may change, shared ones once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def flops_per_token(config: GPTConfig, T: int | None = None) -> int:
    """Floating-point operations of a forward pass, for each of T tokens.

    Counts the two operations (multiply, add) of every matrix product, with
    attention over all T x T pairs; T defaults to the context length.
    """
    T = config.context_length if T is None else T
    D = config.d_model
    block = 2 * (12 * D * D) + 2 * (2 * T * D)
    return config.n_layers * block + 2 * D * config.vocab_size
