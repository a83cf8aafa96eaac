"""The model against Hugging Face's GPT-2, NumPy, and its own promises."""

import copy
import dataclasses
import itertools
import math

import hf
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lib.gpt import (
    GELU,
    GPT,
    FeedForward,
    GPTConfig,
    LayerNorm,
    TransformerBlock,
    count_parameters,
    flops_per_token,
)

# vocabulary, context, width, layers, heads: all different, and odd
SHAPES = [(97, 13, 24, 3, 4), (50, 33, 30, 2, 5), (211, 7, 14, 5, 7)]
SMALL = GPTConfig(97, 13, 24, 3, 4)


def random_ids(config: GPTConfig, B: int, T: int, seed: int = 0) -> Tensor:
    """Draw ids (B, T) from a configuration's vocabulary."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (B, T), generator=random)


def lively(config: GPTConfig, seed: int = 0) -> GPT:
    """Build a model whose every part matters: large random weights."""
    torch.manual_seed(seed)
    model = GPT(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.2 * torch.randn_like(weight)
    return model.eval()


def numbers(*values: object) -> str:
    """Make a pattern that matches a message with these, in this order."""
    return ".*".join(str(value) for value in values)


# Equal to Hugging Face's


@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_hugging_faces(
    shape: tuple[int, ...], tie_weights: bool, qkv_bias: bool
) -> None:
    config = GPTConfig(*shape, 0.0, qkv_bias, tie_weights)
    ours, theirs = hf.pair(config)
    for B, T in ((3, config.context_length), (2, 5), (1, 1)):
        ids = random_ids(config, B, T)
        with torch.no_grad():
            logits, expected = ours(ids), theirs(ids).logits
        assert logits.shape == (B, T, config.vocab_size)
        assert expected.std() > 0.5  # or 1e-4 would say little
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def test_logits_are_hugging_faces_to_double_precision() -> None:
    ours, theirs = hf.pair(SMALL, seed=1)
    ids = random_ids(SMALL, 2, 11)
    with torch.no_grad():
        logits, expected = ours.double()(ids), theirs.double()(ids).logits
    torch.testing.assert_close(logits, expected, atol=1e-10, rtol=0)


def test_gradients_are_hugging_faces() -> None:
    ours, theirs = hf.pair(SMALL, seed=2)
    ids = random_ids(SMALL, 3, 8)
    for logits in (ours(ids), theirs(ids).logits):
        scores, targets = logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
        F.cross_entropy(scores, targets).backward()
    expected = theirs.transformer.h[1].mlp.c_fc.weight.grad.t()
    found = ours.blocks[1].feed_forward.up.weight.grad
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    expected = theirs.transformer.wte.weight.grad
    found = ours.token_embedding.weight.grad
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


# The parts


def test_layer_norm_is_the_formula() -> None:
    torch.manual_seed(0)
    norm = LayerNorm(7)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    x = 0.01 * torch.randn(2, 3, 7)  # small, so that epsilon is seen
    a = x.double().numpy()
    mean, variance = a.mean(-1, keepdims=True), a.var(-1, keepdims=True)
    expected = (a - mean) / np.sqrt(variance + 1e-5)
    expected = expected * norm.weight.detach().double().numpy()
    expected = expected + norm.bias.detach().double().numpy()
    assert np.allclose(norm(x).detach().numpy(), expected, atol=1e-5)


def test_layer_norm_gradient_is_the_formula() -> None:
    torch.manual_seed(1)
    norm = LayerNorm(7).double()
    with torch.no_grad():
        norm.weight.normal_()
    x = torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True)
    u = torch.randn_like(x)
    found = torch.autograd.grad(norm(x), (x, *norm.parameters()), u)
    a, above = x.detach().numpy(), u.numpy()
    size = np.sqrt(a.var(-1, keepdims=True) + 1e-5)
    normed = (a - a.mean(-1, keepdims=True)) / size
    g = above * norm.weight.detach().numpy()
    along = (g * normed).mean(-1, keepdims=True)
    at_x = (g - g.mean(-1, keepdims=True) - normed * along) / size
    expected = at_x, (above * normed).sum((0, 1)), above.sum((0, 1))
    for ours, theirs in zip(found, expected):
        assert np.allclose(ours.numpy(), theirs, atol=1e-12)


def test_gelu_stays_within_its_bound_of_the_exact_form() -> None:
    x = torch.linspace(-8, 8, 16001, dtype=torch.float64)
    exact = x * torch.special.ndtr(x)
    assert 0.00047 < (GELU()(x) - exact).abs().max() < 0.00048


def test_gelu_is_the_tanh_form() -> None:
    x = torch.linspace(-5, 5, 1001, dtype=torch.float64)
    a = x.numpy()
    inner = math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)
    expected = 0.5 * a * (1 + np.tanh(inner))
    assert np.allclose(GELU()(x).numpy(), expected, atol=1e-12)


def test_feed_forward_treats_each_token_alone() -> None:
    torch.manual_seed(0)
    part = FeedForward(SMALL)
    x = torch.randn(2, 5, 24)
    alone = torch.stack([part(x[:, t]) for t in range(5)], dim=1)
    torch.testing.assert_close(part(x), alone)
    assert part.up.weight.shape == (4 * 24, 24)


def test_block_that_writes_nothing_changes_nothing() -> None:
    block = TransformerBlock(SMALL)
    for writer in (block.attention.out, block.feed_forward.down):
        torch.nn.init.zeros_(writer.weight)
        torch.nn.init.zeros_(writer.bias)
    x = torch.randn(2, 5, 24)
    assert torch.equal(block(x), x)


# The whole model


def test_no_token_sees_a_later_one() -> None:
    model = lively(SMALL)
    ids = random_ids(SMALL, 2, 13)
    logits = model(ids)
    for t in range(1, 13):
        changed = ids.clone()
        changed[:, t:] = (ids[:, t:] + 1) % 97
        other = model(changed)
        assert torch.allclose(other[:, :t], logits[:, :t], atol=1e-5)
        assert not torch.allclose(other[:, t], logits[:, t], atol=1e-2)


def test_every_token_sees_every_earlier_one() -> None:
    model = lively(SMALL)
    ids = random_ids(SMALL, 1, 13)
    logits = model(ids)
    for t in range(13):
        changed = ids.clone()
        changed[:, t] = (ids[:, t] + 1) % 97
        moved = (model(changed) - logits).abs().amax(-1)[0]
        assert (moved[t:] > 1e-3).all()


def test_order_matters_and_rows_of_a_batch_do_not_meet() -> None:
    model = lively(SMALL)
    ids = random_ids(SMALL, 3, 9)
    logits = model(ids)
    assert not torch.allclose(model(ids.flip(1)).flip(1), logits, atol=0.1)
    for row in range(3):
        alone = model(ids[row : row + 1])
        torch.testing.assert_close(alone[0], logits[row], atol=1e-5, rtol=0)


def test_next_logits_sends_one_position_through_the_head() -> None:
    model = lively(SMALL)
    ids = random_ids(SMALL, 3, 9)
    seen: list[torch.Size] = []
    hook = model.head.register_forward_hook(
        lambda _, inputs, __: seen.append(inputs[0].shape)
    )
    last = model.next_logits(ids)
    hook.remove()
    assert seen == [(3, 24)]
    torch.testing.assert_close(last, model(ids)[:, -1], atol=1e-5, rtol=0)


def test_ids_may_be_of_either_integer_type() -> None:
    model = lively(SMALL)
    ids = random_ids(SMALL, 2, 4)
    assert torch.equal(model(ids.int()), model(ids))


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model = GPT(dataclasses.replace(SMALL, dropout=0.3))
    ids = random_ids(SMALL, 2, 9)
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))
    plain = GPT(SMALL)
    assert torch.equal(plain(ids), plain(ids))


@pytest.mark.parametrize(
    "path", ["dropout", "blocks.0.dropout", "blocks.0.attention"]
)
def test_each_dropout_acts(path: str) -> None:
    model = GPT(dataclasses.replace(SMALL, dropout=0.5)).eval()
    ids = random_ids(SMALL, 2, 9)
    model.get_submodule(path).train()
    assert not torch.equal(model(ids), model(ids))


@pytest.mark.parametrize("silent", ["attention.out", "feed_forward.down"])
def test_dropout_acts_on_each_branch(silent: str) -> None:
    block = TransformerBlock(dataclasses.replace(SMALL, dropout=0.5)).eval()
    for weight in block.get_submodule(silent).parameters():
        torch.nn.init.zeros_(weight)
    block.dropout.train()
    x = torch.randn(2, 5, 24)
    assert not torch.equal(block(x), block(x))


# The cache


@settings(deadline=None, max_examples=30)
@given(cuts=st.sets(st.integers(1, 12)), seed=st.integers(0, 5))
def test_any_cutting_of_a_text_gives_the_same_logits(
    cuts: set[int], seed: int
) -> None:
    model = lively(SMALL)
    ids = random_ids(SMALL, 2, 13, seed)
    cache = model.new_cache()
    ends = [0, *sorted(cuts), 13]
    with torch.no_grad():
        pieces = [
            model(ids[:, a:b], cache) for a, b in itertools.pairwise(ends)
        ]
        whole = model(ids)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-4, rtol=0)


def test_cache_keeps_what_it_held_when_input_is_refused() -> None:
    model = lively(SMALL)
    ids = random_ids(SMALL, 2, 13)
    cache = model.new_cache()
    model(ids[:, :9], cache)
    with pytest.raises(ValueError, match=numbers(14, 13)):
        model(ids[:, :5], cache)
    with pytest.raises(ValueError, match=numbers(97, 97)):
        model(torch.full((2, 1), 97), cache)
    assert [layer.length for layer in cache] == [9, 9, 9]
    found = model(ids[:, 9:], cache)
    torch.testing.assert_close(found, model(ids)[:, 9:], atol=1e-4, rtol=0)


# Starting weights


def test_starting_weights() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(300, 200, 128, 3, 4, tie_weights=False))
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            assert weight.count_nonzero() == 0, name
        elif "norm" in name:
            assert (weight == 1).all(), name
        else:
            writes = name.endswith(("out.weight", "down.weight"))
            expected = 0.02 / math.sqrt(6) if writes else 0.02
            assert weight.std().item() == pytest.approx(expected, rel=0.03)
            assert abs(weight.mean().item()) < 0.02 * expected, name


@torch.no_grad()
def test_stream_starts_at_the_same_size_at_every_depth() -> None:
    grown = []
    for n_layers in (6, 24):
        torch.manual_seed(3)
        model = GPT(GPTConfig(97, 32, 64, n_layers, 4))
        x = model.token_embedding(random_ids(model.config, 4, 32))
        x = x + model.position_embedding.weight
        before = x.var()
        for block in model.blocks:
            x = block(x)
        grown.append(float(x.var() / before))
    assert 1.3 < min(grown) < max(grown) < 1.8


def test_seed_decides_the_starting_weights() -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([w.flatten() for w in GPT(SMALL).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("D", [16, 48])
@pytest.mark.parametrize("tie_weights", [True, False])
def test_first_loss_is_near_ignorance(D: int, tie_weights: bool) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(50257, 64, D, 2, 4, tie_weights=tie_weights))
    ids = random_ids(model.config, 4, 65)
    with torch.no_grad():
        z = model(ids[:, :-1])
    loss = F.cross_entropy(z.flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(10.83, abs=0.03)
    every_target = (z.logsumexp(-1) - z.mean(-1)).mean().item()
    expected = math.log(50257) + D * 0.02**2 / 2
    assert every_target == pytest.approx(expected, abs=0.002)


# Tying


def test_tied_weights_are_one_tensor_and_stay_so() -> None:
    model = GPT(SMALL)

    def tied(model: GPT) -> bool:
        pointers = {
            table.weight.data_ptr()
            for table in (model.head, model.token_embedding)
        }
        return len(pointers) == 1

    assert tied(model)
    before = model.head.weight.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(random_ids(SMALL, 2, 9)).square().mean().backward()
        optimizer.step()
    assert tied(model)
    assert not torch.allclose(model.head.weight, before, atol=0.05)
    assert tied(copy.deepcopy(model))
    model.load_state_dict(copy.deepcopy(model.state_dict()))
    assert tied(model)
    assert tied(model.double())


def test_untied_tables_are_two() -> None:
    model = GPT(dataclasses.replace(SMALL, tie_weights=False))
    head, table = model.head.weight, model.token_embedding.weight
    assert head.data_ptr() != table.data_ptr()
    assert not torch.equal(head, table)


def test_every_parameter_is_used() -> None:
    model = lively(dataclasses.replace(SMALL, tie_weights=False))
    model(random_ids(SMALL, 8, 13)).square().mean().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


# Counting


@st.composite
def configs(draw: st.DrawFn) -> GPTConfig:
    """Draw a small configuration, odd in every way."""
    heads = draw(st.integers(1, 5))
    return GPTConfig(
        vocab_size=draw(st.integers(1, 60)),
        context_length=draw(st.integers(1, 20)),
        d_model=heads * draw(st.integers(1, 6)),
        n_layers=draw(st.integers(1, 4)),
        n_heads=heads,
        qkv_bias=draw(st.booleans()),
        tie_weights=draw(st.booleans()),
    )


@settings(deadline=None, max_examples=40)
@given(configs())
def test_parameters_follow_the_formula(config: GPTConfig) -> None:
    V, C, D = config.vocab_size, config.context_length, config.d_model
    block = 12 * D * D + 10 * D + 3 * D * config.qkv_bias
    expected = V * D + C * D + config.n_layers * block + 2 * D
    expected += 0 if config.tie_weights else V * D
    assert count_parameters(GPT(config)) == expected


@pytest.mark.parametrize(
    ("name", "untied", "tied"),
    [
        ("gpt2-small", 163_009_536, 124_412_160),
        ("gpt2-medium", 406_212_608, 354_749_440),
        ("gpt2-large", 838_220_800, 773_891_840),
        ("gpt2-xl", 1_637_792_000, 1_557_380_800),
    ],
)
def test_published_sizes(name: str, untied: int, tied: int) -> None:
    for tie_weights, expected in ((False, untied), (True, tied)):
        config = GPTConfig.preset(
            name, qkv_bias=False, tie_weights=tie_weights
        )
        with torch.device("meta"):
            assert count_parameters(GPT(config)) == expected


def test_published_gpt2_has_qkv_biases() -> None:
    with torch.device("meta"):
        model = GPT(GPTConfig.preset("gpt2-small"))
    assert count_parameters(model) == 124_439_808


def test_frozen_parameters_do_not_count() -> None:
    model = GPT(SMALL)
    everything = count_parameters(model)
    model.position_embedding.requires_grad_(False)
    assert count_parameters(model) == everything - 13 * 24


@settings(deadline=None, max_examples=20)
@given(configs(), st.integers(1, 3), st.integers(1, 20))
def test_flops_are_those_that_torch_counts(
    config: GPTConfig, B: int, T: int
) -> None:
    T = min(T, config.context_length)
    model, ids = GPT(config), torch.zeros(B, T, dtype=torch.int64)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as count:
        model(ids)
    assert B * T * flops_per_token(config, T) == count.get_total_flops()


def test_flops_are_for_a_full_context_unless_told_otherwise() -> None:
    assert flops_per_token(SMALL) == flops_per_token(SMALL, 13)
    assert flops_per_token(SMALL) > flops_per_token(SMALL, 12)


# Bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_heads": 5}, numbers(24, 5)),
        ({"n_heads": 48}, numbers(24, 48)),
        ({"n_layers": 0}, numbers("n_layers", 0)),
        ({"vocab_size": -3}, numbers("vocab_size", -3)),
        ({"context_length": 0}, numbers("context_length", 0)),
        ({"d_model": 24.0}, numbers("d_model", "integer", 24.0)),
        ({"dropout": 1.0}, numbers(r"\[0, 1\)", 1.0)),
        ({"dropout": -0.1}, numbers(r"\[0, 1\)", -0.1)),
        ({"dropout": math.nan}, numbers(r"\[0, 1\)", "nan")),
    ],
)
def test_impossible_configurations(
    changes: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_presets() -> None:
    config = GPTConfig.preset("gpt2-xl", dropout=0.1, tie_weights=False)
    assert config == GPTConfig(50257, 1024, 1600, 48, 25, 0.1, True, False)
    assert GPTConfig.preset("course").vocab_size == 8192
    with pytest.raises(ValueError, match=numbers("gpt5", "gpt2-small")):
        GPTConfig.preset("gpt5")
    with pytest.raises(ValueError, match=numbers(768, 7)):
        GPTConfig.preset("gpt2-small", n_heads=7)


def test_configuration_cannot_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.n_layers = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.tensor([[3, 97]]), numbers(97, "vocabulary of 97")),
        (torch.tensor([[3, -1]]), numbers(-1, "vocabulary of 97")),
        (torch.zeros(1, 14, dtype=torch.int64), numbers(14, 13)),
        (torch.zeros(4, dtype=torch.int64), numbers(r"\(B, T\)", r"\(4,\)")),
        (torch.zeros(2, 0, dtype=torch.int64), numbers("T >= 1", r"\(2, 0\)")),
        (torch.zeros(0, 2, dtype=torch.int64), numbers("B, T", r"\(0, 2\)")),
        (torch.zeros(1, 2), numbers("whole numbers", "float32")),
        (torch.zeros(1, 2, dtype=torch.bool), numbers("whole", "bool")),
    ],
)
def test_ids_that_cannot_be_read(ids: Tensor, message: str) -> None:
    model = GPT(SMALL)
    with pytest.raises(ValueError, match=message):
        model(ids)
    with pytest.raises(ValueError, match=message):
        model.next_logits(ids)
