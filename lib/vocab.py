"""Tokenizers in and out, in the files of GPT-2's.

Woven from chapters/appendix_k_weights.ipynb. Edit the chapter, then run `make
lib`.
"""

import json
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import tiktoken

from lib.hub import read_json
from lib.pairs import printable
from lib.tokenizer import BPETokenizer, load_tokenizer


def split_in_two(
    token: bytes, ranks: Mapping[bytes, int]
) -> tuple[bytes, bytes]:
    """Return the two parts that a token's own merge has joined."""
    parts = [bytes([b]) for b in token]
    while len(parts) > 2:
        joined = [a + b for a, b in pairwise(parts)]
        i = joined.index(min(joined, key=lambda t: ranks.get(t, len(ranks))))
        parts[i : i + 2] = [joined[i]]
    return parts[0], parts[1]


def as_bpe(tokenizer: BPETokenizer | tiktoken.Encoding) -> BPETokenizer:
    """Find the merges behind a tiktoken Encoding again."""
    if isinstance(tokenizer, BPETokenizer):
        return tokenizer
    ranks, specials = tokenizer._mergeable_ranks, tokenizer._special_tokens
    tokens = sorted(ranks, key=ranks.__getitem__)
    bpe = BPETokenizer(
        [split_in_two(token, ranks) for token in tokens[256:]],
        sorted(specials, key=specials.__getitem__),
        b"".join(tokens[:256]),
    )
    ids = ranks | {token.encode(): i for token, i in specials.items()}
    if ids != {token: i for i, token in enumerate(bpe.vocabulary)}:
        raise ValueError(
            f"the tokenizer {tokenizer.name!r} does not number its tokens "
            "as GPT-2's files do: bytes, merges, special tokens"
        )
    return bpe


def tokenizer_files(bpe: BPETokenizer) -> dict[str, str]:
    """Return the text of vocab.json and of merges.txt, by name."""
    ids = {printable(token): i for i, token in enumerate(bpe.vocabulary)}
    for token in bpe.special_tokens:
        if token not in ids:
            raise ValueError(
                f"special token {token!r} cannot be written to vocab.json: "
                "expected visible ASCII characters, without a space"
            )
    merges = (" ".join(map(printable, pair)) for pair in bpe.merges)
    return {
        "vocab.json": json.dumps(ids, ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *merges, ""]),
    }


def unpack_tokenizer(single: Path, folder: Path) -> None:
    """Write a tokenizer.json as the two files of GPT-2's tokenizers."""
    record = read_json(single)
    model, before = record.get("model", {}), record.get("pre_tokenizer") or {}
    kinds = model.get("type"), before.get("type")
    if kinds != ("BPE", "ByteLevel") or before.get("add_prefix_space"):
        raise ValueError(f"{single} is no byte-level BPE, as GPT-2's is")
    added = {token["content"]: token["id"] for token in record["added_tokens"]}
    pairs = (m.split() if isinstance(m, str) else m for m in model["merges"])
    for name, content in {
        "vocab.json": json.dumps(model["vocab"] | added),
        "merges.txt": "\n".join(" ".join(pair) for pair in pairs),
    }.items():
        (folder / name).write_text(content, encoding="utf-8")


def read_tokenizer(folder: Path) -> tiktoken.Encoding:
    """Read the tokenizer of a model's folder; GPT-2's if it has none."""
    files = folder / "vocab.json", folder / "merges.txt"
    single = folder / "tokenizer.json"
    if all(file.is_file() for file in files):
        bpe = BPETokenizer.from_gpt2_files(*files)
        return bpe.to_tiktoken(folder.name)
    if not single.is_file():
        return load_tokenizer("gpt2")
    if "byte_order" in read_json(single):  # one that BPETokenizer saved
        return BPETokenizer.load(single).to_tiktoken(folder.name)
    with tempfile.TemporaryDirectory() as unpacked:
        unpack_tokenizer(single, Path(unpacked))
        return read_tokenizer(Path(unpacked))
