"""Generation against plain loops over Hugging Face's GPT-2 and NumPy."""

import dataclasses
import math
from collections.abc import Iterator
from functools import cache

import hf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import GPT2LMHeadModel

from lib.gpt import GPT, GPTConfig
from lib.sample import (
    generate,
    greedy,
    keep_top_k,
    keep_top_p,
    make_reader,
    one_row_head,
    sample_next,
    steps,
    stream,
)

# vocabulary, context, width, layers, heads: all different, and odd
CONFIG = GPTConfig(53, 11, 30, 3, 5, dropout=0.5)


@cache
def models() -> tuple[GPT, GPT2LMHeadModel]:
    """Return our model and Hugging Face's, with the same random weights."""
    return hf.pair(CONFIG, seed=3)


@cache
def precise(seed: int) -> GPT:
    """Return our model in float64: no two scores tie by rounding."""
    return hf.pair(CONFIG, seed)[0].double()


def ours() -> GPT:
    """Return our model, in evaluation mode."""
    return models()[0].eval()


def prompt(B: int = 2, T: int = 4, seed: int = 0) -> Tensor:
    """Draw a prompt (B, T)."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(53, (B, T), generator=random)


def seeded(seed: int = 0) -> torch.Generator:
    """Return a source of random numbers."""
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def expected_text(ids: Tensor, n: int) -> Tensor:
    """Write greedily with Hugging Face's model, a window at a time."""
    for _ in range(n):
        logits = models()[1](ids[:, -11:]).logits[:, -1]
        ids = torch.cat([ids, logits.argmax(-1)[:, None]], dim=1)
    return ids


# Greedy text, with and without the cache


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize(
    ("B", "T", "n"),
    [
        (1, 4, 5),  # within the context
        (3, 4, 7),  # exactly to its end
        (2, 4, 8),  # one beyond
        (3, 1, 40),  # far beyond
        (2, 11, 9),  # the prompt fills the context
        (2, 17, 9),  # and is longer than it
        (2, 5, 0),
    ],
)
def test_greedy_text_is_hugging_faces(
    B: int, T: int, n: int, use_cache: bool
) -> None:
    ids = prompt(B, T, seed=B)
    before = ids.clone()
    found = generate(ours(), ids, n, use_cache=use_cache)
    assert torch.equal(found, expected_text(ids, n))
    assert torch.equal(ids, before)
    assert found.dtype == ids.dtype
    assert len(found[0].unique()) > 2 or n == 0  # no stuttering


@settings(deadline=None, max_examples=30)
@given(
    B=st.integers(1, 3),
    T=st.integers(1, 14),
    n=st.integers(0, 20),
    temperature=st.sampled_from([0.0, 0.7, 1.0, 3.0]),
    top_k=st.none() | st.integers(1, 53),
    top_p=st.none() | st.floats(0.1, 1.0),
    seed=st.integers(0, 3),
)
def test_cached_is_uncached_token_for_token(
    B: int,
    T: int,
    n: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
) -> None:
    cached, uncached = (
        generate(
            precise(seed),
            prompt(B, T, seed),
            n,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            generator=seeded(seed),
            use_cache=use_cache,
        )
        for use_cache in (True, False)
    )
    assert cached.shape == (B, T + n)
    assert torch.equal(cached, uncached)


@pytest.mark.parametrize("use_cache", [True, False])
def test_work_of_each_step(use_cache: bool) -> None:
    read: list[int] = []
    hook = (
        ours()
        .blocks[0]
        .register_forward_hook(
            lambda _, inputs, __: read.append(inputs[0].size(1))
        )
    )
    generate(ours(), prompt(2, 7), 8, use_cache=use_cache)
    hook.remove()
    within = [1, 1, 1, 1] if use_cache else [8, 9, 10, 11]
    assert read == [7, *within, 11, 11, 11]


def test_no_gradient_is_prepared_while_writing() -> None:
    seen: list[bool] = []
    hook = ours().head.register_forward_hook(
        lambda *_: seen.append(torch.is_inference_mode_enabled())
    )
    generate(ours(), prompt(), 3)
    hook.remove()
    assert seen == [True] * 3


def test_ids_of_either_integer_type() -> None:
    found = generate(ours(), prompt().int(), 9)
    assert found.dtype == torch.int32
    assert torch.equal(found.long(), generate(ours(), prompt(), 9))


