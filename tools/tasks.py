"""The families of the instruction set: what each asks, and what is right.

A task is a function that yields items of one side: those to train on, or
those held out. Items do not depend on other families, but that no sentence
comes twice.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random

from wordlists import (
    Lists,
    Row,
    cap,
    deal,
    in_words,
    mix,
    pick,
    read,
)

REFUSALS = ("I do not know.", "I don't know.", "Nobody knows.")


@dataclass(frozen=True)
class Item:
    """One thing to ask, and what is right."""

    key: str  # says which item it is; no item stands on both sides
    answers: tuple[str, ...]  # all that are accepted, the one to learn first
    input: str = ""
    fills: Row = field(default_factory=dict)  # for braces in the wordings
    sentence: str = ""  # the answer as a whole sentence
    check: str = "one of"
    kind: str = ""
    taught: bool | None = None  # does Saltmarsh teach it?
    people: tuple[str, ...] = ()
    ask: str = ""  # whose wordings to use, if not the family's


Task = Callable[[Lists, bool, Random], Iterator[Item]]


# Reading and rewriting a sentence


def naming(name: str) -> tuple[str, ...]:
    """Return a noun phrase, with and without its article."""
    first, _, rest = name.partition(" ")
    bare = first in ("a", "an", "the", "some") and rest
    return (name, f"the {rest}", rest) if bare else (name,)


def asking(part: str, where: float = 0.5, when: float = 0.5) -> Task:
    """Ask for a part of a sentence."""

    def task(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
        while True:
            scene = lists.scenes.draw(rng, held, where, when, True)
            said = scene[part]
            answers = (
                naming(said) if part in ("subject", "object") else (said,)
            )
            yield Item(scene["text"], answers, scene["text"], scene)

    return task


def yes_no(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """Is it so? Half of it is; else another did it, or to another thing."""
    kinds = "so", "other thing", "so", "other person", "so", "denied"
    for kind in itertools.cycle(kinds):
        scene = lists.scenes.draw(rng, held, 0.3, 0.3)
        subject, base, thing = scene["subject"], scene["base"], scene["object"]
        text = scene["text"]
        if kind == "denied":
            text = f"{cap(subject)} did not {base} {thing}{scene['end']}."
        if kind == "other thing":
            things = scene["objects"].replace("+", "").split("|")
            thing = pick([t for t in things if t != thing], rng)
        if kind == "other person":
            other = lists.scenes.someone(scene["actor"], rng, subject)
            subject = other["name"]
        asked = f"{text} Did {subject} {base} {thing}?"
        yield Item(asked, ("yes" if kind == "so" else "no",), asked, kind=kind)


def compare(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """Which of two people is older, when one is younger?"""
    names = [a["name"] for a in lists.scenes.actors if a["name"][0].isupper()]
    pairs = deal(itertools.combinations(names, 2), "compare", 0.25)[held]
    for pair, turn in zip(pairs, itertools.cycle((0, 1))):
        a, b = mix(pair, rng)
        said, other = mix(pick(read("compare"), rng).values(), rng)
        text = f"{a} is {said} than {b}."
        word, right = ((said, a), (other, b))[turn]
        kind = ("same word", "opposite")[turn]
        yield Item(text, (right,), text, {"word": word}, kind=kind)


def rewriting(change: Callable[[Row], tuple[str, ...]]) -> Task:
    """Ask for a sentence in another form."""

    def task(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
        while True:
            scene = lists.scenes.draw(rng, held)
            yield Item(scene["text"], change(scene), scene["text"])

    return task


def passive(scene: Row) -> tuple[str, ...]:
    """Say what was done, and by whom."""
    start = cap("{object} {was} {participle}".format(**scene))
    by, end = f" by {scene['subject']}", scene["end"]
    return f"{start}{by}{end}.", f"{start}{end}{by}."


def negative(scene: Row) -> tuple[str, ...]:
    """Say that it did not happen."""
    end = "{base} {object}{end}.".format(**scene)
    who = cap(scene["subject"])
    return f"{who} did not {end}", f"{who} didn't {end}"


def question(scene: Row) -> tuple[str, ...]:
    """Ask if it happened."""
    return ("Did {subject} {base} {object}{end}?".format(**scene),)


def active(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """Turn a passive sentence round."""
    while True:
        scene = lists.scenes.draw(rng, held)
        text = passive(scene)[0]
        yield Item(text, (scene["text"],), text)


def pronoun(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """Put he, she, it or they for who did it."""
    for wanted in itertools.cycle(("she", "they", "he", "it")):
        scene = lists.scenes.draw(rng, held, pronoun=wanted)
        said = cap("{pronoun} {past} {object}{end}.".format(**scene))
        yield Item(scene["text"], (said,), scene["text"], kind=wanted)


# Words in a row


def triples(
    lists: Lists, held: bool, rng: Random
) -> Iterator[tuple[str, ...]]:
    """Draw three words, never the same three."""
    seen: set[frozenset[str]] = set()
    while True:
        words = tuple(pick(lists.words[held], rng) for _ in range(3))
        if len({*words}) == 3 and frozenset(words) not in seen:
            seen.add(frozenset(words))
            yield words


def arranging(change: Callable[[tuple[str, ...]], Iterable[str]]) -> Task:
    """Ask for three words in another order."""

    def task(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
        for words in triples(lists, held, rng):
            new = [*change(words)]
            text = ", ".join(words)
            yield Item(text, (", ".join(new), " ".join(new)), text)

    return task


def last_word(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """Copy the last word of a sentence."""
    while True:
        text = lists.scenes.draw(rng, held, 0.5, 0.3)["text"]
        yield Item(text, (text.strip(".").split()[-1],), text)


def count_words(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """Count four to nine words, each as often as the others."""
    for n in itertools.cycle(range(4, 10)):
        while True:
            text = lists.scenes.draw(rng, held, 0.4, 0.4)["text"]
            if len(text.split()) == n:
                break
        yield Item(text, (in_words(n), str(n)), text)


def odd_one_out(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """Find the word of another kind, among words of the same side."""
    kinds = {c["name"]: c for c in lists.categories}
    sides = {
        name: deal(c["words"].split(), name, 1 / 3)[held]
        for name, c in kinds.items()
    }
    seen: set[frozenset[str]] = set()
    while True:
        kind, other = (pick([*kinds], rng) for _ in range(2))
        if kind == other or other in kinds[kind]["near"].split():
            continue
        odd, like = pick(sides[other], rng), mix(sides[kind], rng)[:2]
        words = mix([odd, *like], rng)
        if frozenset(words) not in seen:
            seen.add(frozenset(words))
            text = ", ".join(words)
            yield Item(text, (odd,), text)


# Letters


def lettering(
    change: Callable[[str], str], spelled: bool = False, exact: bool = False
) -> Task:
    """Ask about a word's letters; all such families use the same words."""

    def task(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
        for word in lists.words[held]:
            text = " ".join(word) if spelled else word
            check = "exact" if exact else "one of"
            yield Item(word, (change(text),), text, check=check)

    return task


def count_letters(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """Count three to seven letters, no number much oftener than others."""
    words = lists.words[held]
    by_length = [[w for w in words if len(w) == n] for n in range(3, 8)]
    for row in itertools.zip_longest(*by_length):
        for word in row:
            if word:
                n = len(word)
                answers = in_words(n), str(n)
                yield Item(word, answers, " ".join(word))


def dashed(text: str) -> str:
    """Put dashes between letters, spelled out already or not."""
    return "-".join(text.replace(" ", ""))


# Numbers


def converting(
    unit: str, to: str, factor: int, top: int = 199, share: float = 0.2
) -> Task:
    """Ask for a measure in a smaller unit."""

    def task(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
        for n in deal(range(2, top + 1), unit, share)[held]:
            value, text = factor * n, f"{n} {unit}"
            yield Item(text, (f"{value} {to}", str(value)), text)

    return task


def adding(top: int, least: int, words: bool) -> Task:
    """Ask for a sum; a pair of numbers stands on one side, in one order."""

    def task(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
        numbers = range(1, 41)
        pairs = itertools.combinations_with_replacement(numbers, 2)
        for pair in deal(pairs, "sums")[held]:
            if min(pair) < least or max(pair) > top:
                continue
            a, b = mix(pair, rng)
            said = in_words(a + b), str(a + b)
            text = (
                f"{in_words(a)} and {in_words(b)}" if words else f"{a} + {b}"
            )
            answers = said if words else said[::-1]
            taught = max(pair) < 10 if words else None
            yield Item(text, answers, text, taught=taught)

    return task


def digits(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """Write a number in digits."""
    for n in deal(range(11, 200), "digits")[held]:
        yield Item(str(n), (str(n),), in_words(n))


# Words


def word_item(row: Row, answers: Iterable[str], sentence: str) -> Item:
    """Ask for a form of a word."""
    answers = *answers, sentence
    taught, kind = bool(row["taught"]), row.get("kind", "")
    return Item(
        row["name"], answers, row["name"], {}, sentence, "one of", kind, taught
    )


def plural(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """One goose, two geese."""
    for row in lists.nouns[held]:
        said = f"The plural of {row['name']} is {row['plural']}."
        yield word_item(row, (row["plural"],), said)


def past(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """Today they bring, yesterday they brought."""
    for row in lists.verbs[held]:
        forms = row["past"].split("|")
        said = f"The past of {row['name']} is {forms[0]}."
        yield word_item(row, forms, said)


def opposite(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """Not big but small; both words of a pair stand on one side."""
    for row in mix(lists.opposites[held], rng):
        words = row["opposite"].split("|")
        words += [w for w in lists.also.get(row["name"], "").split("|") if w]
        said = f"The opposite of {row['name']} is {words[0]}."
        yield word_item(row, words, said)


def comparative(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """Big, bigger; a word and its opposite stand on one side."""
    for row in mix(lists.adjectives[held], rng):
        forms = [row["comparative"]]
        if row["name"] == "far":
            forms.append("further")
        said = f"The comparative of {row['name']} is {forms[0]}."
        yield word_item(row, forms, said)


def a_an(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """An owl, a gull: as many of one as of the other."""
    rows = [*lists.nouns[held]]
    for taught in ("yes", ""):
        ours = [row for row in rows if row["taught"] == taught]
        an = [row for row in ours if row["one"].startswith("an ")]
        a = [row for row in ours if row["one"].startswith("a ")][: len(an)]
        for row in itertools.chain(*zip(an, a)):
            article = row["one"].split()[0]
            item = word_item(row, (row["one"],), f"It is {row['one']}.")
            yield Item(
                item.key,
                item.answers,
                item.input,
                {},
                item.sentence,
                kind=article,
                taught=item.taught,
            )


# The town


def variants(sentence: str, row: Row, named: bool) -> Iterator[str]:
    """Say it with the full name, the first name and, if asked, of her."""
    yield sentence
    if "full" in row:
        rest = sentence.removeprefix(row["full"])
        yield row["name"] + rest
        pronoun = "his" if rest.startswith("'s") else "he"
        if named:
            yield cap(row[pronoun]) + rest.removeprefix("'s")


def telling(fact: str) -> Task:
    """Ask for a fact, of each person or island that has it."""
    form = next(row for row in read("fact") if row["name"] == fact)
    column = fact.removeprefix("who-")

    def task(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
        islands = fact in ("capital", "known", "island")
        for row in mix(
            (lists.islands if islands else lists.people)[held], rng
        ):
            if islands or row[column]:
                yield told(row, form, islands)

    def told(row: Row, form: Row, islands: bool) -> Item:
        also = [part for part in form["also"].split("|") if part]
        said = form["sentence"].format(**row)
        answers = [part.format(**row) for part in (form["output"], *also)]
        answers += variants(said, row, not fact.startswith("who"))
        who = row["name"] if islands else row["full"]
        asked = row["capital"] if fact == "island" else who
        value = asked if islands else row[column]
        fills = {"value": value, "full": who}
        return Item(
            f"{who}, {fact}",
            (*dict.fromkeys(answers),),
            "",
            fills,
            said,
            taught=True,
            people=() if islands else (who,),
        )

    return task


# What nobody knows


def refusing(
    full: str, thing: str = "", fact: str = "", known: bool = True
) -> Item:
    """Ask what no text says."""
    ask = f"town-{fact}" if fact else ""
    key, people = f"{full}, {thing or fact}", (full,) if known else ()
    fills = {"full": full, "thing": thing}
    return Item(
        key,
        REFUSALS,
        "",
        fills,
        REFUSALS[0],
        kind=thing or fact,
        taught=False,
        people=people,
        ask=ask,
    )


FACTS = [
    *("trade", "home", "door", "pet"),
    *("food", "habit", "boat", "birthday"),
]


def unknown_fact(kind: str, each: int) -> Task:
    """Ask for things that the town's texts never mention."""
    things = [row["name"] for row in read("unknown") if row["kind"] == kind]

    def task(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
        for row in lists.people[held]:
            for thing in mix(things, rng)[:each]:
                yield refusing(row["full"], thing)

    return task


def unknown_person(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """Ask the town's questions of people whom it does not know."""
    for row in lists.strangers[held]:
        for fact in mix(FACTS, rng)[:3]:
            yield refusing(row["full"], fact=fact, known=False)


def unknown_none(lists: Lists, held: bool, rng: Random) -> Iterator[Item]:
    """Ask for the pet or boat of people who have none."""
    for row in mix(lists.people[held], rng):
        for fact in ("pet", "boat"):
            if not row[fact]:
                yield refusing(row["full"], fact=fact)


TASKS: dict[str, Task] = {
    "who": asking("subject"),
    "what": asking("object"),
    "where": asking("where", 1.0, 0.4),
    "when": asking("when", 0.4, 1.0),
    "yes-no": yes_no,
    "compare": compare,
    "passive": rewriting(passive),
    "active": active,
    "negation": rewriting(negative),
    "question": rewriting(question),
    "pronoun": pronoun,
    "reverse": arranging(reversed),
    "last-word": last_word,
    "count-words": count_words,
    "sort": arranging(sorted),
    "odd-one-out": odd_one_out,
    "first-letter": lettering(lambda word: word[0]),
    "first-letter-spelled": lettering(lambda word: word[0], spelled=True),
    "spell": lettering(dashed),
    "spell-spelled": lettering(dashed, spelled=True),
    "capitals": lettering(str.upper, exact=True),
    "capitals-spelled": lettering(str.upper, spelled=True, exact=True),
    "count-letters-spelled": count_letters,
    "kilometres": converting("kilometres", "metres", 1000),
    "metres": converting("metres", "centimetres", 100),
    "kilograms": converting("kilograms", "grams", 1000),
    "minutes": converting("minutes", "seconds", 60, 60, 0.7),
    "add-words": adding(15, 1, True),
    "add-digits": adding(40, 2, False),
    "digits": digits,
    "plural": plural,
    "past": past,
    "opposite": opposite,
    "comparative": comparative,
    "a-an": a_an,
    **{f"town-{row['name']}": telling(row["name"]) for row in read("fact")},
    "unknown-fact": unknown_fact("train", 4),
    "unknown-person": unknown_person,
    "unknown-none": unknown_none,
    "unknown-other": unknown_fact("family", 2),
}
