"""Attention: every token gathers what it needs from the tokens before it.

Woven from chapters/03_attention.ipynb. Edit the chapter, then run `make lib`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Mix values by how well their keys match each query (eq. 3.4).

    q: (..., T, d), k and v: (..., S, d). mask: (T, S), True where t may
    look at s. Returns the mixed values (..., T, d) and the weights
    (..., T, S), whose rows sum to one.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
    return weights @ v, weights


class SelfAttention(nn.Module):
    """One head without a mask: every token looks at every token."""

    def __init__(self, d_in: int, d_out: int, qkv_bias: bool = False) -> None:
        super().__init__()
        self.query = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.key = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.value = nn.Linear(d_in, d_out, bias=qkv_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, d_in) to (B, T, d_out)."""
        return F.scaled_dot_product_attention(
            self.query(x), self.key(x), self.value(x)
        )


def causal_mask(T: int) -> Tensor:
    """Let each position look at itself and at what came before it.

    Returns booleans (T, T): entry [t, s] is True where s <= t.
    """
    return torch.ones(T, T, dtype=torch.bool).tril()


class CausalAttention(SelfAttention):
    """One head in which no token sees a later one."""

    def __init__(
        self,
        d_in: int,
        d_out: int,
        context_length: int,
        dropout: float,
        qkv_bias: bool = False,
    ) -> None:
        super().__init__(d_in, d_out, qkv_bias)
        self.context_length = context_length
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, d_in) to (B, T, d_out), T <= context_length."""
        check_length(x.size(-2), self.context_length)
        return F.scaled_dot_product_attention(
            self.query(x),
            self.key(x),
            self.value(x),
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=True,
        )


def check_length(T: int, context_length: int) -> None:
    """Raise ValueError if T tokens do not fit into the context."""
    if T > context_length:
        raise ValueError(
            f"{T} tokens do not fit into a context of {context_length}"
        )


class KVCache:
    """The keys and values of one layer, kept so as to be computed once.

    Buffers (B, H, max_length, d) are allocated when the first keys arrive,
    with their type and device; the first `length` positions are filled.
    For inference only: what it holds is overwritten in place.
    """

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.length = 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v (B, H, T, d) and return all so far (B, H, S, d)."""
        B, H, T, d = k.shape
        check_length(self.length + T, self.max_length)
        if self.keys is None or self.values is None:
            self.keys = k.new_empty(B, H, self.max_length, d)
            self.values = v.new_empty(B, H, self.max_length, d)
        if B != len(self.keys):
            raise ValueError(
                f"{B} texts cannot go on in a cache of {len(self.keys)}"
            )
        start, self.length = self.length, self.length + T
        self.keys[:, :, start : self.length] = k
        self.values[:, :, start : self.length] = v
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


class MultiHeadAttention(nn.Module):
    """Causal heads side by side, from one projection ("Several heads").

    d_out is the width of all heads together: each head is d_out / n_heads
    wide. Raises ValueError where n_heads does not divide d_out.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        context_length: int,
        dropout: float,
        n_heads: int,
        qkv_bias: bool = False,
    ) -> None:
        super().__init__()
        if n_heads < 1 or d_out % n_heads:
            raise ValueError(
                f"d_out={d_out} cannot be split into n_heads={n_heads} "
                "heads of equal width"
            )
        self.n_heads = n_heads
        self.context_length = context_length
        self.dropout = dropout
        self.qkv = nn.Linear(d_in, 3 * d_out, bias=qkv_bias)
        self.out = nn.Linear(d_out, d_out)

    def split_heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cut (B, T, 3 * d_out) into q, k and v (B, H, T, d)."""
        B, T, _ = qkv.shape
        parts = qkv.view(B, T, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind()  # from (3, B, H, T, d)
        return q, k, v

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend causally; the T queries are the last of the S keys."""
        T, S = q.size(-2), k.size(-2)
        mask = None
        if 1 < T < S:
            mask = causal_mask(S)[S - T :].to(q.device)  # (T, S)
        return F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=T == S,
        )

    def forward(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        """Map x (B, T, d_in) to (B, T, d_out).

        With a cache, x continues the tokens that the cache holds. Raises
        ValueError for more tokens than the context has room for.
        """
        B, T, _ = x.shape
        past = 0 if cache is None else cache.length
        check_length(past + T, self.context_length)
        q, k, v = self.split_heads(self.qkv(x))
        if cache is not None:
            k, v = cache.append(k, v)
        mixed = self.mix(q, k, v)  # (B, H, T, d)
        return self.out(mixed.transpose(1, 2).reshape(B, T, -1))
