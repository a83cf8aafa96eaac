"""Texts and record sets by name, and batches of token windows.

Woven from chapters/02_text.ipynb. Edit the chapter, then run `make lib`.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pooch import HTTPDownloader
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

import lib


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Lend a temporary path; move it over `path` if the block succeeds."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class DataAltered(ValueError):
    """A file does not hold the bytes that its SHA-256 promises."""


class DataNotFound(FileNotFoundError):
    """A file is neither here nor to be downloaded."""


def check_sha256(content: bytes, expected: str, name: object) -> bytes:
    """Return `content` if its SHA-256 is the one expected."""
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise DataAltered(
            f"{name} is altered or incomplete: its SHA-256 is {found}, "
            f"expected {expected}"
        )
    return content


@dataclass(frozen=True)
class Source:
    """Where a text or a set of records comes from, and how to know it."""

    file: str  # its name in data/, in $COURSE_DATA and in the cache
    sha256: str
    licence: str
    about: str
    url: str = ""
    member: str = ""  # its name inside the zip file that the URL gives
    bundled: bool = False


REFERENCE = "https://raw.githubusercontent.com/rasbt/LLMs-from-scratch/main/"

TEXTS = {
    "a-letter-a-year": Source(
        "a-letter-a-year.txt",
        "c0950a2d34853f166d56f5d1e50b0d780dff4e2fdb6565ea00ee9678b8824cb5",
        "CC0-1.0",
        "a short story written for this book",
        bundled=True,
    ),
    "the-verdict": Source(
        "the-verdict.txt",
        "b41e41a68f0398a3154ae69e2e4c0e2694e17fe0d66730536837f1b01935b31f",
        "public domain",
        "Edith Wharton, The Verdict (1908)",
        REFERENCE + "ch02/01_main-chapter-code/the-verdict.txt",
    ),
    "tiny-shakespeare": Source(
        "tinyshakespeare.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        "public domain",
        "1.1 million characters of Shakespeare's plays",
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/"
        "tinyshakespeare/input.txt",
    ),
}

RECORDS = {
    "harbour": Source(
        "harbour/messages.jsonl",
        "9fb3b2b9aac19da5bd23ade0a3fd2e762358ea2af0ef124fb0a17a7d0a3e2acb",
        "CC0-1.0",
        "3,000 messages to a harbour office, real ones and frauds",
        bundled=True,
    ),
    "instructions": Source(
        "instructions/records.json",
        "a6f907e41da18600d7690f70941f97e4ee6ea8dcfb3ca8a552b0b90bfa77bd86",
        "CC0-1.0",
        "6,346 instructions with their right answers, written for this book",
        bundled=True,
    ),
    "sms-spam": Source(
        "SMSSpamCollection.tsv",
        "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
        "CC-BY-4.0",
        "the SMS Spam Collection: 5,574 messages labelled ham or spam",
        "https://archive.ics.uci.edu/static/public/228/"
        "sms+spam+collection.zip",
        member="SMSSpamCollection",
    ),
    "instruction-1100": Source(
        "instruction-data.json",
        "7e09a9af353722ca15c18bc580f093f9c39d3178335a75177319cb1e1d163944",
        "Apache-2.0",
        "1,100 instructions with input and output",
        REFERENCE + "ch07/01_main-chapter-code/instruction-data.json",
    ),
}

DATASETS = TEXTS | RECORDS


def cache_folder() -> Path:
    """Return the folder that keeps what was downloaded."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "every-token-counts")


def folders(source: Source) -> list[Path]:
    """List where to look for a data set's file, best first."""
    if source.bundled:
        here = Path.cwd()
        roots = [Path(lib.__path__[0]).parent, here, *here.parents]
        return [root / "data" for root in roots]
    course_data = os.environ.get("COURSE_DATA")
    own = [Path(course_data)] if course_data else []
    return [*own, cache_folder()]


def read_source(source: Source) -> bytes:
    """Return a data set's bytes, from a folder or else from the network."""
    for folder in folders(source):
        path = folder / source.file
        if path.is_file():
            return check_sha256(path.read_bytes(), source.sha256, path)
    try:
        return download(source)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataNotFound(explain(source, error)) from error


