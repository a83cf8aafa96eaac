"""Attention against loops in float64, against PyTorch, and as a property.

Sizes B, T, H, d, d_in and d_out all differ: square shapes hide bugs.
"""

import math
from itertools import accumulate, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lib.attention import (
    CausalAttention,
    KVCache,
    MultiHeadAttention,
    SelfAttention,
    attend,
    causal_mask,
)

CLOSE = 2e-6  # float32, outputs of size 1
some = settings(max_examples=40, deadline=None)


@pytest.fixture(autouse=True)
def seed() -> None:
    """Start each test from the same random numbers."""
    torch.manual_seed(0)


def attend_by_loops(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Attend for one head, number by number, in float64."""
    mixed = np.zeros((len(q), v.shape[1]))
    weights = np.zeros((len(q), len(k)))
    for t in range(len(q)):
        allowed = [s for s in range(len(k)) if mask[t, s]]
        score = {
            s: math.fsum(a * b for a, b in zip(q[t], k[s], strict=True))
            / len(q[t]) ** 0.5
            for s in allowed
        }
        top = max(score.values())
        total = math.fsum(math.exp(score[s] - top) for s in allowed)
        for s in allowed:
            weights[t, s] = math.exp(score[s] - top) / total
            mixed[t] += weights[t, s] * v[s]
    return mixed, weights


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Return a tensor's numbers in float64."""
    return tensor.detach().double().numpy()


def project(layer: nn.Linear, x: np.ndarray) -> np.ndarray:
    """Apply a linear layer in float64."""
    out = x @ to_numpy(layer.weight).T
    return out if layer.bias is None else out + to_numpy(layer.bias)


def heads_by_loops(layer: MultiHeadAttention, x: Tensor) -> np.ndarray:
    """Compute a layer sentence by sentence and head by head."""
    sentences = []
    for sentence in to_numpy(x):
        allowed = np.tri(len(sentence), dtype=bool)
        q, k, v = np.split(project(layer.qkv, sentence), 3, axis=1)
        d = q.shape[1] // layer.n_heads
        heads = [
            attend_by_loops(
                q[:, h : h + d], k[:, h : h + d], v[:, h : h + d], allowed
            )[0]
            for h in range(0, q.shape[1], d)
        ]
        joined = np.concatenate(heads, axis=1)
        sentences.append(project(layer.out, joined))
    return np.stack(sentences)


def distance(ours: Tensor, expected: np.ndarray | Tensor) -> float:
    """Return the largest difference; shapes must agree."""
    other = torch.as_tensor(expected)
    assert ours.shape == other.shape
    return float((ours - other).detach().abs().max())


# attend and its mask


def test_attend_is_what_loops_say() -> None:
    B, H, T, S, d, width = 2, 3, 4, 7, 5, 6
    q = torch.randn(B, H, T, d)
    k, v = torch.randn(B, H, S, d), torch.randn(B, H, S, width)
    mask = torch.rand(T, S) < 0.5
    mask[:, 2] = True
    mixed, weights = attend(q, k, v, mask)
    for b in range(B):
        for h in range(H):
            head = (to_numpy(n[b, h]) for n in (q, k, v))
            expected = attend_by_loops(*head, mask.numpy())
            assert distance(mixed[b, h], expected[0]) < CLOSE
            assert distance(weights[b, h], expected[1]) < CLOSE


def test_attend_takes_a_mask_for_each_sentence() -> None:
    q, k = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 6, 5)
    mask = torch.ones(2, 1, 4, 6, dtype=torch.bool)
    mask[0, :, :, 0] = False
    _, weights = attend(q, k, k, mask)
    assert weights[0, :, :, 0].count_nonzero() == 0
    assert (weights[1] > 0).all()


def test_weights_sum_to_one_and_forbidden_ones_are_exactly_zero() -> None:
    T = 9
    q, k, v = torch.randn(3, 2, T, 4)
    _, weights = attend(q, k, v, causal_mask(T))
    assert distance(weights.sum(dim=-1), torch.ones(2, T)) < CLOSE
    assert weights.triu(diagonal=1).count_nonzero() == 0


def test_attend_survives_scores_that_overflow_exp() -> None:
    q = 1000 * torch.randn(5, 8)
    mixed, weights = attend(q, q, q, causal_mask(5))
    assert mixed.isfinite().all() and weights.isfinite().all()


