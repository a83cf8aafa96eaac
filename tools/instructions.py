"""Write the bundled instruction set: data/instructions/.

    tools/instructions.py                  write records.json and halves.csv
    tools/instructions.py --check          fail if they would be others
    tools/instructions.py --count          print the tables of the card
    tools/instructions.py --against FILE   near duplicates among other records

The lists and wordings beside those files are written by hand; tools/tasks.py
makes questions of them. The same bytes come out on every machine.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from tasks import TASKS, Item
from wordlists import FOLDER, Bag, Lists, bag, close, mix, read

Record = dict[str, Any]
SPLITS = "train", "item", "wording", "family"


def normal(text: str, exact: bool = False) -> str:
    """Return a text without what no check minds.

    That is space around words, a full stop at the end, commas in a number,
    and capitals unless `exact`.
    """
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", " ".join(text.split()))
    text = text.removesuffix(".").strip()
    return text if exact else text.lower()


def passes(record: Record, response: str) -> bool:
    """Tell if a response to a record is right."""
    if record["check"] not in ("exact", "one of"):
        raise ValueError(
            f"check is {record['check']!r}: expected 'exact' or 'one of'"
        )
    exact = record["check"] == "exact"
    right = {normal(answer, exact) for answer in record["answers"]}
    return normal(response, exact) in right


def read_wordings() -> dict[str, tuple[list[str], list[str]]]:
    """Return each family's wordings: to train on, and held out."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    name = ""
    text = (FOLDER / "wordings.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("  "):
            held = line.startswith("  * ")
            found[name][held].append(line.strip(" *"))
        elif line and not line.startswith("#"):
            name, _, same = line.partition(" = ")
            found[name] = found[same] if same else ([], [])
    return found


@dataclass(frozen=True)
class Family:
    """A row of family.csv: how many items to take from each side.

    Empty means all. A family without training items is held out as a whole.
    """

    name: str
    group: str
    train: str
    held: str
    times: str  # training records of an item, each in another wording


class Writer:
    """Makes records of items."""

    def __init__(self) -> None:
        self.wordings = read_wordings()
        self.lists = Lists()

    def records(self) -> Iterator[Record]:
        """Yield all records, family by family, split by split."""
        for row in read("family"):
            family = Family(**row)
            for n, record in enumerate(self.family(family), 1):
                yield {"id": f"{family.name}-{n:03}"} | record

    def family(self, family: Family) -> Iterator[Record]:
        """Yield a family's records."""
        rng = Random(family.name)
        trains = family.train != "0"
        for item in self.items(family, False, rng) if trains else []:
            yield from self.ask(family, item, "train", rng)
        held = self.items(family, True, rng)
        for split in ("item", "wording") if trains else ("family",):
            for item in held:
                yield from self.ask(family, item, split, rng)

    def items(self, family: Family, held: bool, rng: Random) -> list[Item]:
        """Return as many items of a side as the family asks for."""
        n = family.held if held else family.train
        items = TASKS[family.name](self.lists, held, rng)
        return [*islice(items, int(n) if n else None)]

    def ask(
        self, family: Family, item: Item, split: str, rng: Random
    ) -> Iterator[Record]:
        """Ask for an item, in wordings that belong to the split."""
        name = item.ask or family.name
        held = split == "wording"
        n = int(family.times) if split == "train" else 1
        wordings = [*enumerate(self.wordings[name][held], 1)]
        for number, text in mix(wordings, rng)[:n]:
            yield {
                "group": family.group,
                "family": family.name,
                "kind": item.kind,
                "split": split,
                "wording": f"{name}{' held out' if held else ''} {number}",
                "item": item.key,
                "taught": item.taught,
                "people": [*item.people],
                "instruction": text.format(**item.fills),
                "input": item.input,
                "output": item.answers[0],
                "sentence": item.sentence,
                "check": item.check,
                "answers": [*dict.fromkeys(item.answers)],
            }

    def halves(self) -> str:
        """Say which people and islands are trained, as a table."""
        lines = ["table,name,half"]
        lists = self.lists
        for table, sides, column in (
            ("person", lists.people, "full"),
            ("island", lists.islands, "name"),
        ):
            for side, half in zip(sides, ("train", "held out")):
                names = sorted(row[column] for row in side)
                lines += [f"{table},{name},{half}" for name in names]
        return "\n".join(lines) + "\n"


def written() -> dict[str, str]:
    """Return what the generated files hold, by name."""
    writer = Writer()
    lines = [json.dumps(r, ensure_ascii=False) for r in writer.records()]
    text = "[\n" + ",\n".join(lines) + "\n]\n"
    return {"records.json": text, "halves.csv": writer.halves()}


def near(
    asked: Iterable[Record], others: Iterable[Record], whole: bool = False
) -> Iterator[tuple[Record, Record]]:
    """Yield each record with the first of the others that nearly repeats it.

    Compared are the inputs, if `whole` with their instructions: their words
    of two letters or more, where there are at least four.
    """

    def words(record: Record) -> Bag:
        text = record["instruction"] + " " if whole else ""
        return bag(text + record["input"])

    # Twins share three quarters of their words. So of any choice of more
    # than a quarter they share at least one: the rarest are looked up.
    known = [(words(other), other) for other in others]
    places: dict[tuple[str, int], list[int]] = {}
    for n, (theirs, _) in enumerate(known):
        for word in theirs:
            places.setdefault(word, []).append(n)
    for record in asked:
        ours = words(record)
        found = sorted((places.get(word, []) for word in ours), key=len)
        at = sorted({n for few in found[: len(ours) // 4 + 1] for n in few})
        twins = (known[n][1] for n in at if close(ours, known[n][0]))
        if len(ours) >= 4 and (twin := next(twins, None)):
            yield record, twin


def tables(records: list[Record]) -> Iterator[str]:
    """Yield the card's table of families, line by line."""
    yield "| Family | Group | Train | Item | Wording | Whole | Constant |"
    yield "|---|---|---|---|---|---|---|"
    for row in read("family"):
        ours = [r for r in records if r["family"] == row["name"]]
        n = Counter(r["split"] for r in ours)
        cells = [str(n[split] or "") for split in SPLITS]
        name, best = row["name"], constant(ours)
        yield f"| {name} | {row['group']} | {' | '.join(cells)} | {best:.0%} |"


def constant(records: list[Record]) -> float:
    """Return how often the best answer that never changes is right.

    It is the best for the held-out records, of all that are ever learned.
    """
    held = [r for r in records if r["split"] != "train"]
    count = Counter(
        answer
        for r in held
        for answer in {normal(a, r["check"] == "exact") for a in r["answers"]}
    )
    return max(count.values()) / len(held)


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Write the instruction set.")
    parser.add_argument("--check", action="store_true", help="only compare")
    parser.add_argument("--count", action="store_true", help="print tables")
    parser.add_argument("--against", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    files = written()
    records = json.loads(files["records.json"])
    if args.count:
        print("\n".join(tables(records)))
        return 0
    if args.against:
        others = json.loads(args.against.read_text(encoding="utf-8"))
        for whole in (False, True):
            for pair in near(records, others, whole):
                print(*(f"{r['instruction']} {r['input']}" for r in pair))
        return 0
    changed = 0
    for name, text in files.items():
        path = FOLDER / name
        if not path.is_file() or path.read_bytes() != text.encode("utf-8"):
            changed = 1
            print(f"data/instructions/{name} is not up to date")
            if not args.check:
                path.write_bytes(text.encode("utf-8"))
    return changed if args.check else 0


if __name__ == "__main__":
    sys.exit(main())
