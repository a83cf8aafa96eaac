"""Make the book's own pretrained model: its texts, the run, its card.

    python tools/pretrained.py [--folder data/models/course] [--books FILE]

The folder holds train.toml (the run's settings), second.toml (those of a run
that goes on from it), books.csv (what to read) and README.md. The books come
from classics.jsonl.xz, a line each with title, author, year and text, found
in $COURSE_DATA or in the cache. Texts, tokens and checkpoints stay in the
folder's build/, so a run that is stopped goes on with the same command. In
the end the model stands in the folder, in 16 bits a weight, and figures.json
and README.md say how well it predicts.
"""

import argparse
import csv
import hashlib
import json
import lzma
import math
import os
import random
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import matplotlib.pyplot as plt
import tiktoken
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from lib import launch
from lib.data import (
    DataNotFound,
    atomic_path,
    cache_folder,
    load_text,
)
from lib.gpt import GPT, count_parameters
from lib.sample import generate
from lib.shards import Shards
from lib.tokenizer import END_OF_TEXT
from lib.train import NGramLM, Record, evaluate
from lib.weights import load_pretrained, save_pretrained
from lib.world import World, bundled

COURSE = Path(__file__).parents[1] / "data" / "models" / "course"
BOOKS = "classics.jsonl.xz"
RUNS = "train.toml", "second.toml"  # the second goes on from the first
SALTMARSH_SHARE = 6  # one character in so many is of Saltmarsh
LATE = 1880  # the second run reads books from this year on
TOWN_SHARE = 4  # one character in so many of its texts is of the town
TOWN = """town talk
  10  {let p:person}<tells a fact(p)>
  10  about {p:person.full}. <life(p)>
  1  <story>

"""  # a rule for stories.txt: single facts, lives, and stories as before
EXCERPT = 12_000  # characters of each held-out book that the run looks at
COUNTED = 8_000_000  # tokens that the n-gram models count
FACTS = {  # as the town says them
    "trade": "{full} is the {fact} of Saltmarsh.",
    "door": "{full}'s front door is {fact}.",
    "food": "{full}'s favourite food is {fact}.",
    "habit": "{full} {fact}.",
    "boat": "{full} owns {fact}.",
    "birthday": "{full} was born in {fact}.",
}
PROMPTS = ("", "It was a dark night, and", "Who is the cooper of Saltmarsh?")
FILES = "config.json", "model.safetensors", "vocab.json", "merges.txt"
Figures = dict[str, dict[str, float]]
Known = dict[str, dict[str, int]]


def find_books() -> Path:
    """Look for the packed books; FileNotFoundError says where they belong."""
    places = [Path(os.environ.get("COURSE_DATA", ".")), cache_folder()]
    for place in places:
        if (place / BOOKS).is_file():
            return place / BOOKS
    raise FileNotFoundError(
        f"cannot find {BOOKS} in {places[0]} or {places[1]}: collect the "
        "books of books.csv (Project Gutenberg keeps them), a line of JSON "
        "each with title and text, pack them with xz, and set COURSE_DATA"
    )


def read_list(folder: Path) -> dict[str, dict[str, str]]:
    """Return the rows of books.csv by their titles."""
    with (folder / "books.csv").open(encoding="utf-8", newline="") as file:
        return {row["title"]: row for row in csv.DictReader(file)}