def test_a_forbidden_score_has_no_power_however_large() -> None:
    q, k, v = torch.randn(3, 4, 6)
    expected, _ = attend(q, k, v, causal_mask(4))
    k[3] = 1e4 * q[0]
    mixed, _ = attend(q, k, v, causal_mask(4))
    assert distance(mixed[:3], expected[:3]) == 0


def test_a_row_with_nothing_to_look_at_is_nan_and_only_that_row() -> None:
    q, k, v = torch.randn(3, 5, 4)
    mask = causal_mask(5)
    expected, _ = attend(q, k, v, mask)
    mask[2] = False
    mixed, _ = attend(q, k, v, mask)
    assert mixed[2].isnan().all()
    assert distance(mixed[[0, 1, 3, 4]], expected[[0, 1, 3, 4]]) == 0


def test_gradients_of_attend() -> None:
    q, k, v = (
        torch.randn(2, n, 3, dtype=torch.float64, requires_grad=True)
        for n in (4, 5, 5)
    )
    mask = causal_mask(5)[1:]
    assert torch.autograd.gradcheck(lambda *qkv: attend(*qkv, mask), (q, k, v))


@pytest.mark.parametrize("T", [1, 2, 5])
def test_causal_mask_allows_the_past_and_oneself(T: int) -> None:
    mask = causal_mask(T)
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[s <= t for s in range(T)] for t in range(T)]


# One head


@pytest.mark.parametrize("bias", [False, True])
def test_one_head_is_what_loops_say(bias: bool) -> None:
    B, T, d_in, d_out = 2, 5, 3, 4
    x = torch.randn(B, T, d_in)
    full = SelfAttention(d_in, d_out, qkv_bias=bias)
    causal = CausalAttention(d_in, d_out, 7, 0.0, qkv_bias=bias)
    masks = np.ones((T, T), dtype=bool), np.tri(T, dtype=bool)
    for layer, mask in zip((full, causal), masks, strict=True):
        qkv = (layer.query, layer.key, layer.value)
        assert [part.bias is not None for part in qkv] == 3 * [bias]
        for b in range(B):
            sentence = to_numpy(x[b])
            parts = (project(part, sentence) for part in qkv)
            expected, _ = attend_by_loops(*parts, mask)
            assert distance(layer(x)[b], expected) < CLOSE


def test_self_attention_ignores_the_order() -> None:
    layer, x = SelfAttention(3, 4), torch.randn(2, 6, 3)
    order = torch.randperm(6)
    assert distance(layer(x[:, order]), layer(x)[:, order]) < CLOSE


# Several heads

SHAPES = [  # B, T, d_in, H, d
    (1, 1, 1, 1, 1),
    (2, 5, 3, 4, 2),
    (3, 4, 10, 2, 5),
    (2, 7, 6, 1, 4),
    (2, 3, 4, 5, 1),
]


@pytest.mark.parametrize(("B", "T", "d_in", "H", "d"), SHAPES)
@pytest.mark.parametrize("bias", [False, True])
def test_many_heads_are_what_loops_say(
    B: int, T: int, d_in: int, H: int, d: int, bias: bool
) -> None:
    layer = MultiHeadAttention(d_in, H * d, 9, 0.0, H, qkv_bias=bias)
    x = torch.randn(B, T, d_in)
    assert distance(layer(x), heads_by_loops(layer, x)) < CLOSE


@pytest.mark.parametrize("bias", [False, True])
def test_many_heads_are_pytorchs(bias: bool) -> None:
    B, T, D, H = 2, 7, 12, 3
    theirs = nn.MultiheadAttention(D, H, bias=bias, batch_first=True)
    ours = MultiHeadAttention(D, D, T, 0.0, H, qkv_bias=bias)
    with torch.no_grad():
        ours.qkv.weight.copy_(theirs.in_proj_weight)
        ours.out.weight.copy_(theirs.out_proj.weight)
        ours.out.bias.zero_()
        if bias:
            nn.init.normal_(theirs.in_proj_bias)
            nn.init.normal_(theirs.out_proj.bias)
            ours.qkv.bias.copy_(theirs.in_proj_bias)
            ours.out.bias.copy_(theirs.out_proj.bias)
    x = torch.randn(B, T, D)
    forbidden = ~causal_mask(T)
    expected, _ = theirs(x, x, x, attn_mask=forbidden, need_weights=False)
    assert distance(ours(x), expected) < CLOSE


