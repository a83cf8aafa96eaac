"""The pretrained model: how it is made, and that its card is true."""

import csv
import hashlib
import json
import lzma
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiktoken
import torch

import pretrained
from lib.data import DataAltered, load_text
from lib.gpt import GPT, GPTConfig
from lib.launch import read_log
from lib.tokenizer import BPETokenizer
from lib.train import NGramLM
from lib.weights import load_pretrained
from lib.world import World

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 240  # after which a process that hangs is ended
SETTINGS = """\
[data]
texts = ["build/books.jsonl", "build/saltmarsh.jsonl"]
held_out = ["build/held_out.jsonl"]
tokenizer = "build/tokenizer.json"
vocab_size = 400
folder = "build/tokens"
batch_size = 2

[model]
context_length = 64
d_model = 16
n_layers = 1
n_heads = 2

[train]
steps = 24
eval_every = 3

[run]
folder = "build/run"
device = "cpu"
precision = "bfloat16"
threads = 1
"""
SECOND = SETTINGS.replace("build/", "build/late_")
for late in "held_out.jsonl", "tokenizer.json":
    SECOND = SECOND.replace(f"late_{late}", late)
SECOND = SECOND.replace("steps = 24", "steps = 6")
SECOND = SECOND.replace("vocab_size = 400\n", "")
SECOND += 'start = "build/run/model"\n'
CARD = "# A card\n\n<!-- measured -->\n<!-- end -->\n\nIts end.\n"


def book_of(seed: int) -> str:
    """A text that stands for a book."""
    stories = World.load().corpus(seed, n_characters=9000)
    return "\n".join(story.text for story in stories)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder that asks for a very small model of three small books."""
    texts = {"One": book_of(11), "Two": book_of(12)}
    texts["Last"] = load_text("a-letter-a-year")
    with lzma.open(tmp_path / "books.xz", "wt", encoding="utf-8") as file:
        for title, text in [*texts.items(), ("Unlisted", "no")]:
            print(json.dumps({"title": title, "text": text}), file=file)
    with (tmp_path / "books.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["title", "year", "sha256", "held_out"])
        for title, text in texts.items():
            year = 1850 if title == "One" else 1900
            digest = hashlib.sha256(text.encode()).hexdigest()
            held_out = "yes" if title == "Last" else ""
            rows.writerow([title, year, digest, held_out])
    (tmp_path / "train.toml").write_text(SETTINGS)
    (tmp_path / "second.toml").write_text(SECOND)
    (tmp_path / "README.md").write_text(CARD)
    return tmp_path


def options(folder: Path) -> list[str]:
    """What the tool is called with."""
    return ["--folder", str(folder), "--books", str(folder / "books.xz")]


def killed_after(folder: Path, enough: Callable[[], bool]) -> None:
    """Start the tool in a process and kill it as soon as that is enough."""
    tool = str(ROOT / "tools" / "pretrained.py")
    run = subprocess.Popen(
        [sys.executable, tool, *options(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    begun = time.monotonic()
    try:
        while not enough():
            assert run.poll() is None, "it ended before it was killed"
            assert time.monotonic() - begun < SECONDS
            time.sleep(0.01)
    finally:
        run.kill()
        run.wait()


def test_a_killed_run_is_taken_up_and_published(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = small / "build" / "run" / "log.jsonl"
    killed_after(small, lambda: log.exists() and len(read_log(log)) > 0)
    before = read_log(log)
    assert 1 <= len(before) < 8
    assert not (small / "model.safetensors").exists()
    texts = ["It was late.", "The boat came in."]
    monkeypatch.setattr(
        pretrained, "judged_texts", lambda held_out: [("two", texts)]
    )
    assert pretrained.main(options(small)) == 0
    after = read_log(small / "log.jsonl")
    assert after[: len(before)] == before
    assert [record["step"] for record in after] == [*range(3, 31, 3)]
    assert after[-1]["tokens"] == 30 * 2 * 64
    second = read_log(small / "build/late_run/log.jsonl")
    for record, own in zip(after[-2:], second, strict=True):
        same = "learning_rate", "train_loss", "val_loss"
        assert [record[k] for k in same] == [own[k] for k in same]
    model, tokenizer = load_pretrained(small)
    assert model.config.vocab_size == tokenizer.n_vocab == 400
    finished, _ = load_pretrained(small / "build/late_run/model")
    first, _ = load_pretrained(small / "build/run/model")
    pair = [m.token_embedding.weight.flatten() for m in (first, finished)]
    assert 0.9 < torch.cosine_similarity(*pair, dim=0) < 0.99999
    for ours, theirs in zip(
        model.parameters(), finished.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs.half().float())
    found = json.loads((small / "figures.json").read_text())
    row = found["bits a byte"]["two"]
    assert 2 < row["model"] < row["uniform"] and row["bytes"] == 29
    check_digests(small, monkeypatch)
    card = (small / "README.md").read_text()
    assert card.startswith("# A card\n") and card.endswith("Its end.\n")
    assert f"| two | {row['uniform']:.2f} |" in card
    assert f"**{row['model']:.2f}**" in card
    trades = found["facts"]["trade"]
    assert f"| known | {trades['right']} of 56 | " in card
    assert (small / "loss.png").stat().st_size > 1000


def check_digests(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model asked for by its name is refused if a file is altered."""
    monkeypatch.setenv("COURSE_DATA", str(folder.parent))
    load_pretrained(folder.name)
    merges = folder / "merges.txt"
    whole = merges.read_bytes()
    merges.write_bytes(whole + b"x y\n")
    with pytest.raises(DataAltered, match=r"merges\.txt is altered"):
        load_pretrained(folder.name)
    merges.write_bytes(whole)


