"""Messages to the harbour office of Saltmarsh, and how likely each is a fraud.

    python tools/harbour.py      writes data/harbour/messages.jsonl afresh

`sample(n, seed)` writes n messages, each with its exact P(fraud | text).
"""

import functools
import json
import math
import random
from bisect import bisect
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lib
from lib.grammar import Call, Choice, Draw, Env, Node, Row, Said, Stack, look
from lib.world import Page, World

Record = dict[str, Any]

FRAUD = 0.4  # the share of frauds in the bundled file
BUNDLED = 3000, 6  # its number of messages, and their seed
TOLD = {  # variable of the grammar -> about whom it tells what
    "k": ("p", "trade"),
    "s": ("p", "home"),
    "c": ("p", "door"),
    "a": ("p", "pet"),
    "f": ("p", "food"),
    "h": ("p", "habit"),
    "b": ("p", "boat"),
    "m": ("p", "birthday"),
    "n": ("q", "birthday"),
}


def data_folder() -> Path:
    """Return the folder data/, beside lib or above the one we are in."""
    here = Path.cwd()
    for root in (Path(lib.__path__[0]).parent, here, *here.parents):
        if (root / "data" / "harbour" / "stories.txt").is_file():
            return root / "data"
    raise FileNotFoundError(f"no data/harbour beside lib, in {here} or above")


def read_harbour() -> World:
    """Read Saltmarsh's tables, the harbour's own, and its grammar."""
    data = data_folder()
    found = [*data.glob("saltmarsh/*.csv"), *data.glob("harbour/*.csv")]
    found.append(data / "harbour" / "stories.txt")
    return World.read({f.name: f.read_text("utf-8") for f in found})


Move = tuple[Node, int, Said | None, Env]


def moves(world: World, rng: random.Random) -> Iterator[Move]:
    """Yield each step of a text: node, outcome, what it says, variables."""
    env: Env = None
    stack: Stack = world.begin
    while stack:
        node, stack = stack
        picks, _, edges = world.options(node, env)
        k = bisect(edges, rng.random()) if len(picks) > 1 else 0
        said, env, stack = world.take(node, picks[k], env, stack)
        yield node, k, said, env


class Diary:
    """Notes who is named in a message, what is told of them, and how."""

    def __init__(self, patterns: dict[Choice, str]) -> None:
        self.patterns = patterns
        self.used: list[str] = []
        self.people: dict[str, None] = {}
        self.facts: list[dict[str, str]] = []
        self.open: list[tuple[str, Row]] = []  # told of somebody yet unnamed

    def add(self, node: Node, k: int, said: Said | None, env: Env) -> None:
        """Note what one step brings."""
        if isinstance(node, Choice) and node in self.patterns:
            self.used.append(f"{self.patterns[node]} {k + 1}")
        row = said[2] if said and said[3] in ("name", "full") else None
        if row and row.table.name == "person":
            self.people[row["full"]] = None
        if isinstance(node, Draw) and env:
            if env[0] in TOLD and env[1].table.name == "person":
                self.open.append((env[0], env[1]))
            self.settle(env)

    def settle(self, env: Env) -> None:
        """Note the facts told of people who are drawn by now."""
        for name, row in [*self.open]:
            whom, fact = TOLD[name]
            if person := look(env, whom):
                self.open.remove((name, row))
                entry = person["full"], fact, row[fact], person[fact]
                keys = "person", "fact", "said", "known"
                self.facts.append(dict(zip(keys, entry)))


class Harbour:
    """Writes messages to the harbour office, and weighs them."""

    def __init__(self, world: World) -> None:
        rules = world.grammar.rules
        self.hands = [
            World(replace(world.grammar, start=start))
            for start in ("real", "fraud")
        ]
        lists = [rules[f"{hand} note"] for hand in ("honest", "crooked")]
        calls = [way.nodes[0] for x in lists for way in x.choice.alternatives]
        notes = {node.rule for node in calls if isinstance(node, Call)}
        facts = {fact for _, fact in TOLD.values()}
        self.patterns = {
            rule.choice: name
            for name, rule in rules.items()
            if name in {*notes, "birthdays"} or name.split()[-1] in facts
        }

    def evidence(self, text: str) -> float:
        """Return ln P(text | fraud) - ln P(text | real)."""
        real, fraud = (hand.log_prob(text) for hand in self.hands)
        if real == fraud == -math.inf:
            raise ValueError(f"no message to the harbour office: {text!r}")
        return fraud - real

    def posterior(self, text: str, fraud: float = FRAUD) -> float:
        """Return P(fraud | text), where such a share of all are frauds."""
        odds = self.evidence(text) + math.log(fraud) - math.log1p(-fraud)
        return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0

    def write(self, rng: random.Random, fraud: float = FRAUD) -> Record:
        """Write one message; uses `rng.random()` and nothing else."""
        label = int(rng.random() < fraud)
        page, diary = Page(), Diary(self.patterns)
        for node, k, said, env in moves(self.hands[label], rng):
            diary.add(node, k, said, env)
            if said:
                page.put(said)
        crook = "contradiction" if diary.facts else "surface"
        return {
            "text": page.text,
            "label": label,
            "kind": crook if label else "real",
            "people": [*diary.people],
            "facts": diary.facts,
            "pattern": " + ".join(diary.used),
        }


@functools.cache
def load_harbour() -> Harbour:
    """Read the harbour's files, once."""
    return Harbour(read_harbour())


def sample(
    n: int,
    seed: int,
    fraud: float = FRAUD,
    *,
    weigh: bool = True,
    without: Iterable[str] = (),
) -> list[Record]:
    """Write n messages, no two alike, with their exact P(fraud | text).

    fraud: the share of frauds to expect. weigh: whether to work out
    `p_fraud`, which takes some milliseconds a message. without: texts that
    must not occur.
    """
    if n < 0 or not 0 < fraud < 1:
        raise ValueError(
            f"n is {n} and fraud {fraud}: expected n of 0 or more and "
            "a share between 0 and 1"
        )
    office, rng, seen = load_harbour(), random.Random(seed), {*without}
    records: list[Record] = []
    while len(records) < n:
        record = office.write(rng, fraud)
        if record["text"] not in seen:
            seen.add(record["text"])
            records.append(record)
            if weigh:
                p = office.posterior(record["text"], fraud)
                record["p_fraud"] = round(p, 6)
    return records


def about_only(
    records: Iterable[Record], names: Collection[str]
) -> list[Record]:
    """Keep the records that name some of these people and nobody else.

    names: full names.
    """
    return [r for r in records if r["people"] and {*r["people"]} <= {*names}]


def halves() -> tuple[list[str], list[str]]:
    """Return the full names of those called she, and of those called he.

    What a message wrongly says of somebody is true of another of the same
    half.
    """
    rows = load_harbour().hands[0].rows("person")
    she = [row["full"] for row in rows if row["he"] == "she"]
    return she, [row["full"] for row in rows if row["full"] not in she]


def write_jsonl(records: Iterable[Record]) -> str:
    """Return records as lines of JSON."""
    return "".join(json.dumps(record) + "\n" for record in records)


if __name__ == "__main__":
    path = data_folder() / "harbour" / "messages.jsonl"
    path.write_text(write_jsonl(sample(*BUNDLED)), encoding="utf-8")
