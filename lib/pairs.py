"""Byte-pair merges: learning them fast, and writing them legibly.

Woven from chapters/02_text.ipynb. Edit the chapter, then run `make lib`.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping
from operator import add


class PairTable:
    """Counts of neighboring tokens, kept up to date merge by merge.

    Each distinct pre-token is a `str` with one character, `chr(id)`, per
    token, so that merging a pair everywhere in it is a split and a join.
    """

    def __init__(self, words: Mapping[str, int]) -> None:
        self.words = [word.encode().decode("latin-1") for word in words]
        self.times = list(words.values())
        self.tokens = [bytes([b]) for b in range(256)]
        self.keys = [chr(255 - b) + chr(256) for b in range(256)]
        self.merges: list[tuple[bytes, bytes]] = []
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.where: defaultdict[str, list[int]] = defaultdict(list)
        for n, word in enumerate(self.words):
            for pair in map(add, word, word[1:]):
                self.counts[pair] += self.times[n]
                self.where[pair].append(n)
        self.heap = [self.entry(pair) for pair in self.counts]
        heapq.heapify(self.heap)

    def entry(self, pair: str) -> tuple[int, str, str, str]:
        """Return what the heap sorts by: the best pair is the smallest."""
        left, right = (self.keys[ord(c)] for c in pair)
        return -self.counts[pair], left, right, pair

    def best(self) -> str | None:
        """Take out the most frequent pair; of equals, the greater bytes."""
        while self.heap:
            entry = heapq.heappop(self.heap)
            pair, count = entry[-1], self.counts[entry[-1]]
            if entry[0] == -count:
                return pair
            if count:
                heapq.heappush(self.heap, self.entry(pair))
        return None

    def merge(self, pair: str) -> None:
        """Make a pair one token, wherever it stands."""
        left, right = pair[0], pair[1]
        new = self.add_token(ord(left), ord(right))
        fresh: defaultdict[str, int] = defaultdict(int)
        for n in self.where.pop(pair):
            parts = self.words[n].split(pair)
            self.words[n] = new.join(parts)
            times = self.times[n]
            was = now = parts[0][-1:]  # left neighbor, before and after
            for tail in parts[1:]:
                if was:
                    self.counts[was + left] -= times
                    fresh[now + new] += times
                    self.where[now + new].append(n)
                if tail:
                    self.counts[right + tail[0]] -= times
                    fresh[new + tail[0]] += times
                    self.where[new + tail[0]].append(n)
                was, now = (tail[-1], tail[-1]) if tail else (right, new)
        self.counts.update(fresh)
        del self.counts[pair]
        for each in fresh:
            heapq.heappush(self.heap, self.entry(each))

    def add_token(self, left: int, right: int) -> str:
        """Give the joined bytes the next id; return its character."""
        self.merges.append((self.tokens[left], self.tokens[right]))
        self.tokens.append(self.tokens[left] + self.tokens[right])
        self.keys.append(self.keys[left][:-1] + self.keys[right])
        return chr(len(self.tokens) - 1)


def learn_merges(
    words: Mapping[str, int], n_merges: int
) -> list[tuple[bytes, bytes]]:
    """Learn merges from counted pre-tokens, the most frequent pair first.

    Of equally frequent pairs the one with the greater pair of byte strings
    goes first. Fewer than `n_merges` come back when no pair is left.
    """
    table = PairTable(words)
    while len(table.merges) < n_merges and (pair := table.best()):
        table.merge(pair)
    return table.merges


VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTE_TO_CHAR = {b: chr(b) for b in VISIBLE} | {
    b: chr(256 + n) for n, b in enumerate(sorted({*range(256)} - {*VISIBLE}))
}
CHAR_TO_BYTE = {char: b for b, char in BYTE_TO_CHAR.items()}


def printable(token: bytes) -> str:
    """Write bytes in GPT-2's alphabet of 256 visible characters."""
    return "".join(BYTE_TO_CHAR[b] for b in token)


def from_printable(shown: str) -> bytes:
    """Read bytes written by `printable`; ValueError on another character."""
    try:
        return bytes(CHAR_TO_BYTE[char] for char in shown)
    except KeyError as error:
        raise ValueError(f"{error} in {shown!r} stands for no byte") from None


def read_merge(line: str) -> tuple[bytes, bytes]:
    """Read a merge as GPT-2's files write it: two parts and a space."""
    parts = [from_printable(part) for part in line.split(" ")]
    if len(parts) != 2:
        raise ValueError(f"{line!r} is no merge: expected two parts")
    return parts[0], parts[1]
