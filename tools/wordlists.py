"""The word lists of the instruction set, each dealt to two sides.

The lists stand in data/instructions/ and data/saltmarsh/. One side is to be
trained on, the other held out. Chance comes from `Random(name).random()`
alone, so the sides are the same on every machine.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import TypeVar

from lib.world import World

T = TypeVar("T")
Row = dict[str, str]
FOLDER = Path(__file__).parents[1] / "data" / "instructions"
NEAR = 0.75  # texts that share so much of their words are near duplicates
ONES = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven"),
    *("eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
TENS = [
    *("twenty", "thirty", "forty", "fifty"),
    *("sixty", "seventy", "eighty", "ninety"),
]


def read(name: str) -> list[Row]:
    """Read one of the set's own lists."""
    with (FOLDER / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def mix(items: Iterable[T], rng: Random) -> list[T]:
    """Return the items in random order."""
    return [
        item
        for _, _, item in sorted(
            (rng.random(), n, item) for n, item in enumerate(items)
        )
    ]


def pick(items: Sequence[T], rng: Random) -> T:
    """Return one of the items."""
    return items[int(rng.random() * len(items))]


def deal(
    items: Iterable[T], name: str, share: float = 0.2
) -> tuple[list[T], list[T]]:
    """Split at random: (to train on, held out)."""
    order = mix(items, Random(name))
    n = round(len(order) * share)
    return order[n:], order[:n]


def in_words(n: int) -> str:
    """Say a number from 0 to 199."""
    if n < 20:
        return ONES[n]
    if n < 100:
        tens, one = TENS[n // 10 - 2], n % 10
        return f"{tens}-{ONES[one]}" if one else tens
    rest = f" and {in_words(n % 100)}" if n % 100 else ""
    return f"one hundred{rest}"


def words_of(text: str) -> list[str]:
    """Return a text's words, without capitals and punctuation."""
    kept = "".join(c if c.isalnum() or c in "-'" else " " for c in text)
    return kept.lower().split()


Bag = frozenset[tuple[str, int]]


def bag(text: str) -> Bag:
    """Return a text's words, each with how often it came before.

    Single letters are left out: a spelled word is no sentence.
    """
    count: Counter[str] = Counter()
    words = set()
    for word in words_of(text):
        if len(word) > 1:
            words.add((word, count[word]))
            count[word] += 1
    return frozenset(words)


def close(a: Bag, b: Bag) -> bool:
    """Tell if two bags of words are nearly the same."""
    few, many = sorted((len(a), len(b)))
    return few >= NEAR * many and len(a & b) >= NEAR * len(a | b)


def cap(text: str) -> str:
    """Begin with a capital letter."""
    return text[0].upper() + text[1:]


class Scenes:
    """Sentences in which somebody does something; none comes twice."""

    def __init__(self) -> None:
        self.actions, self.actors = read("action"), read("actor")
        self.places, self.times = read("where"), read("when")
        self.told: set[tuple[str, str, str]] = set()
        self.texts: dict[bool, list[Bag]] = {False: [], True: []}

    def someone(self, kinds: str, rng: Random, besides: str = "") -> Row:
        """Return an actor of one of these kinds."""
        fit = [a for a in self.actors if a["kind"] in kinds.split()]
        return pick([a for a in fit if a["name"] != besides], rng)

    def invent(self, rng: Random, where: float, when: float) -> Row:
        """Return a scene, with a place and a time at these rates."""
        placed, timed = rng.random() < where, rng.random() < when
        actions = [a for a in self.actions if a["where"] or not placed]
        action = pick(actions, rng)
        fit = [p for p in self.places if p["kind"] in action["where"].split()]
        actor = self.someone(action["actor"], rng)
        thing = pick(action["objects"].split("|"), rng)
        return action | {
            "subject": actor["name"],
            "pronoun": actor["pronoun"],
            "actor": actor["kind"],
            "object": thing.strip("+"),
            "was": "were" if thing.endswith("+") else "was",
            "where": pick(fit, rng)["name"] if placed else "",
            "when": pick(self.times, rng)["name"] if timed else "",
        }

    def word(self, scene: Row, rng: Random, front: bool) -> Row:
        """Put a scene into a sentence; its place or time may come first."""
        core = f"{scene['subject']} {scene['past']} {scene['object']}"
        ends = [scene["where"], scene["when"]]
        first = ends.pop(pick((0, 1), rng)) if front else ""
        end = "".join(f" {part}" for part in ends if part)
        text = cap(f"{first}, {core}" if first else core) + f"{end}."
        return scene | {"end": end, "text": text}

    def draw(
        self,
        rng: Random,
        held: bool,
        where: float = 0.0,
        when: float = 0.4,
        front: bool = False,
        pronoun: str = "",
    ) -> Row:
        """Return a scene unlike all before, and its sentence, `text`."""
        while True:
            scene = self.word(self.invent(rng, where, when), rng, front)
            told = scene["subject"], scene["past"], scene["object"]
            words = bag(scene["text"])
            known = told in self.told or any(
                close(words, other) for other in self.texts[not held]
            )
            if not known and pronoun in ("", scene["pronoun"]):
                self.told.add(told)
                self.texts[held].append(words)
                return scene


REGULAR_PLURAL = ("{0}s", "{0}es", "{1}ies")
REGULAR_PAST = ("{0}ed", "{0}d", "{1}ied", "{0}{2}ed")


def is_regular(word: str, form: str, patterns: tuple[str, ...]) -> bool:
    """Tell if a form follows from the word's letters."""
    return form in [p.format(word, word[:-1], word[-1]) for p in patterns]


def deal_words(
    rows: list[Row], name: str, shown: Callable[[Row], bool]
) -> tuple[list[Row], list[Row]]:
    """Split words, each sort (taught, regular, with "an") in like shares.

    A third of them is held out. A word whose other form is shown in the
    sentences of another family is never held out.
    """
    sorts: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if not shown(row):
            article = row["one"][:2] if "plural" in row else ""
            sort = row["taught"], row["kind"], article
            sorts.setdefault(sort, []).append(row)
    dealt = [deal(sorts[s], f"{name} {s}", 1 / 3) for s in sorted(sorts)]
    kept = [row for row in rows if shown(row)]
    kept += [row for part in dealt for row in part[0]]
    held = [row for part in dealt for row in part[1]]
    return mix(kept, Random(name)), mix(held, Random(name))


def marked(rows: Iterable[Row], taught: bool, form: str = "") -> list[Row]:
    """Say of each word whether Saltmarsh teaches it and if it is regular."""
    patterns = REGULAR_PLURAL if form == "plural" else REGULAR_PAST
    return [
        row
        | {
            "taught": "yes" if taught else "",
            "kind": ""
            if not form
            else "regular"
            if is_regular(row["name"], row[form].split("|")[0], patterns)
            else "irregular",
        }
        for row in rows
    ]


def halve(people: list[Row]) -> tuple[list[Row], list[Row]]:
    """Split the people so that each half has its share of each value.

    Two people change sides as long as that makes the halves more alike.
    """
    shared = ["he", "home", "door", "food", "birthday"]

    def unlike(order: list[Row]) -> int:
        count: Counter[tuple[str, object]] = Counter()
        for n, row in enumerate(order):
            sign = 1 if 2 * n < len(order) else -1
            for column in shared:
                count[column, row[column]] += sign
            for column in ("pet", "boat"):
                count[column, bool(row[column])] += sign
        return sum(d * d for d in count.values())

    rng = Random("people")
    order = mix(people, rng)
    for _ in range(3000):
        a, b = (int(rng.random() * len(order)) for _ in range(2))
        other = [*order]
        other[a], other[b] = order[b], order[a]
        if unlike(other) <= unlike(order):
            order = other
    n = len(order) // 2
    return order[:n], order[n:]


class Lists:
    """All lists, each dealt to two sides: [False] train, [True] held out."""

    def __init__(self) -> None:
        world = World.load()
        self.scenes = Scenes()
        self.words = deal([row["name"] for row in read("word")], "words")
        shown = shown_words()
        nouns = marked(world.rows("noun"), True, "plural")
        nouns += marked(read("noun"), False, "plural")
        self.nouns = deal_words(
            nouns, "nouns", lambda row: row["plural"] in shown
        )
        verbs = marked(world.rows("verb"), True, "past")
        verbs += marked(read("verb"), False, "past")
        self.verbs = deal_words(
            verbs, "verbs", lambda row: row["past"] in shown
        )
        known = marked(world.rows("adjective"), True)
        more = {row["name"]: row["comparative"] for row in known}
        pairs = known + marked(read("opposite"), False)
        firsts = {frozenset(pair_of(row)): row for row in pairs}
        held = deal_words(
            [*firsts.values()],
            "pairs",
            lambda row: any(more.get(w) in shown for w in pair_of(row)),
        )[1]
        out = {word for row in held for word in pair_of(row)}
        self.opposites = side_of(pairs, out)
        new = deal_words(
            marked(read("adjective"), False),
            "adjectives",
            lambda row: row["comparative"] in shown,
        )
        mine = side_of(known, out)
        self.adjectives = mine[0] + new[0], mine[1] + new[1]
        self.also = {row["name"]: row["also"] for row in read("accept")}
        self.categories = read("category")
        self.people = halve(
            [self.person(world, p) for p in world.rows("person")]
        )
        self.islands = deal(world.rows("island"), "islands", 0.5)
        strangers = [{"full": row["name"]} for row in read("stranger")]
        self.strangers = deal(strangers, "strangers", 1 / 3)

    @staticmethod
    def person(world: World, person: Row) -> Row:
        """Add to a person what the answers need of street, dish and habit."""
        wanted = (
            ("home", "street", "at"),
            ("food", "dish", "portion"),
            ("habit", "habit", "base"),
            ("habit", "habit", "ing"),
        )
        found = {}
        for column, table, cell in wanted:
            rows = {row["name"]: row for row in world.rows(table)}
            found[cell] = rows[person[column]][cell]
        return person | found


def shown_words() -> frozenset[str]:
    """Return the words of all lists that sentences are made of."""
    names = ["action", "actor", "where", "when", "compare", "category"]
    cells = (c for n in names for row in read(n) for c in row.values())
    return frozenset(word for cell in cells for word in words_of(cell))


def pair_of(row: Row) -> tuple[str, str]:
    """Return an adjective and its opposite."""
    return row["name"], row["opposite"].split("|")[0]


def side_of(rows: list[Row], out: set[str]) -> tuple[list[Row], list[Row]]:
    """Split rows by whether their words are held out."""
    kept = [row for row in rows if row["name"] not in out]
    return kept, [row for row in rows if row["name"] in out]
