"""lib.shards: what is written, what is read, and what is refused by name."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from lib.data import NextTokenDataset
from lib.shards import (
    MANIFEST,
    Part,
    Shards,
    cut_evenly,
    read_manifest,
    write_shards,
)
from lib.train import IGNORE

V = 300


def ids(n: int, seed: int = 0) -> list[int]:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(V, (n,), generator=g).tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three shards of 40, 40 and 17 ids."""
    write_shards(tmp_path / "s", [ids(97)], V, shard_tokens=40)
    return tmp_path / "s"


# Writing


@pytest.mark.parametrize("length", [1, 4, 7, 100])
@pytest.mark.parametrize("sizes", [[], [0], [3, 0, 9, 1], [25], [4, 4, 4]])
def test_pieces_are_joined_and_cut_evenly(
    sizes: list[int], length: int
) -> None:
    row = np.arange(sum(sizes))
    pieces = np.split(row, np.cumsum(sizes)[:-1]) if sizes else []
    shards = list(cut_evenly(pieces, length))
    assert [len(s) for s in shards[:-1]] == [length] * (len(shards) - 1)
    assert all(0 < len(s) <= length for s in shards)
    assert [*np.concatenate([row[:0], *shards])] == [*row]


def test_many_small_pieces_take_linear_time() -> None:
    pieces = (np.zeros(3, "<u2") for _ in range(200_000))
    assert sum(map(len, cut_evenly(pieces, 1 << 24))) == 600_000


@pytest.mark.parametrize(("size", "width"), [(1 << 16, 2), ((1 << 16) + 1, 4)])
def test_an_id_takes_as_few_bytes_as_the_vocabulary_allows(
    tmp_path: Path, size: int, width: int
) -> None:
    row = [0, 1, 258, size - 1]
    assert write_shards(tmp_path, [row], size) == 4
    expected = b"".join(i.to_bytes(width, "little") for i in row)
    assert (tmp_path / "00000.tokens").read_bytes() == expected
    x, y = Shards(tmp_path, 3)[0]
    assert (x.tolist(), y.tolist()) == (row[:-1], row[1:])
    assert x.dtype == y.dtype == torch.int64


@pytest.mark.parametrize("wrong", [V, -1, 70_000])
def test_an_id_out_of_the_vocabulary_is_named(
    tmp_path: Path, wrong: int
) -> None:
    message = rf"id {wrong} is not in the vocabulary: expected 0 to {V - 1}"
    with pytest.raises(ValueError, match=message):
        write_shards(tmp_path, [[1, 2], [3, wrong]], V)
    assert not (tmp_path / MANIFEST).exists()


def test_a_crash_leaves_nothing_that_could_be_mistaken(folder: Path) -> None:
    def pieces() -> Iterator[list[int]]:
        yield ids(90, 1)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_shards(folder, pieces(), V, shard_tokens=40)
    with pytest.raises(FileNotFoundError, match=r"shards\.json does not ex"):
        Shards(folder, 4)
    assert not list(folder.glob("*.part"))


# Reading


@pytest.mark.parametrize("shard_tokens", [3, 40, 96, 1000])
@pytest.mark.parametrize(("length", "stride"), [(8, None), (5, 3), (60, 7)])
def test_windows_are_those_of_one_row(
    tmp_path: Path, shard_tokens: int, length: int, stride: int | None
) -> None:
    row = ids(97)
    write_shards(tmp_path, [row[:50], row[50:]], V, shard_tokens=shard_tokens)
    found = Shards(tmp_path, length, stride)
    expected = NextTokenDataset(row, length, stride or length)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    for index in (-1, len(found)):
        with pytest.raises(IndexError, match=f"window {index}"):
            found[index]


def test_a_row_that_fills_one_window_exactly(folder: Path) -> None:
    assert len(Shards(folder, 96)) == 1
    with pytest.raises(ValueError, match=r"holds 97 tokens.* needs 98"):
        Shards(folder, 97)


@pytest.mark.parametrize(("length", "stride"), [(0, 1), (3, 0), (3, -2)])
def test_impossible_windows(folder: Path, length: int, stride: int) -> None:
    with pytest.raises(ValueError, match=f"{length} and stride {stride}"):
        Shards(folder, length, stride)


def test_what_is_not_read_takes_no_memory(tmp_path: Path) -> None:
    write_shards(tmp_path, [[0] * 1024], V)
    manifest = read_manifest(tmp_path)
    manifest["files"][0]["tokens"] = 1 << 29
    os.truncate(tmp_path / "00000.tokens", 1 << 30)  # holes, no blocks
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    before = psutil.Process().memory_info().rss
    windows = Shards(tmp_path, 64)
    g = torch.Generator().manual_seed(0)
    for index in torch.randint(len(windows), (200,), generator=g).tolist():
        windows[index]
    assert psutil.Process().memory_info().rss - before < 1 << 27


# What is refused


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 4])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: path.unlink(), "is missing: .*promises 80 bytes"),
        (lambda path: os.truncate(path, 79), "has 79 bytes: .*promises 80"),
        (lambda path: os.truncate(path, 82), "has 82 bytes: .*promises 80"),
        (
            lambda path: path.write_bytes(flip(path.read_bytes())),
            "is altered: its SHA-256 is .*, expected",
        ),
    ],
)
def test_a_harmed_shard_is_named(
    folder: Path, harm: Callable[[Path], object], message: str
) -> None:
    Shards(folder, 4).verify()
    path = folder / "00001.tokens"
    harm(path)
    with pytest.raises(ValueError, match=rf"shard .*00001\.tokens {message}"):
        Shards(folder, 4).verify()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"files": []}',
        '{"files": [{"file": "x"}], "dtype": "<u2"}',
        '{"files": [], "dtype": "soup", "vocab_size": 3, "facts": {}}',
    ],
)
def test_a_harmed_manifest_is_named(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=r"shards\.json is no manifest"):
        Shards(folder, 4)


# Parts for several processes


@pytest.mark.parametrize("world", [1, 2, 3, 5, 30])
def test_parts_are_of_one_length_and_ask_for_each_target_once(
    folder: Path, world: int
) -> None:
    windows = Shards(folder, 4)  # 24 of them
    parts = [Part(windows, rank, world) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    asked = [
        (x.tolist(), y.tolist())
        for part in parts
        for x, y in part
        if (y != IGNORE).any()
    ]
    expected = [(x.tolist(), y.tolist()) for x, y in windows]
    assert sorted(asked) == sorted(expected)