# What generation leaves behind


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_the_mode_comes_back(training: bool) -> None:
    ids = prompt()
    expected = expected_text(ids, 9)
    model = ours().train(training)
    assert torch.equal(generate(model, ids, 9), expected)
    assert all(part.training is training for part in model.modules())


@pytest.mark.parametrize("stop_id", [None, 52])
def test_mode_comes_back_from_an_abandoned_stream(
    stop_id: int | None,
) -> None:
    model = ours().train()
    text = stream(model, prompt(), 9, stop_id=stop_id)
    next(text)
    next(text)
    del text
    assert model.training
    text = steps(model, prompt(), 9)
    next(text)
    text.close()  # type: ignore[attr-defined]
    assert model.training


def test_mode_comes_back_after_an_error() -> None:
    model = ours().train()
    with pytest.raises(ValueError, match="vocabulary"):
        generate(model, prompt() + 53, 9)
    assert model.training


def test_generated_ids_can_be_trained_on() -> None:
    model = GPT(CONFIG)
    written = generate(model, prompt(), 5)
    pieces = torch.stack(list(stream(model, prompt(), 5)), dim=1)
    for ids in (written, pieces, *stream(model, prompt(), 5)):
        model.zero_grad()
        model(ids.reshape(1, -1)[:, :11]).sum().backward()
        assert model.token_embedding.weight.grad.abs().sum() > 0
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_gradients_can_be_taken_between_steps() -> None:
    model = GPT(CONFIG)
    for ids in stream(model, prompt(), 3):
        model(ids[:, None]).sum().backward()


def test_changing_a_yielded_tensor_changes_nothing_else() -> None:
    expected = generate(ours(), prompt(), 6)[:, 4:]
    found = []
    for ids in stream(ours(), prompt(), 6):
        found.append(ids.clone())
        ids.zero_()
    assert torch.equal(torch.stack(found, dim=1), expected)


def test_stream_is_what_generate_joins() -> None:
    pieces = list(stream(ours(), prompt(3), 14))
    assert [piece.shape for piece in pieces] == [(3,)] * 14
    joined = torch.cat([prompt(3), torch.stack(pieces, dim=1)], dim=1)
    assert torch.equal(joined, generate(ours(), prompt(3), 14))


# Stopping


def stopped(text: Tensor, T: int, stop_id: int) -> Tensor:
    """Cut a text (B, T + n) as stop_id demands, row by row."""
    rows = text.tolist()
    ends = []
    for row in rows:
        new = row[T:]
        end = new.index(stop_id) + 1 if stop_id in new else len(new)
        row[T + end :] = [stop_id] * (len(new) - end)
        ends.append(T + end)
    return torch.tensor(rows)[:, : max(ends)]


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("T", [4, 13])
def test_stop_id_ends_each_row_and_then_all(T: int, use_cache: bool) -> None:
    model = hf.pair(dataclasses.replace(CONFIG, vocab_size=5), 1)[0]
    ids = prompt(3, T) % 5

    def text(stop_id: int | None) -> Tensor:
        return generate(
            model,
            ids,
            60,
            temperature=1.0,
            stop_id=stop_id,
            generator=seeded(4),
            use_cache=use_cache,
        )

    lengths = set()
    for stop_id in range(5):
        expected = stopped(text(None), T, stop_id)
        assert torch.equal(text(stop_id), expected)
        lengths.add(expected.size(1))
    assert len(lengths) > 1
    assert min(lengths) < T + 60


def test_stop_id_in_the_prompt_does_not_stop() -> None:
    ids = prompt(1, 4)
    expected = generate(ours(), ids, 6)
    absent = next(i for i in ids[0].tolist() if i not in expected[0, 4:])
    assert torch.equal(generate(ours(), ids, 6, stop_id=absent), expected)


# Choosing a token

LOGITS = torch.tensor([2.0, -1.0, 0.5, 0.4, -3.0, 1.2, 0.0])