@pytest.mark.parametrize("bias", [False, True])
def test_parameters(bias: bool) -> None:
    d_in, d_out = 10, 12
    layer = MultiHeadAttention(d_in, d_out, 8, 0.1, 4, qkv_bias=bias)
    count = sum(p.numel() for p in layer.parameters())
    assert count == 3 * d_in * d_out + d_out**2 + d_out + bias * 3 * d_out
    names = {"qkv.weight", "out.weight", "out.bias"}
    assert set(layer.state_dict()) == names | ({"qkv.bias"} if bias else set())


def test_gpt2_small_has_2360064_parameters() -> None:
    layer = MultiHeadAttention(768, 768, 1024, 0.1, 12)
    assert sum(p.numel() for p in layer.parameters()) == 2_360_064


@some
@given(st.data())
def test_no_output_sees_a_later_token(data: st.DataObject) -> None:
    def size(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    B, T, d_in, H, d = (size(1, 3), *(size(2, 9) for _ in range(4)))
    s = size(1, T - 1)
    layers = [
        MultiHeadAttention(d_in, H * d, T, 0.0, H),
        CausalAttention(d_in, d, T, 0.0),
    ]
    x = torch.randn(B, T, d_in)
    changed = x.clone()
    changed[:, s:] += 1 + torch.rand(B, T - s, d_in)
    for layer in layers:
        moved = (layer(changed) - layer(x)).abs().amax(dim=(0, 2))
        assert moved[:s].max() < CLOSE
        assert moved[s:].min() > 10 * CLOSE


def test_every_output_sees_all_earlier_tokens() -> None:
    T = 6
    layer, x = MultiHeadAttention(4, 6, T, 0.0, 2), torch.randn(1, T, 4)
    for s in range(T):
        changed = x.clone()
        changed[:, s] += 1
        moved = (layer(changed) - layer(x)).abs().amax(dim=(0, 2))
        assert moved[s:].min() > 10 * CLOSE


# Dropout


def test_dropout_enlarges_survivors_and_keeps_the_mean() -> None:
    p, T, B = 0.2, 40, 400
    layer = CausalAttention(1, 1, T, dropout=p)
    with torch.no_grad():
        for part in (layer.query, layer.key, layer.value):
            part.weight.fill_(0.0)
        layer.value = nn.Linear(1, 1)
        layer.value.bias.fill_(1.0)
        out = layer(torch.zeros(B, T, 1))[..., 0]
    first = out[:, 0]  # it sees only itself, with weight one
    ends = torch.tensor([0.0, 1 / (1 - p)])
    assert (first[:, None] - ends).abs().amin(dim=1).max() < CLOSE
    assert abs(float((first == 0).float().mean()) - p) < 5 * 0.02
    assert abs(float(out[:, -1].mean()) - 1) < 5 * 0.004


def test_dropout_falls_on_each_head_by_itself() -> None:
    p, B, H = 0.2, 3000, 2
    layer = MultiHeadAttention(1, H, 1, p, H, qkv_bias=True)
    with torch.no_grad():
        layer.qkv.bias.fill_(1.0)
        layer.out.weight.copy_(torch.eye(H))
        layer.out.bias.zero_()
        out = layer(torch.zeros(B, 1, 1))[:, 0]  # (B, H)
    dropped = (out == 0).float()
    assert distance(out, (1 - dropped) / (1 - p)) < CLOSE
    assert (dropped.mean(dim=0) - p).abs().max() < 5 * 0.0073
    assert abs(float(dropped.prod(dim=1).mean()) - p**2) < 5 * 0.0036


@pytest.mark.parametrize("n_heads", [0, 2])
def test_no_dropout_in_evaluation(n_heads: int) -> None:
    def build(dropout: float) -> nn.Module:
        torch.manual_seed(1)
        if n_heads:
            return MultiHeadAttention(3, 4, 5, dropout, n_heads)
        return CausalAttention(3, 4, 5, dropout)

    layer, x = build(0.5), torch.randn(2, 5, 3)
    assert distance(layer(x), layer(x)) > 0.01
    layer.eval()
    assert distance(layer(x), build(0.0)(x)) == 0


# The cache

splits = st.lists(st.integers(1, 5), min_size=1, max_size=6)


@some
@given(splits)
@torch.inference_mode()
def test_cached_is_uncached(sizes: list[int]) -> None:
    B, H, d, T = 2, 3, 4, sum(sizes)
    layer = MultiHeadAttention(5, H * d, T + 1, 0.0, H, qkv_bias=True)
    x, cache = torch.randn(B, T, 5), KVCache(T + 2)
    expected = layer(x)
    for start, end in pairwise(accumulate(sizes, initial=0)):
        piece = layer(x[:, start:end], cache)
        assert distance(piece, expected[:, start:end]) < CLOSE
        assert cache.length == end


@torch.inference_mode()
def test_the_cache_returns_what_it_was_given() -> None:
    k, v = torch.randn(2, 2, 3, 6, 4, dtype=torch.float64)
    cache = KVCache(9)
    for piece in (slice(0, 2), slice(2, 3), slice(3, 6)):
        keys, values = cache.append(k[:, :, piece], v[:, :, piece])
        assert keys.dtype == values.dtype == torch.float64
        assert torch.equal(keys, k[:, :, : piece.stop])
        assert torch.equal(values, v[:, :, : piece.stop])
    assert cache.keys is not None and cache.keys.shape == (2, 3, 9, 4)


@torch.inference_mode()
def test_the_cache_is_allocated_once() -> None:
    cache = KVCache(4)
    first, _ = cache.append(*torch.randn(2, 1, 2, 1, 3))
    later, _ = cache.append(*torch.randn(2, 1, 2, 3, 3))
    assert first.data_ptr() == later.data_ptr()


@torch.inference_mode()
def test_caches_do_not_share_anything() -> None:
    layer, x = MultiHeadAttention(3, 4, 6, 0.0, 2), torch.randn(2, 5, 3)
    one, two = KVCache(6), KVCache(6)
    layer(x[:, :3], one)
    assert distance(layer(x, two), layer(x)) < CLOSE
    assert distance(layer(x[:, 3:], one), layer(x)[:, 3:]) < CLOSE


# Bad input


def test_a_full_cache_says_so_and_stays_as_it_was() -> None:
    cache = KVCache(4)
    keys, _ = cache.append(*torch.randn(2, 1, 2, 3, 5))
    before = keys.clone()
    with pytest.raises(ValueError, match=r"5 tokens .* context of 4"):
        cache.append(*torch.randn(2, 1, 2, 2, 5))
    assert cache.length == 3
    assert torch.equal(keys, before)
    cache.append(*torch.randn(2, 1, 2, 1, 5))


@pytest.mark.parametrize(
    "layer",
    [CausalAttention(3, 4, 6, 0.0), MultiHeadAttention(3, 4, 6, 0.0, 2)],
)
def test_too_many_tokens(layer: nn.Module) -> None:
    assert layer(torch.randn(2, 6, 3)).shape == (2, 6, 4)
    with pytest.raises(ValueError, match=r"7 tokens .* context of 6"):
        layer(torch.randn(2, 7, 3))


@torch.inference_mode()
def test_too_many_tokens_through_a_cache() -> None:
    layer, cache = MultiHeadAttention(3, 4, 6, 0.0, 2), KVCache(100)
    layer(torch.randn(2, 6, 3), cache)
    with pytest.raises(ValueError, match=r"7 tokens .* context of 6"):
        layer(torch.randn(2, 1, 3), cache)
    assert cache.length == 6  # a refused token is not stored


@pytest.mark.parametrize("n_heads", [5, 24, 0, -2])
def test_heads_that_do_not_divide(n_heads: int) -> None:
    with pytest.raises(ValueError, match=f"d_out=12 .* n_heads={n_heads} "):
        MultiHeadAttention(12, 12, 8, 0.0, n_heads)


def test_another_number_of_texts_is_refused() -> None:
    cache = KVCache(7)
    cache.append(torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5))
    for B in (1, 3):
        with pytest.raises(ValueError, match=f"{B} texts .* cache of 2"):
            cache.append(torch.randn(B, 3, 1, 5), torch.randn(B, 3, 1, 5))
    assert cache.length == 4