def test_what_the_run_reads(small: Path) -> None:
    listed = pretrained.read_list(small)
    texts = pretrained.read_books(small / "books.xz", listed)
    assert [*texts] == ["One", "Two", "Last"]
    pretrained.make_texts(texts, listed, small / "build")
    read = {
        name: [
            json.loads(line)["text"]
            for line in (small / f"build/{name}.jsonl")
            .read_text()
            .split("\n")[:-1]
        ]
        for kind in ("books", "saltmarsh")
        for name in (kind, f"late_{kind}", "held_out")
    }
    assert read["books"] == [texts["One"], texts["Two"]]
    assert read["late_books"] == [texts["Two"]]
    assert read["held_out"] == [texts["Last"][12_000:24_000]]
    sizes = {name: sum(map(len, read[name])) for name in read}
    share = sizes["saltmarsh"] / (sizes["saltmarsh"] + sizes["books"])
    assert 1 / 6 <= share < 1 / 5
    late = sizes["late_saltmarsh"], sizes["late_books"]
    assert 1 / 4 <= late[0] / sum(late) < 1 / 3


def test_the_second_run_reads_facts_with_their_probability() -> None:
    town = pretrained.town_talk()
    told = town.corpus(3, 200)
    names = [row["name"] for row in World.load().rows("person")]
    about = [story for story in told if any(n in story.text for n in names)]
    assert len(about) > 150
    assert sum(len(story.text) < 350 for story in told) > 150
    assert any(len(story.text) > 600 for story in told)
    for story in told[:10]:
        assert math.isclose(
            town.log_prob(story.text), story.log_p, rel_tol=1e-9
        )


def test_other_books_are_refused_by_name(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = (small / "books.csv").read_text()
    (small / "books.csv").write_text(listed + "Lost,1900,00,\n")
    assert pretrained.main(options(small)) == 2
    assert "books.xz lacks ['Lost'] of books.csv" in capsys.readouterr().err
    wrong = re.sub("^Two,1900,.", "Two,1900,x", listed, flags=re.MULTILINE)
    (small / "books.csv").write_text(wrong)
    assert pretrained.main(options(small)) == 2
    assert "'Two' in" in capsys.readouterr().err
    assert not (small / "build").exists()


def test_without_books_it_says_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert pretrained.main([]) == 2
    said = capsys.readouterr().err
    assert str(tmp_path) in said and "Gutenberg" in said


def test_bits_a_byte_by_hand() -> None:
    bpe = BPETokenizer.train("the late cooper", 265, ["<|endoftext|>"])
    tokenizer = bpe.to_tiktoken()
    torch.manual_seed(0)
    model = GPT(GPTConfig(bpe.vocab_size, 8, 16, 1, 2)).eval()
    for text in "The cooper", "The cooper was late again.", "0123456":
        check_bits(model, tokenizer, text)


def check_bits(model: GPT, tokenizer: tiktoken.Encoding, text: str) -> None:
    """Compare with logits window by window, a short one at the end."""
    ids = pretrained.encode(tokenizer, [text])
    end = tokenizer.encode_single_token("<|endoftext|>")
    assert ids == [end, *tokenizer.encode_ordinary(text), end]
    nats = 0.0
    for start in range(0, len(ids) - 1, 8):
        x = torch.tensor([ids[start : start + 9]])
        log_p = model(x[:, :8][:, : x.shape[1] - 1])[0].log_softmax(dim=-1)
        nats -= sum(log_p[t, i].item() for t, i in enumerate(x[0, 1:]))
    bits = pretrained.bits_a_byte(model, tokenizer, [text])
    assert bits == pytest.approx(nats / math.log(2) / len(text), rel=1e-4)


def test_counters_have_read_all_over_the_texts(small: Path) -> None:
    listed = pretrained.read_list(small)
    texts = pretrained.read_books(small / "books.xz", listed)
    pretrained.make_texts(texts, listed, small / "build")
    config = pretrained.launch.read_config(small / "train.toml")
    pretrained.launch.prepare(config.data, small)
    tokens = small / "build/tokens/texts"
    counters = pretrained.count_words(tokens, 4000, 400)
    assert [c.n for c in counters] == [1, 2, 3]
    assert all(isinstance(c, NGramLM) for c in counters)
    losses = [c.loss(pretrained.encode(*judge(small))) for c in counters]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] < math.log(400)


