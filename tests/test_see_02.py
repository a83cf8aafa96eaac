"""Chapter 2's interactive pieces compute what the library computes.

The pieces are taken as the chapter stores them. Chromium runs them, moves
their controls, and reads what they show.
"""

import json
import math
import random
import re
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import ask, find_pieces, needs_chromium

import run
from lib.data import NextTokenDataset, load_text
from lib.pairs import learn_merges
from lib.tokenizer import END_OF_TEXT, PRETOKEN, BPETokenizer

NAMES = ["encode", "learn", "paint", "positions", "stride"]
TEXT = load_text("a-letter-a-year")
TRAIN = TEXT[: int(0.9 * len(TEXT))]
each_piece = pytest.mark.parametrize("name", NAMES)


PIECES = find_pieces("02_text")
FIND = "const root = document.querySelector('.see');"
HELP = """
  const at = (css) => root.querySelector(css);
  const set = (css, value) => {
    at(css).value = value;
    at(css).dispatchEvent(new Event('input'));
  };
  const said = () => at('.said').textContent;
  const shown = (css) => [...root.querySelectorAll(css)]
    .map((node) => node.firstChild?.textContent ?? '');
"""


def look(name: str, script: str, folder: Path, **given: object) -> Any:
    return ask(PIECES[name], FIND + HELP + script, folder, **given)


def data_of(name: str) -> Any:
    (text,) = re.findall(r"const data = (\{.*\});", PIECES[name])
    return json.loads(text)


def merges_of(name: str) -> list[tuple[bytes, bytes]]:
    """Return the merges that a piece carries, as bytes."""
    tokens, merges = [bytes([b]) for b in range(256)], []
    flat = data_of(name)["merges"]
    for left, right in zip(flat[::2], flat[1::2]):
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return merges


def as_bytes(tokens: list[str]) -> list[bytes]:
    return [token.encode("latin-1") for token in tokens]


def hostile_texts(n: int) -> list[str]:
    """Return texts of the story's words, white space and any Unicode.

    Only characters that Python's tables know: a browser's may be newer.
    """
    rng = random.Random(2)
    known = [c for c in map(chr, range(0x110000)) if fit(c)]
    spaces = "  \n\t\r\x0b\x0c\x1c\x85\xa0\u2003\u2028\u3000\ufeff"
    words = PRETOKEN.findall(TEXT)
    texts = ["", "don't 'll 's'S 2nd", "\x85a \x85 b\ufeff c\u00a0d", TEXT]
    for _ in range(n):
        parts = rng.choices(words, k=8) + rng.choices(known, k=8)
        parts += rng.choices(spaces, k=8)
        rng.shuffle(parts)
        texts.append("".join(parts))
    return texts


def fit(character: str) -> bool:
    return unicodedata.category(character) not in ("Cn", "Cs", "Co")


# The pages


def test_the_chapter_holds_all_pieces() -> None:
    assert sorted(PIECES) == NAMES


@each_piece
def test_a_piece_stands_alone(name: str) -> None:
    page = PIECES[name]
    assert "{{" not in page
    assert not re.search(r"https?:|\bsrc=|\bimport\b|fetch\(|[^-]\bid=", page)
    assert not re.search(r"Math\.random|Date|window\.", page)


@each_piece
def test_without_scripts_a_piece_points_to_its_twin(name: str) -> None:
    page = re.sub(r"<(style|script)>.*?</\1>", "", PIECES[name], flags=re.S)
    assert re.search(r'class="see-off">[^<]*above show', page)
    assert 'class="see-on" hidden' in page


@needs_chromium
def test_all_pieces_on_one_page_and_one_of_them_twice(tmp_path: Path) -> None:
    before, after, names, unlabelled, unnamed = ask(
        f"<script>const names = Object.keys(window).length;</script>"
        f"{''.join(PIECES.values())}{PIECES['stride']}",
        """
        const each = (css) => [...document.querySelectorAll(css)];
        return [each('.see-off').length,
                each('.see').map((root) => root.innerText.length > 40),
                Object.keys(window).length - names,
                each('.see :is(input, textarea)').filter((node) =>
                  !node.labels[0]?.innerText.trim()).length,
                each('.see, .see [tabindex], .see [role]').filter((node) =>
                  !node.getAttribute('aria-label')).length];
        """,
        tmp_path,
    )
    assert (before, names, unlabelled, unnamed) == (0, 0, 0, 0)
    assert after == [True] * 6


# The numbers