def explain(source: Source, error: Exception) -> str:
    """Say where a file was sought and what the reader can do."""
    sought = ", ".join(str(folder) for folder in folders(source))
    return (
        f"cannot find {source.file}. Looked in {sought}; then tried "
        f"{source.url or 'no download'}: {error}. Connect to the network and "
        f"run again, or put the file (SHA-256 {source.sha256}) into a folder "
        "and set COURSE_DATA to that folder."
    )


TIMEOUT = (5.0, 30.0)  # seconds to connect, and between two pieces


def download(source: Source) -> bytes:
    """Fetch a file into the cache; only the right bytes ever stand there."""
    if not source.url:
        raise OSError("it is bundled with the book, not downloaded")
    target = cache_folder() / source.file
    target.parent.mkdir(parents=True, exist_ok=True)
    fetch = HTTPDownloader(progressbar=True, timeout=TIMEOUT)
    with atomic_path(target) as temporary:
        fetch(source.url, str(temporary), None)
        if source.member:
            with zipfile.ZipFile(temporary) as archive:
                content = archive.read(source.member)
            temporary.write_bytes(content)
        content = temporary.read_bytes()
        return check_sha256(content, source.sha256, source.url)


def read_dataset(name: str, kinds: tuple[str, ...], other: str) -> str:
    """Read the data set of a name whose file is of one of some kinds."""
    if name not in DATASETS:
        known = ", ".join(DATASETS)
        raise ValueError(f"unknown data set {name!r}; known: {known}")
    source = DATASETS[name]
    if not source.file.endswith(kinds):
        raise ValueError(
            f"{name!r} is {source.about}: read it with {other}({name!r})"
        )
    return read_source(source).decode("utf-8")


def load_text(name: str) -> str:
    """Return a text of `DATASETS`, character by character as in its file."""
    return read_dataset(name, (".txt",), "load_records")


def load_records(name: str) -> list[dict[str, Any]]:
    """Return a set of records of `DATASETS`, in the order of its file."""
    text = read_dataset(name, (".tsv", ".json", ".jsonl"), "load_text")
    if DATASETS[name].file.endswith(".json"):
        return json.loads(text)
    lines = [line for line in text.split("\n") if line]
    if DATASETS[name].file.endswith(".jsonl"):
        return [json.loads(line) for line in lines]
    pairs = [line.split("\t", 1) for line in lines]
    return [{"label": label, "text": message} for label, message in pairs]


class NextTokenDataset(Dataset[tuple[Tensor, Tensor]]):
    """Windows over a text's ids, each with the same window one id later.

    Item i is (x, y), two int64 tensors (T,) with T = `context_length`, and
    starts at id i * `stride`. ids: (N,), N > T.
    """

    def __init__(
        self,
        ids: Sequence[int] | Tensor,
        context_length: int,
        stride: int,
    ) -> None:
        if context_length < 1 or stride < 1:
            raise ValueError(
                f"context_length is {context_length} and stride {stride}: "
                "both must be at least 1"
            )
        ids = torch.as_tensor(ids, dtype=torch.int64)
        if ids.dim() != 1 or len(ids) <= context_length:
            raise ValueError(
                f"ids of shape {tuple(ids.shape)} do not fill one window: "
                f"context_length {context_length} needs one row of at least "
                f"{context_length + 1}"
            )
        self.windows = ids.unfold(0, context_length + 1, stride)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        window = self.windows[index]
        return window[:-1], window[1:]


def make_loader(
    ids: Sequence[int] | Tensor,
    context_length: int,
    batch_size: int,
    *,
    stride: int | None = None,
    shuffle: bool = False,
    drop_last: bool = False,
    seed: int = 0,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batch the windows over ids: pairs (x, y), each (B, T).

    The stride is `context_length` unless given. Shuffled, the order depends
    on `seed` and on the epoch set by `loader.sampler.set_epoch(epoch)`, and
    on nothing else.
    """
    step = context_length if stride is None else stride
    dataset = NextTokenDataset(ids, context_length, step)
    fewest = batch_size if drop_last else 1
    if batch_size < 1 or len(dataset) < fewest:
        raise ValueError(
            f"batch_size {batch_size} is not between 1 and the "
            f"{len(dataset)} windows of this text"
        )
    sampler: DistributedSampler[tuple[Tensor, Tensor]] = DistributedSampler(
        dataset, num_replicas=1, rank=0, shuffle=shuffle, seed=seed
    )
    return DataLoader(
        dataset, batch_size, sampler=sampler, drop_last=drop_last
    )
