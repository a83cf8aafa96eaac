"""From the texts of a run to its shards, written once.

Woven from chapters/appendix_d_training.ipynb. Edit the chapter, then run `make
lib`.
"""

import hashlib
import json
import lzma
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from lib.data import DATASETS, atomic_path, load_text
from lib.settings import DataConfig
from lib.shards import MANIFEST, Shards, read_manifest, write_shards
from lib.tokenizer import BPETokenizer, gpt2_tokenizer

END = "<|endoftext|>"
PARTS = ("texts", "held_out")


def read_texts(name: str, base: Path) -> list[str]:
    """Return the texts of a data set by its name, or of a file by its path.

    A file .jsonl or .jsonl.xz holds a text a line, under "text"; any other
    is one text. FileNotFoundError where there is no such file.
    """
    if name in DATASETS:
        return [load_text(name)]
    path = base / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{name!r} is neither a file in {base} nor a data set; known: "
            + ", ".join(DATASETS)
        )
    if not name.endswith((".jsonl", ".jsonl.xz")):
        return [path.read_text(encoding="utf-8")]
    unpack = lzma.open if name.endswith("xz") else open
    with unpack(path, "rb") as lines:
        return [
            read_line(line, f"{path}:{number}")
            for number, line in enumerate(lines, 1)
        ]


def read_line(line: bytes, where: str) -> str:
    """Return the text of a line of JSON; ValueError names the line."""
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise ValueError(f'{where} is not JSON of the form {{"text": "..."}}')
    return text


def make_tokenizer(config: DataConfig, base: Path) -> BPETokenizer:
    """Load the tokenizer of a run, or train it where it is missing."""
    if config.tokenizer == "gpt2":
        return gpt2_tokenizer()
    path = base / config.tokenizer
    if not path.exists():
        texts = chain.from_iterable(read_texts(n, base) for n in config.texts)
        tokenizer = BPETokenizer.train(
            "\n".join(texts), config.vocab_size, [END]
        )
        tokenizer.save(path)
    return BPETokenizer.load(path)


def prepare(config: DataConfig, base: Path) -> None:
    """Write the shards of a run unless they are there, and verify them.

    Raises ValueError where the shards there come from other texts.
    """
    tokenizer = make_tokenizer(config, base)
    for part in PARTS:
        names, folder = getattr(config, part), base / config.folder / part
        facts = {
            "texts": [[n, digest_of(read_texts(n, base))] for n in names],
            "tokenizer": sha256(repr((tokenizer.vocabulary, END))),
        }
        if not (folder / MANIFEST).exists():
            texts = chain.from_iterable(read_texts(n, base) for n in names)
            pieces = encode(tokenizer, texts)
            write_shards(folder, pieces, tokenizer.vocab_size, facts=facts)
        elif read_manifest(folder)["facts"] != facts:
            raise ValueError(
                f"{folder} holds shards of other texts or of another "
                "tokenizer: remove it, or name another folder"
            )
        Shards(folder, 1).verify()


def encode(
    tokenizer: BPETokenizer, texts: Iterable[str]
) -> Iterator[list[int]]:
    """Turn each text into ids that say where it ends."""
    end = tokenizer.encode(END, allowed_special=[END])
    encoding = tokenizer.to_tiktoken()
    return (encoding.encode_ordinary(text) + end for text in texts)


def digest_of(texts: Iterable[str]) -> str:
    """Return the SHA-256 of texts, parted by a zero."""
    return sha256("\0".join(texts))


def sha256(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def check_same_data(
    note: Path, config: DataConfig, base: Path, is_new: bool
) -> None:
    """Note what a run reads; ValueError where it goes on with other data."""
    facts: dict[str, Any] = {"batch_size": config.batch_size}
    for part in PARTS:
        folder = base / config.folder / part
        facts[part] = read_manifest(folder)["facts"]
    if is_new:
        note.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(note) as unfinished:
            unfinished.write_text(json.dumps(facts, indent=1))
    before = json.loads(note.read_text(encoding="utf-8"))
    for name, value in facts.items():
        if before.get(name) != value:
            raise ValueError(
                f"{note.parent} began with {name} {before.get(name)}, but "
                f"the settings say {value}: name another run.folder"
            )