def read_books(
    path: Path, listed: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Return the texts of the listed books by title, in the file's order.

    Raises ValueError where one is missing or is not the text that is listed.
    """
    texts = {}
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for book in map(json.loads, lines):
            if (title := book["title"]) in listed:
                found = hashlib.sha256(book["text"].encode()).hexdigest()
                if found != (wanted := listed[title]["sha256"]):
                    raise ValueError(
                        f"{title!r} in {path} has SHA-256 {found}, but "
                        f"books.csv lists {wanted}"
                    )
                texts[title] = book["text"]
    if missing := listed.keys() - texts.keys():
        raise ValueError(f"{path} lacks {sorted(missing)} of books.csv")
    return texts


def write_texts(path: Path, texts: Iterable[str]) -> int:
    """Write texts as JSON Lines, as a whole or not; count characters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    n_characters = 0
    with atomic_path(path) as part, part.open("w", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps({"text": text}) + "\n")
            n_characters += len(text)
    return n_characters


def town_talk() -> World:
    """Read Saltmarsh so that it tells mostly facts about its people."""
    paths = [*sorted(bundled().glob("*.csv")), bundled() / "stories.txt"]
    files = {path.name: path.read_text("utf-8") for path in paths}
    head, stories = files["stories.txt"].split("\nstory\n", 1)
    files["stories.txt"] = f"{head}\n{TOWN}story\n{stories}"
    return World.read(files)


def make_texts(
    books: Mapping[str, str],
    listed: Mapping[str, Mapping[str, str]],
    build: Path,
) -> None:
    """Write what the runs read, and excerpts of the books held out."""
    kept = [title for title in books if not listed[title]["held_out"]]
    late = [title for title in kept if int(listed[title]["year"]) >= LATE]
    parts = (
        ("", kept, SALTMARSH_SHARE, World.load()),
        ("late_", late, TOWN_SHARE, town_talk()),
    )
    for prefix, titles, share, world in parts:
        texts = (books[title] for title in titles)
        n = write_texts(build / f"{prefix}books.jsonl", texts)
        told = world.corpus(1, n_characters=n // (share - 1)) if n else []
        path = build / f"{prefix}saltmarsh.jsonl"
        write_texts(path, (story.text for story in told))
    excerpts = (
        books[title][EXCERPT : 2 * EXCERPT]
        for title in books
        if listed[title]["held_out"]
    )
    write_texts(build / "held_out.jsonl", excerpts)


def judged_texts(held_out: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield what the model is judged on, by name; none of it was read."""
    yield "held-out books", [*held_out]
    stories = World.load().corpus(2, n_characters=100_000)
    yield "Saltmarsh, new stories", [story.text for story in stories]
    for name in "a-letter-a-year", "the-verdict", "tiny-shakespeare":
        try:
            yield name, [load_text(name)]
        except DataNotFound as error:
            print(f"not judged on {name}: {error}", file=sys.stderr)


def encode(tokenizer: tiktoken.Encoding, texts: Iterable[str]) -> list[int]:
    """Return texts as ids, each after the mark that ends the one before."""
    end = tokenizer.encode_single_token(END_OF_TEXT)
    ids = ([end, *tokenizer.encode_ordinary(text)] for text in texts)
    return [*chain.from_iterable(ids), end]


def bits_a_byte(
    model: GPT, tokenizer: tiktoken.Encoding, texts: list[str]
) -> float:
    """Judge a model: bits it needs for a byte of texts, windows side by side.

    The mark after each text counts as a token to predict and as no byte.
    """
    ids = torch.tensor(encode(tokenizer, texts))
    T, last = model.config.context_length, len(ids) - 1
    whole = last - last % T
    x, y = ids[:whole].view(-1, T), ids[1 : whole + 1].view(-1, T)
    batches = [*zip(x.split(8), y.split(8), strict=True)] if whole else []
    if whole < last:
        batches.append((ids[None, whole:last], ids[None, whole + 1 :]))
    loss = evaluate(model, batches)
    n_bytes = sum(len(text.encode()) for text in texts)
    return loss * last / math.log(2) / n_bytes


def count_words(tokens: Path, n_tokens: int, vocab_size: int) -> list[NGramLM]:
    """Fit n-gram models to windows from all over the texts of a run."""
    windows = Shards(tokens, 256)
    numbers = range(0, len(windows), max(1, len(windows) * 256 // n_tokens))
    pieces = [windows[i][0].tolist() for i in numbers]
    random.Random(0).shuffle(pieces)
    cut = len(pieces) // 20 + 1  # a twentieth tunes the weights
    tuned = [*chain.from_iterable(pieces[:cut])][:50_000]
    counted = [*chain.from_iterable(pieces[cut:])]
    return [NGramLM(n, vocab_size).fit(counted).tune(tuned) for n in (1, 2, 3)]


def measure(folder: Path, held_out: Iterable[str]) -> Figures:
    """Judge the published model and its baselines, in bits a byte."""
    model, tokenizer = load_pretrained(folder)
    counters = count_words(
        folder / "build/tokens/texts", COUNTED, tokenizer.n_vocab
    )
    figures: Figures = {}
    for name, texts in judged_texts(held_out):
        ids = encode(tokenizer, texts)
        packed = "\n".join(texts).encode()
        n_bytes = sum(len(text.encode()) for text in texts)
        bits = (len(ids) - 1) / math.log(2) / n_bytes
        row: dict[str, float] = {"bytes": n_bytes, "tokens": len(ids) - 1}
        row["uniform"] = math.log(tokenizer.n_vocab) * bits
        for counter, title in zip(counters, ("unigram", "bigram", "trigram")):
            row[title] = counter.loss(ids) * bits
        row["xz"] = 8 * len(lzma.compress(packed, preset=9)) / n_bytes
        row["model"] = bits_a_byte(model, tokenizer, texts)
        figures[name] = row
    return figures


@torch.inference_mode()
def log_likelihoods(
    model: GPT, tokenizer: tiktoken.Encoding, texts: list[str]
) -> torch.Tensor:
    """Return the model's log-probability of each text: (n,)."""
    end = tokenizer.encode_single_token(END_OF_TEXT)
    rows = [torch.tensor([end, *ids]) for ids in map(tokenizer.encode, texts)]
    ids = pad_sequence(rows, batch_first=True, padding_value=-1)
    logits = model(ids[:, :-1].clamp_min(0))
    nats = cross_entropy(
        logits.mT, ids[:, 1:], reduction="none", ignore_index=-1
    )
    return -nats.sum(1)


def known_facts(model: GPT, tokenizer: tiktoken.Encoding) -> Known:
    """Count the people whose fact the model finds likeliest of all.

    For each of FACTS: how many people have one, for how many the true one
    makes the likeliest sentence, and among how many it is chosen.
    """
    people, known = World.load().rows("person"), {}
    for name, sentence in FACTS.items():
        having = [person for person in people if person[name]]
        choices = sorted({person[name] for person in having})
        right = 0
        for person in having:
            full = person["full"]
            texts = [sentence.format(full=full, fact=c) for c in choices]
            best = int(log_likelihoods(model, tokenizer, texts).argmax())
            right += choices[best] == person[name]
        counts = right, len(having), len(choices)
        known[name] = dict(zip(("right", "of", "among"), counts))
    return known


def draw_log(folder: Path) -> None:
    """Draw the run's losses into loss.png."""
    log = launch.read_log(folder / "log.jsonl")
    with plt.style.context(COURSE.parents[2] / "chapters/book.mplstyle"):
        _, axes = plt.subplots(figsize=(7, 3.5))
        tokens = [record["tokens"] / 1e6 for record in log]
        for name, style in ("train_loss", "C4-"), ("val_loss", "C5--"):
            losses = [record[name] for record in log]
            axes.plot(tokens, losses, style, label=name.replace("_", " "))
        axes.set(xlabel="million tokens read", ylabel="nats a token")
        axes.legend()
        plt.savefig(folder / "loss.png", dpi=100)
        plt.close()


def write_samples(model: GPT, tokenizer: tiktoken.Encoding) -> str:
    """Let the model go on from each prompt; seeds 0, 1, 2; none chosen."""
    end, samples = tokenizer.encode_single_token(END_OF_TEXT), []
    for seed, prompt in enumerate(PROMPTS):
        ids = torch.tensor([[end, *tokenizer.encode_ordinary(prompt)]])
        made = generate(
            model,
            ids,
            120,
            temperature=0.8,
            top_p=0.95,
            stop_id=end,
            generator=torch.Generator().manual_seed(seed),
        )
        text = tokenizer.decode(made[0, 1:].tolist()).removesuffix(END_OF_TEXT)
        samples.append("> " + text.strip().replace("\n", "\n> "))
    return "\n\n".join(samples)


def describe(folder: Path, figures: Figures, known: Known) -> str:
    """Say in Markdown what the files of a folder are and what was measured."""
    names = ["uniform", "unigram", "bigram", "trigram", "xz", "model"]
    lines = [
        "| bits a byte | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for text, row in figures.items():
        cells = [f"{row[name]:.2f}" for name in names]
        cells[-1] = f"**{cells[-1]}**"
        lines.append(f"| {text} | " + " | ".join(cells) + " |")
    model, tokenizer = load_pretrained(folder)
    log = launch.read_log(folder / "log.jsonl")
    lines += [
        "",
        "What it knows of the town: for how many people the true fact is the "
        "likeliest of all.",
        "",
        "| | " + " | ".join(known) + " |",
        "|---" * (len(known) + 1) + "|",
        "| known | "
        + " | ".join(f"{k['right']} of {k['of']}" for k in known.values())
        + " |",
        "| by chance | "
        + " | ".join(f"{k['of'] / k['among']:.1f}" for k in known.values())
        + " |",
        "",
        f"{count_parameters(model):,} parameters, "
        f"{log[-1]['tokens'] / 1e6:.1f} million tokens read.",
        "",
        "![The loss over the tokens read](loss.png)",
        "",
        "The first samples, not the best (temperature 0.8, top-p 0.95):",
        "",
        write_samples(model, tokenizer),
        "",
        "| File | Bytes | SHA-256 |",
        "|---|---|---|",
    ]
    for name in FILES:
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        lines.append(f"| `{name}` | {len(content):,} | `{digest}` |")
    return "\n".join(lines)


MARKS = "<!-- measured -->", "<!-- end -->"


def write_sums(folder: Path) -> None:
    """Write the digests of the model's files, as sha256sum would."""
    lines = (
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in FILES
    )
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def join_logs(folders: Iterable[Path]) -> list[Record]:
    """Return the records of runs that went on from each other, as of one."""
    joined: list[Record] = []
    for run in folders:
        before = joined[-1] if joined else {"step": 0, "tokens": 0}
        for record in launch.read_log(run / "log.jsonl"):
            so_far = {k: record[k] + before[k] for k in ("step", "tokens")}
            joined.append(record | so_far)
    return joined


def publish(folder: Path, held_out: Iterable[str]) -> None:
    """Turn the finished runs into the folder's model, figures and card."""
    runs = [launch.read_config(folder / name).run.folder for name in RUNS]
    model, tokenizer = load_pretrained(folder / runs[-1] / "model")
    save_pretrained(model.half(), folder, tokenizer)
    write_sums(folder)
    model, tokenizer = load_pretrained(folder)  # as it is shipped
    records = map(json.dumps, join_logs(folder / run for run in runs))
    log = "".join(f"{record}\n" for record in records)
    (folder / "log.jsonl").write_text(log, encoding="utf-8")
    draw_log(folder)
    figures, known = measure(folder, held_out), known_facts(model, tokenizer)
    facts = {"bits a byte": figures, "facts": known}
    with atomic_path(folder / "figures.json") as part:
        part.write_text(json.dumps(facts, indent=1) + "\n")
    card = (folder / "README.md").read_text(encoding="utf-8")
    before, rest = card.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    measured = f"{MARKS[0]}\n{describe(folder, figures, known)}\n{MARKS[1]}"
    with atomic_path(folder / "README.md") as part:
        part.write_text(before + measured + after, encoding="utf-8")


def make_course(folder: Path, books: Path | None) -> int:
    """Make what is missing, step by step; return the exit status."""
    listed = read_list(folder)
    held_out = sorted(title for title in listed if listed[title]["held_out"])
    texts = read_books(books or find_books(), listed)
    if not (folder / "build/held_out.jsonl").exists():
        make_texts(texts, listed, folder / "build")
    for name in RUNS:
        if status := launch.main(["--config", str(folder / name)]):
            return status
    publish(folder, (texts[title] for title in held_out))
    print(f"{folder} holds the model and its card")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Make the model; status 130 where Ctrl-C has stopped the run."""
    parser = argparse.ArgumentParser(description="Make the pretrained model.")
    parser.add_argument("--folder", type=Path, default=COURSE)
    parser.add_argument("--books", type=Path)
    options = parser.parse_args(arguments)
    try:
        return make_course(options.folder, options.books)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