def test_the_merges_are_those_of_the_chapter() -> None:
    trained = BPETokenizer.train(TEXT, 1000, [END_OF_TEXT])
    assert merges_of("encode") == trained.merges
    every = learn_merges(Counter(PRETOKEN.findall(TRAIN)), 10_000)
    assert merges_of("paint") == every


@needs_chromium
def test_painter_encodes_as_the_library_does(tmp_path: Path) -> None:
    merges, texts = merges_of("paint"), hostile_texts(200)
    limits = [0, 44, 744, len(merges)]
    found = look(
        "paint",
        "return limits.map((n) => texts.map((text) => root.encode(text, n)));",
        tmp_path,
        texts=texts,
        limits=limits,
    )
    for limit, ids in zip(limits, found):
        tokenizer = BPETokenizer(merges[:limit])
        assert ids == [tokenizer.encode(text) for text in texts]


@needs_chromium
def test_painter_shows_what_is_typed(tmp_path: Path) -> None:
    text, size = "She left, 日本.\n", 1000
    merges = merges_of("paint")
    tokenizer = BPETokenizer(merges[: size - 256])
    tokens, ids, said = look(
        "paint",
        """
        set('textarea', text);
        set('[name="size"]', size);
        return [shown('.paint .tok'), shown('.paint small'), said()];
        """,
        tmp_path,
        text=text,
        size=size,
    )
    expected = tokenizer.encode(text)
    assert ids == [str(i) for i in expected]
    assert tokens[:2] == ["She", "␣left"]
    assert tokens[-1] == "↵" and "e6" in tokens
    n, characters = len(expected), len(text)
    rate = n * math.log2(size) / characters
    assert said == (
        f"{characters} characters, {n} tokens, {n / 3:.2f} a word, "
        f"{rate:.2f} bits a character."
    )


@needs_chromium
def test_painter_counts_entries_exactly(tmp_path: Path) -> None:
    merges = merges_of("paint")
    made = [(n, b"".join(merges[n]).decode()) for n in range(0, 1600, 50)]
    counts = look(
        "paint",
        """
        return made.map(([n, text]) => [256 + n, 257 + n].map((size) => {
          set('[name="size"]', size);
          set('textarea', text);
          return shown('.paint .tok').length;
        }));
        """,
        tmp_path,
        made=made,
    )
    assert counts == [[2, 1]] * len(made)


def sweep(word: bytes, merges: set[tuple[bytes, bytes]]) -> list[bytes]:
    """Merge whatever can be merged, from left to right."""
    tokens, i = [bytes([b]) for b in word], 0
    while i + 1 < len(tokens):
        if (tokens[i], tokens[i + 1]) in merges:
            tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]
            i = 0
        else:
            i += 1
    return tokens


@needs_chromium
def test_stepper_encodes_by_rank_and_left_to_right(tmp_path: Path) -> None:
    merges, words = merges_of("encode"), sorted({*PRETOKEN.findall(TEXT)})
    tokenizer = BPETokenizer(merges)
    found = look(
        "encode", "return words.map(root.ends);", tmp_path, words=words
    )
    for word, (ranked, swept) in zip(words, found):
        ids = tokenizer.encode(word)
        assert as_bytes(ranked) == [tokenizer.vocabulary[i] for i in ids]
        assert as_bytes(swept) == sweep(word.encode(), {*merges})


@needs_chromium
def test_stepper_steps(tmp_path: Path) -> None:
    merges = merges_of("encode")
    lines, ended, ends = look(
        "encode",
        """
        const lines = [[shown('.line .tok'), at('output').textContent]];
        while (!at('[name="next"]').disabled) {
          at('[name="next"]').click();
          lines.push([shown('.line .tok'), at('output').textContent]);
        }
        at('[name="back"]').click();
        return [lines, said(), at('.ends').textContent];
        """,
        tmp_path,
    )
    assert merges[10] == (b"e", b"r")
    assert [count for _, count in lines] == [f"{n} of 6" for n in range(7)]
    assert lines[0][0] == [*"␣lette", " 10 ", "r", "s"]
    assert lines[-1][0] == ["␣letter", "s"]
    assert ended.endswith("The lowest, 110, is next.")
    assert ends.endswith("not the same")


