"""Make data/models/course-instruct: `course`, tuned to follow instructions.

    python tools/instructed.py

tunes its blocks as chapter 7 does (about seven minutes), keeps the
difference, asks the model that comes back from the file, and writes figures,
card and digest.
"""

import argparse
import hashlib
import json
import math
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.data import atomic_path, load_records
from lib.difference import FILE, load_tuned, save_difference
from lib.gpt import GPT
from lib.instruct import exact_match, make_batches, respond_all, train_only
from lib.scoring import bootstrap_interval
from lib.train import TrainConfig, train
from lib.weights import load_pretrained

FOLDER = Path(__file__).parents[1] / "data" / "models" / "course-instruct"
BASE = "course"
BATCH_SIZE, PASSES, RATE = 16, 4, 1e-3
ASKING: dict[str, Any] = {"template": "chat", "max_new_tokens": 24}
SPLITS = {
    "item": "held-out items",
    "wording": "the same in new wordings",
    "family": "kinds of task never trained",
}
MARKS = "<!-- measured -->", "<!-- end -->"

Record = Mapping[str, Any]
Hits = dict[str, dict[str, list[bool]]]  # split -> group -> right or not


def tune(records: Sequence[Record]) -> GPT:
    """Return `course`, its blocks tuned on records."""
    model, tokenizer = load_pretrained(BASE)
    train_only(model, "blocks")
    options: dict[str, Any] = {"template": "chat", "shuffle": True}
    batches = make_batches(records, tokenizer, BATCH_SIZE, **options)
    steps = PASSES * math.ceil(len(records) / BATCH_SIZE)
    plan = TrainConfig(
        steps,
        RATE,
        RATE / 10,
        warmup_steps=min(20, steps),
        eval_every=steps,
        seed=0,
    )
    few = make_batches(records[:64], tokenizer, 32, template="chat")
    train(model, batches, few, plan)
    return model


def ask(folder: Path, records: Sequence[Record]) -> Hits:
    """Ask the model in a folder; which of its responses are right?"""
    model, tokenizer = load_tuned(folder)
    hits: Hits = {split: defaultdict(list) for split in SPLITS}
    asked = [r for r in records if r["split"] in SPLITS]
    for r, said in zip(asked, respond_all(model, tokenizer, asked, **ASKING)):
        hits[r["split"]][r["group"]].append(exact_match(said, r))
    return {split: dict(groups) for split, groups in hits.items()}


def describe(folder: Path, hits: Hits) -> str:
    """Say in Markdown what was measured, and what the file is."""
    groups = list(hits["item"])
    lines = [
        "| right of | " + " | ".join(groups) + " | all |",
        "|---" * (len(groups) + 2) + "|",
    ]
    for split, label in SPLITS.items():
        found = hits[split]
        every = [hit for group in found.values() for hit in group]
        low, high = bootstrap_interval(every)
        cells = [
            f"{sum(found[g])} of {len(found[g])}" if g in found else ""
            for g in groups
        ]
        share = f"{sum(every) / len(every):.1%} ({low:.1%} to {high:.1%})"
        lines.append(f"| {label} | " + " | ".join([*cells, share]) + " |")
    content = (folder / FILE).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  {FILE}\n", "utf-8")
    lines += [
        "",
        "| File | Bytes | SHA-256 |",
        "|---|---|---|",
        f"| `{FILE}` | {len(content):,} | `{digest}` |",
    ]
    return "\n".join(lines)


def publish(folder: Path, hits: Hits) -> None:
    """Write figures.json, and the measured part of the card."""
    counts = {
        split: {g: [sum(row), len(row)] for g, row in groups.items()}
        for split, groups in hits.items()
    }
    with atomic_path(folder / "figures.json") as part:
        part.write_text(json.dumps(counts, indent=1) + "\n")
    card = (folder / "README.md").read_text(encoding="utf-8")
    before, rest = card.split(MARKS[0])
    measured = f"{MARKS[0]}\n{describe(folder, hits)}\n{MARKS[1]}"
    with atomic_path(folder / "README.md") as part:
        text = before + measured + rest.split(MARKS[1])[1]
        part.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune, save, ask, describe."""
    parser = argparse.ArgumentParser(description="Make the tuned model.")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder = parser.parse_args(arguments).folder
    records = load_records("instructions")
    model = tune([r for r in records if r["split"] == "train"])
    save_difference(model, BASE, folder)
    publish(folder, ask(folder, records))
    print(f"{folder} holds the difference and its card")
    return 0


if __name__ == "__main__":
    sys.exit(main())
