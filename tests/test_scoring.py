"""Intervals, near duplicates, and how far judges agree."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.scoring import (
    agreement,
    bootstrap_interval,
    kappa,
    near_duplicates,
    normal,
    word_set,
)


def test_normal():
    assert normal("  It is  Tea. ") == "it is tea"
    assert normal("12,345 km") == "12345 km" and normal("1,2") == "1,2"
    assert normal("FOX.", exact=True) == "FOX"


# The bootstrap


def test_interval_is_about_the_normal_one():
    hits = [1] * 60 + [0] * 140
    low, high = bootstrap_interval(hits)
    half = 1.96 * math.sqrt(0.3 * 0.7 / 200)
    assert low == pytest.approx(0.3 - half, abs=0.01)
    assert high == pytest.approx(0.3 + half, abs=0.01)
    assert bootstrap_interval(hits) == (low, high)
    narrow = bootstrap_interval(hits, level=0.5)
    assert low < narrow[0] < 0.3 < narrow[1] < high


def test_interval_covers():
    """Of 200 samples of 80, about 95% have the truth in their interval."""
    rng = random.Random(1)
    inside = 0
    for seed in range(200):
        hits = [rng.random() < 0.4 for _ in range(80)]
        low, high = bootstrap_interval(hits, seed=seed, n_draws=400)
        inside += low <= 0.4 <= high
    assert 180 <= inside <= 199


def test_groups_are_drawn_as_one():
    values = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0] * 5
    people = [n // 4 for n in range(40)]
    alone, grouped = (
        bootstrap_interval(values),
        bootstrap_interval(values, people),
    )
    assert grouped[1] - grouped[0] > 1.6 * (alone[1] - alone[0])
    low, high = bootstrap_interval([1, 1, 1, 0], ["a", "a", "a", "b"])
    assert (low, high) == (0, 1)


@pytest.mark.parametrize("values, groups", [([], None), ([1.0], ["a", "b"])])
def test_interval_refuses(values, groups):
    with pytest.raises(ValueError, match="a group for each"):
        bootstrap_interval(values, groups)


# Near duplicates


def test_word_set():
    assert word_set("The dog and the cat") == {
        "the",
        "dog",
        "and",
        "the 2",
        "cat",
    }
    assert word_set("") == frozenset()


words = st.lists(st.sampled_from("abcdefgh"), max_size=7).map(" ".join)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(words, max_size=6),
    st.lists(words, max_size=6),
    st.sampled_from([0.2, 0.5, 0.6, 0.75, 0.8, 1.0]),
)
def test_near_duplicates_are_all_found(texts, known, threshold):
    expected = set()
    for i, text in enumerate(texts):
        for j, other in enumerate(known):
            a, b = word_set(text), word_set(other)
            if a and len(a & b) / len(a | b) >= threshold:
                expected.add((i, j))
    found = near_duplicates(texts, known, threshold)
    assert {(i, j) for i, j, _ in found} == expected
    assert len(found) == len(expected)
    shares = [s for *_, s in found]
    assert shares == sorted(shares, reverse=True)


def test_near_duplicates_refuses():
    with pytest.raises(ValueError, match=r"in \(0, 1\], got 0"):
        near_duplicates(["a"], ["a"], 0)


# Agreement


def test_agreement_and_kappa():
    a, b = [1, 1, 2, 2], [1, 2, 2, 2]
    assert agreement(a, b) == 0.75
    # by chance: 2/4 * 1/4 + 2/4 * 3/4 = 1/2
    assert kappa(a, b) == pytest.approx((0.75 - 0.5) / (1 - 0.5))
    assert kappa(a, a) == 1 and kappa(a, [2, 2, 1, 1]) == -1
    assert kappa([1, 2, 3, 1], [2, 2, 2, 2]) == 0
    assert math.isnan(kappa([5, 5], [5, 5]))


def test_quadratic_kappa_forgives_neighbors():
    a = [1, 2, 3, 4, 5, 5]
    near, far = [2, 3, 4, 5, 4, 4], [5, 4, 1, 2, 1, 1]
    assert kappa(a, near) < 0 < kappa(a, near, quadratic=True)
    assert kappa(a, far, quadratic=True) < 0


def test_kappa_of_two_who_guess_is_zero():
    rng = random.Random(2)
    a, b = ([rng.randint(1, 5) for _ in range(20000)] for _ in range(2))
    assert abs(kappa(a, b)) < 0.02 and abs(kappa(a, b, True)) < 0.02


def test_agreement_refuses():
    for a, b in (([], []), ([1], [1, 2])):
        with pytest.raises(ValueError, match="expected as many"):
            kappa(a, b)