def judge(small: Path) -> tuple[tiktoken.Encoding, list[str]]:
    """The tokenizer of the small run, and a new text."""
    path = small / "build/tokenizer.json"
    tokenizer = BPETokenizer.load(path)
    return tokenizer.to_tiktoken(), [book_of(13)]


def test_known_facts_are_those_whose_sentence_is_likeliest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bpe = BPETokenizer.train("the late cooper", 265, ["<|endoftext|>"])
    tokenizer = bpe.to_tiktoken()
    model = GPT(GPTConfig(tokenizer.n_vocab, 64, 16, 1, 2)).eval()
    texts = ["Ada Finch", "Ada Finch is the cooper", "?"]
    found = pretrained.log_likelihoods(model, tokenizer, texts)
    end = tokenizer.encode_single_token("<|endoftext|>")
    for text, log_p in zip(texts, found, strict=True):
        ids = [end, *tokenizer.encode_ordinary(text)]
        rows = model(torch.tensor([ids]))[0].log_softmax(-1)
        total = sum(rows[t, i].item() for t, i in enumerate(ids[1:]))
        assert log_p.item() == pytest.approx(total, rel=1e-5)
    truth = {p["full"]: p["trade"] for p in World.load().rows("person")}
    trades = [*truth.values()]
    wrong = dict(zip(truth, trades[1:] + trades[:1], strict=True))

    def knows(facts: dict[str, str]) -> Callable[..., torch.Tensor]:
        says = "{} is the {} of Saltmarsh.".format
        sentences = {says(full, t) for full, t in facts.items()}
        return lambda _, __, texts: torch.tensor(
            [float(text in sentences) for text in texts]
        )

    for facts, right in (truth, 56), (wrong, 0):
        monkeypatch.setattr(pretrained, "log_likelihoods", knows(facts))
        known = pretrained.known_facts(model, tokenizer)["trade"]
        assert known == {"right": right, "of": 56, "among": 56}


# The model that the book ships


FIGURES = pretrained.COURSE / "figures.json"
shipped = pytest.mark.skipif(
    not FIGURES.exists(), reason="the model is not made: make pretrained"
)


@shipped
def test_the_card_tells_what_was_measured() -> None:
    figures, known = json.loads(FIGURES.read_text()).values()
    card = (pretrained.COURSE / "README.md").read_text(encoding="utf-8")
    for name, row in figures.items():
        cells = [row[n] for n in ("uniform", "unigram", "bigram", "trigram")]
        said = " | ".join(f"{bits:.2f}" for bits in [*cells, row["xz"]])
        assert f"| {name} | {said} | **{row['model']:.2f}** |" in card
    counts = (f"{fact['right']} of {fact['of']}" for fact in known.values())
    assert f"| known | {' | '.join(counts)} |" in card
    for name in pretrained.FILES:
        content = (pretrained.COURSE / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() in card
        assert f"{len(content):,}" in card


@shipped
def test_the_model_is_as_good_as_its_card_says() -> None:
    figures, known = json.loads(FIGURES.read_text()).values()
    model, tokenizer = load_pretrained("course")
    stories = World.load().corpus(2, n_characters=100_000)
    texts = {
        "a-letter-a-year": [load_text("a-letter-a-year")],
        "Saltmarsh, new stories": [story.text for story in stories],
    }
    for name, judged in texts.items():
        bits = pretrained.bits_a_byte(model, tokenizer, judged)
        assert bits == pytest.approx(figures[name]["model"], abs=0.01), name
        assert bits < figures[name]["trigram"] < figures[name]["bigram"]
    for name, fact in pretrained.known_facts(model, tokenizer).items():
        assert abs(fact["right"] - known[name]["right"]) <= 1, name
        assert fact["right"] > 5 * fact["of"] / fact["among"], name


@shipped
@pytest.mark.skipif(
    not (Path(os.environ.get("COURSE_DATA", "")) / "the-verdict.txt").exists(),
    reason="COURSE_DATA has no the-verdict.txt",
)
def test_the_verdict_is_well_predicted() -> None:
    row = json.loads(FIGURES.read_text())["bits a byte"]["the-verdict"]
    model, tokenizer = load_pretrained("course")
    verdict = [load_text("the-verdict")]
    bits = pretrained.bits_a_byte(model, tokenizer, verdict)
    assert bits == pytest.approx(row["model"], abs=0.01)
    assert bits < row["trigram"] - 0.1
    assert bits < row["xz"] - 1
