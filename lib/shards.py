"""Token files larger than memory: shards on disk, read where needed.

Woven from chapters/appendix_d_training.ipynb. Edit the chapter, then run `make
lib`.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lib.data import atomic_path
from lib.train import IGNORE


def as_ids(
    piece: Sequence[int], vocab_size: int, dtype: np.dtype
) -> np.ndarray:
    """Check that ids are in the vocabulary and return them as an array."""
    ids = np.asarray(piece, dtype=np.int64)
    wrong = ids[(ids < 0) | (ids >= vocab_size)]
    if len(wrong):
        raise ValueError(
            f"id {wrong[0]} is not in the vocabulary: expected 0 to "
            f"{vocab_size - 1}"
        )
    return ids.astype(dtype)


def cut_evenly(
    pieces: Iterable[np.ndarray], length: int
) -> Iterator[np.ndarray]:
    """Join arrays and cut them anew: all of one length, but the last."""
    kept: list[np.ndarray] = []
    n = 0
    for piece in pieces:
        kept.append(piece)
        n += len(piece)
        if n >= length:
            joined = np.concatenate(kept)
            for end in range(length, n + 1, length):
                yield joined[end - length : end]
            n %= length
            kept = [joined[len(joined) - n :]]
    if n:
        yield np.concatenate(kept)


def write_shard(path: Path, ids: np.ndarray) -> dict[str, Any]:
    """Write one shard and return what the manifest says of it."""
    with atomic_path(path) as unfinished:
        unfinished.write_bytes(ids.tobytes())
    return {"file": path.name, "tokens": len(ids), "sha256": digest(path)}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, read piece by piece."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            sha256.update(piece)
    return sha256.hexdigest()


MANIFEST = "shards.json"  # written last: without it there are no shards


def write_shards(
    folder: str | Path,
    pieces: Iterable[Sequence[int]],
    vocab_size: int,
    *,
    shard_tokens: int = 1 << 24,
    facts: dict[str, Any] | None = None,
) -> int:
    """Write pieces of ids, one after the other, as shards; count the ids.

    Two bytes an id where the vocabulary allows it, else four, the lower
    byte first. A manifest names each file, its length and its SHA-256, and
    keeps facts.
    """
    dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    arrays = (as_ids(piece, vocab_size, dtype) for piece in pieces)
    files = [
        write_shard(folder / f"{number:05}.tokens", ids)
        for number, ids in enumerate(cut_evenly(arrays, shard_tokens))
    ]
    manifest = {"dtype": dtype.str, "vocab_size": vocab_size, "files": files}
    with atomic_path(folder / MANIFEST) as unfinished:
        text = json.dumps(manifest | {"facts": facts or {}}, indent=1)
        unfinished.write_text(text, encoding="utf-8")
    return sum(file["tokens"] for file in files)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what a folder of shards says of itself."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        for file in manifest["files"]:
            file["file"], file["sha256"], file["tokens"] + 0
        np.dtype(manifest["dtype"]), manifest["vocab_size"], manifest["facts"]
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} does not exist: expected a folder made by write_shards"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no manifest of shards: {error}") from None
    return manifest


class Shards(Dataset[tuple[Tensor, Tensor]]):
    """Windows over the ids of a folder of shards, read when asked for.

    Item i is (x, y), two int64 tensors (T,), as NextTokenDataset gives
    them; a window may begin in one shard and end in the next.
    """

    def __init__(
        self,
        folder: str | Path,
        context_length: int,
        stride: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.context_length = context_length
        self.stride = context_length if stride is None else stride
        if context_length < 1 or self.stride < 1:
            raise ValueError(
                f"context_length is {context_length} and stride "
                f"{self.stride}: both must be at least 1"
            )
        self.manifest = read_manifest(self.folder)
        self.maps = [self.open(file) for file in self.manifest["files"]]
        self.starts = [0, *accumulate(map(len, self.maps))]
        if len(self) < 1:
            raise ValueError(
                f"{folder} holds {self.starts[-1]} tokens, but a window needs "
                f"{context_length + 1}: context_length and the next token"
            )

    def open(self, file: dict[str, Any]) -> np.ndarray:
        """Map a shard into memory; ValueError unless it has its length."""
        path, dtype = self.folder / file["file"], self.manifest["dtype"]
        expected = file["tokens"] * np.dtype(dtype).itemsize
        found = path.stat().st_size if path.exists() else None
        if found != expected:
            state = "is missing" if found is None else f"has {found} bytes"
            raise ValueError(
                f"shard {path} {state}: {MANIFEST} promises {expected} bytes"
            )
        return np.memmap(path, dtype, mode="r")

    def __len__(self) -> int:
        free = self.starts[-1] - self.context_length - 1
        return max(0, free // self.stride + 1)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index}: there are {len(self)}")
        ids = self.read(index * self.stride, self.context_length + 1)
        return ids[:-1], ids[1:]

    def read(self, start: int, length: int) -> Tensor:
        """Return the ids from start on, (length,) int64."""
        shard = bisect_right(self.starts, start) - 1
        parts: list[np.ndarray] = []
        while length:
            offset = start - self.starts[shard]
            parts.append(self.maps[shard][offset : offset + length])
            start, length = start + len(parts[-1]), length - len(parts[-1])
            shard += 1
        return torch.from_numpy(np.concatenate(parts).astype(np.int64))

    def verify(self) -> None:
        """Read all shards once; ValueError names one that is altered."""
        for file in self.manifest["files"]:
            path = self.folder / file["file"]
            if (found := digest(path)) != file["sha256"]:
                raise ValueError(
                    f"shard {path} is altered: its SHA-256 is {found}, "
                    f"expected {file['sha256']}"
                )


class Part(Dataset[tuple[Tensor, Tensor]]):
    """What one of several processes reads of some windows to evaluate.

    All parts are of one length, so that processes which compute together
    stay together: where windows run out, targets are IGNORE.
    """

    def __init__(self, windows: Shards, rank: int, world: int) -> None:
        self.windows, self.rank, self.world = windows, rank, world

    def __len__(self) -> int:
        return -(-len(self.windows) // self.world)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index}: there are {len(self)}")
        number = index * self.world + self.rank
        if number < len(self.windows):
            return self.windows[number]
        x, y = self.windows[0]
        return x, torch.full_like(y, IGNORE)