def truth(
    temperature: float, top_k: int | None, top_p: float | None
) -> np.ndarray:
    """Return the probabilities of LOGITS' ids in float64, from scratch."""
    p = np.exp(LOGITS.double().numpy() / temperature)
    order = np.argsort(-p)
    if top_k is not None:
        p[order[top_k:]] = 0
    p /= p.sum()
    if top_p is not None:
        for n in range(1, 8):
            if p[order[:n]].sum() >= top_p:
                p[order[n:]] = 0
                break
    return p / p.sum()


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [
        (1.0, None, None),
        (0.5, None, None),
        (2.5, None, None),
        (1.0, 3, None),
        (1.0, None, 0.6),
        (0.7, 4, 0.8),
        (3.0, 5, 0.7),
    ],
)
def test_frequencies_follow_the_probabilities(
    temperature: float, top_k: int | None, top_p: float | None
) -> None:
    n = 40_000
    drawn = sample_next(
        LOGITS.repeat(n, 1), temperature, top_k, top_p, seeded(5)
    )
    counts = np.bincount(drawn.numpy(), minlength=7)
    expected = n * truth(temperature, top_k, top_p)
    assert (counts[expected == 0] == 0).all()
    possible = expected > 0
    assert possible.sum() < 7 or (top_k, top_p) == (None, None)
    off = (counts - expected)[possible]
    chi_square = (off**2 / expected[possible]).sum()
    assert chi_square < 27.9  # once in 10,000, for 6 degrees of freedom


def test_temperature_0_takes_the_best_and_draws_nothing() -> None:
    source = seeded()
    before = source.get_state()
    logits = torch.randn(9, 30, generator=seeded(1))
    best = torch.from_numpy(logits.numpy().argmax(-1))
    assert torch.equal(greedy(logits), best)
    found = sample_next(logits, 0.0, 20, 0.9, source)
    assert torch.equal(found, best)
    assert torch.equal(source.get_state(), before)


@pytest.mark.parametrize("temperature", [1e-3, 1e-8, 1e-30, 1e-45])
def test_temperature_near_0_is_greedy(temperature: float) -> None:
    logits = 100 * torch.randn(9, 30, generator=seeded(1))
    found = sample_next(logits, temperature, generator=seeded())
    assert torch.equal(found, greedy(logits))


def test_top_k_1_is_greedy() -> None:
    logits = torch.randn(9, 30, generator=seeded(1))
    found = sample_next(logits, 5.0, top_k=1, generator=seeded())
    assert torch.equal(found, greedy(logits))


def test_generator_decides_the_text() -> None:
    def text(seed: int) -> Tensor:
        return generate(
            ours(), prompt(), 20, temperature=1.0, generator=seeded(seed)
        )

    assert torch.equal(text(1), text(1))
    assert not torch.equal(text(1), text(2))
    assert not torch.equal(text(1), generate(ours(), prompt(), 20))


@settings(deadline=None, max_examples=60)
@given(
    logits=st.lists(
        st.lists(st.integers(-3, 3), min_size=6, max_size=6),
        min_size=1,
        max_size=3,
    ),
    top_k=st.integers(1, 6),
)
def test_top_k_keeps_exactly_k_of_the_best(
    logits: list[list[int]], top_k: int
) -> None:
    before = torch.tensor(logits, dtype=torch.float32)  # with many ties
    after = keep_top_k(before, top_k)
    kept = after > -math.inf
    assert (kept.sum(-1) == top_k).all()
    assert torch.equal(after[kept], before[kept])
    worst = after.masked_fill(~kept, math.inf).amin(-1)
    assert (before.masked_fill(kept, -math.inf).amax(-1) <= worst).all()


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**30),
    top_p=st.floats(0.01, 1.0),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(
    seed: int, top_p: float, scale: float
) -> None:
    before = scale * torch.randn(3, 8, generator=seeded(seed))
    after = keep_top_p(before.double(), top_p)
    for row, found in zip(before.double().numpy(), after, strict=True):
        p = np.exp(row) / np.exp(row).sum()
        total, kept = 0.0, set()
        for i in np.argsort(-p):
            if total >= top_p:
                break
            kept.add(int(i))
            total += p[i]
        where = found > -math.inf
        assert set(where.nonzero().flatten().tolist()) == kept
        assert torch.equal(found[where], torch.from_numpy(row)[where])


def test_top_p_with_ties_keeps_one_of_them() -> None:
    after = keep_top_p(torch.zeros(2, 4), 0.25)
    assert ((after > -math.inf).sum(-1) == 1).all()
    after = keep_top_p(torch.zeros(2, 4), 0.26)
    assert ((after > -math.inf).sum(-1) == 2).all()