def learn_slowly(text: str, n: int) -> list[tuple[bytes, bytes]]:
    """Count all pairs anew for each merge."""
    cuts = Counter(re.findall(r" ?\S+", text))
    words = [([bytes([b]) for b in w.encode()], n) for w, n in cuts.items()]
    merges: list[tuple[bytes, bytes]] = []
    while len(merges) < n:
        counts: Counter[tuple[bytes, bytes]] = Counter()
        for tokens, times in words:
            for pair in pairwise(tokens):
                counts[pair] += times
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        for tokens, _ in words:
            i = 0
            while i + 1 < len(tokens):
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = [b"".join(best)]
                i += 1
    return merges


@needs_chromium
def test_stepper_learns_as_the_short_trainer_does(tmp_path: Path) -> None:
    rng = random.Random(3)
    texts = [data_of("learn")["text"], "", "a", "日本 日本語 本", "aaaa aaa"]
    for _ in range(100):
        lengths = rng.choices(range(1, 9), k=12)
        texts.append(
            " ".join("".join(rng.choices("ab", k=k)) for k in lengths)
        )
    found = look(
        "learn",
        "return texts.map((text) => root.learned(text, 20));",
        tmp_path,
        texts=texts,
    )
    for text, merges in zip(texts, found):
        learned = [(left, right) for left, right in map(as_bytes, merges)]
        assert learned == learn_slowly(text, 20), text


@needs_chromium
def test_stepper_shows_the_merges_that_the_chapter_prints(
    tmp_path: Path,
) -> None:
    states = look(
        "learn",
        """
        const states = [];
        for (let n = 0; n < 5; n++) {
          set('[name="step"]', n);
          states.push([...root.querySelectorAll('.word')].map((word) =>
            [...word.querySelectorAll('.tok')].map((t) => t.textContent)
              .join('|')).join(' '));
        }
        return states;
        """,
        tmp_path,
    )
    chapter = run.weave.ROOT / "chapters" / "02_text.ipynb"
    printed = chapter.read_text(encoding="utf-8")
    for state in states[1:]:
        assert state.replace("␣", "·") in printed


@needs_chromium
def test_stride_slider_cuts_as_the_dataset_does(tmp_path: Path) -> None:
    sizes = [
        (N, T, S)
        for N in range(1, 33)
        for T in range(1, 11)
        for S in range(1, 11)
    ]
    found = look(
        "stride",
        "return sizes.map(([N, T, S]) => root.cut(N, T, S));",
        tmp_path,
        sizes=sizes,
    )
    for (N, T, S), cut in zip(sizes, found):
        if N <= T:
            assert cut == {"starts": [], "asked": [0] * N}
            continue
        dataset = NextTokenDataset(range(N), T, S)
        items = [dataset[i] for i in range(len(dataset))]
        asked = Counter(place for _, y in items for place in y.tolist())
        assert cut["starts"] == [x[0].item() for x, _ in items]
        assert cut["asked"] == [asked[place] for place in range(N)]


@needs_chromium
def test_stride_slider_says_the_formula(tmp_path: Path) -> None:
    first, second, third = look(
        "stride",
        """
        const first = said();
        set('input[name="S"]', 4);
        const second = said();
        set('input[name="T"]', 10);
        set('input[name="text"]', 'HE LEFT');
        return [first, second, said()]
          .map((text) => text.replaceAll("\\u2212", "-"));
        """,
        tmp_path,
    )
    assert first.startswith("⌊(21 - 4 - 1) / 1⌋ + 1 = 17 windows.")
    assert "68 questions about 20 places: 48 are repeats." in first
    assert second.startswith("⌊(21 - 4 - 1) / 4⌋ + 1 = 5 windows.")
    assert "20 questions about 20 places, each once." in second
    assert third.startswith("7 characters do not fill a window of 10")


@needs_chromium
def test_positions_are_those_of_the_formula(tmp_path: Path) -> None:
    places = torch.arange(64, dtype=torch.float64)[:, None]
    angles = places / 10_000 ** (torch.arange(0, 128, 2) / 128)
    table = torch.cat([angles.sin(), angles.cos()], dim=1)
    generator = torch.Generator().manual_seed(0)
    found, said = look(
        "positions",
        """
        const all = [...Array(64).keys()];
        const maps = root.cosines.map((f) =>
          all.map((t) => all.map((s) => f(t, s))));
        set('input', 63);
        return [maps, said()];
        """,
        tmp_path,
    )
    for rows, vectors in zip(
        found, (table, torch.randn(64, 128, generator=generator).double())
    ):
        unit = torch.nn.functional.normalize(vectors)
        shown = torch.tensor(rows, dtype=torch.float64)
        assert (unit @ unit.T - shown).abs().max() < 0.00501
    assert said.startswith("Position 63 with 62: 0.97 by sines")