@pytest.mark.parametrize("top_p", [1e-9, 0.01])
def test_top_p_never_keeps_nothing(top_p: float) -> None:
    after = keep_top_p(torch.zeros(1, 50), top_p)
    assert (after > -math.inf).sum() == 1


# Bad input

SETTINGS = [
    ({"temperature": -0.5}, "-0.5"),
    ({"temperature": math.nan}, "nan"),
    ({"temperature": math.inf}, "inf"),
    ({"temperature": 1.0, "top_k": 0}, "53.*got 0"),
    ({"temperature": 1.0, "top_k": -2}, "53.*got -2"),
    ({"temperature": 1.0, "top_k": 54}, "53.*got 54"),
    ({"temperature": 1.0, "top_p": 0.0}, r"\(0, 1\].*got 0.0"),
    ({"temperature": 1.0, "top_p": 1.1}, r"\(0, 1\].*got 1.1"),
    ({"temperature": 1.0, "top_p": math.nan}, "nan"),
    ({"top_k": 0}, "53.*got 0"),  # also where greedy would ignore it
    ({"top_p": 1.5}, r"\(0, 1\].*got 1.5"),
]


@pytest.mark.parametrize(("settings", "message"), SETTINGS)
def test_impossible_settings(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(ours(), prompt(), 3, **settings)
    with pytest.raises(ValueError, match=message):
        stream(ours(), prompt(), 3, **settings)  # at once, before a step
    with pytest.raises(ValueError, match=message):
        sample_next(torch.zeros(2, 53), **settings)


@pytest.mark.parametrize(
    ("ids", "n", "message"),
    [
        (torch.zeros(4, dtype=torch.int64), 3, r"\(B, T\).*\(4,\)"),
        (torch.zeros(2, 0, dtype=torch.int64), 3, r"T >= 1.*\(2, 0\)"),
        (torch.zeros(2, 0, dtype=torch.int64), 0, r"T >= 1.*\(2, 0\)"),
        (torch.zeros(2, 3), 3, "whole numbers.*float32"),
        (torch.zeros(2, 3, dtype=torch.int64), -1, "0 or more.*-1"),
        (torch.full((2, 3), 53), 3, "53.*53"),
        (torch.full((2, 3), -1), 3, "-1.*53"),
    ],
)
def test_impossible_prompts(ids: Tensor, n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(ours(), ids, n)
    written: Iterator[Tensor]
    with pytest.raises(ValueError, match=message):
        for written in stream(ours(), ids, n):
            assert written is None


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("V", [1, 2, 7, 53])
def test_the_head_for_one_row_is_the_head(V: int, threads: int) -> None:
    head = torch.nn.Linear(5, V, bias=False)
    x = torch.randn(1, 5)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        logits = one_row_head(head)(x)
    finally:
        torch.set_num_threads(before)
    assert logits.shape == (1, V)
    assert torch.allclose(logits, head(x), atol=1e-6)


def test_when_a_reader_is_made() -> None:
    model = GPT(CONFIG)
    for few in (make_reader(model, 2, 100), make_reader(model, 1, 3)):
        assert few[0] is model and few[1] is model.head
    assert make_reader(model, 1, 100)[0] is not model
    model.head = torch.nn.Sequential(model.head)  # as an adapter would
    assert make_reader(model, 1, 100)[0] is model


def test_a_reader_shares_and_changes_nothing() -> None:
    model = GPT(CONFIG).eval()
    kept = {name: w.clone() for name, w in model.named_parameters()}
    reader, _ = make_reader(model, 1, 100)
    of_model, of_reader = (
        {name: w.data_ptr() for name, w in gpt.named_parameters()}
        for gpt in (model, reader)
    )
    own = {n for n, place in of_reader.items() if place != of_model[n]}
    assert own == {n for n in kept if n.endswith(("qkv.weight", "up.weight"))}
    ids = torch.tensor([[1, 5, 2]])
    assert torch.allclose(reader(ids), model(ids), atol=1e-6)
    for name, w in model.named_parameters():
        assert w.is_contiguous() and w.requires_grad
        assert torch.equal(w, kept[name])


def test_a_long_text_with_the_copied_head_is_the_short_one() -> None:
    model = precise(4)
    ids = torch.tensor([[1, 5, 2]])
    alone = generate(model, ids, 40)
    assert torch.equal(alone, generate(model, ids.expand(2, -1), 40)[:1])
