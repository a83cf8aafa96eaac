"""Worlds whose truth is known: they tell stories, and know how likely.

Woven from chapters/appendix_j_world.ipynb. Edit the chapter, then run `make
lib`.
"""

import functools
import math
import random
import re
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import lib
from lib.grammar import (
    Choice,
    Draw,
    Env,
    Fork,
    Grammar,
    Node,
    Row,
    Said,
    Stack,
    Step,
    WorldError,
    look,
)
from lib.reader import read_grammar

START = re.compile(
    r"""(\n"?|[.!?]\ "?|:\ "|\."\ |[.!?]"\ "|\^)([^\W\d_])""", re.VERBOSE
)


@functools.cache
def join(tail: str, held: str, piece: str) -> tuple[str, str]:
    """Fit a piece to the text before it; return what to print, and hold.

    tail: the last four characters, a line break before the first. held: a
    space that waits for its word. Capitals are put after `. `, `^` and the
    like.
    """
    whole = re.sub(" *\n *", "\n", re.sub("  +", " ", held + piece))
    if tail[-1] == "\n":
        whole = whole.lstrip(" ")
    body = whole.rstrip(" ^")
    fitted = START.sub(
        lambda match: match[1].strip("^") + match[2].upper(), tail + body
    )
    return fitted[len(tail) :], whole[len(body) :]


def log_sum(logs: Iterable[float]) -> float:
    """Return the logarithm of a sum, given the terms' logarithms."""
    logs = [*logs]
    top = max(logs, default=-math.inf)
    if len(logs) < 2 or top == -math.inf:
        return top
    return top + math.log(math.fsum(math.exp(x - top) for x in logs))


Span = tuple[int, int, str]  # first character, the one after the last, kind


@dataclass(frozen=True)
class Story:
    """A text, the ln p of how it was told, and its spans by kind."""

    text: str
    log_p: float
    spans: list[Span]

    def kinds(self, cuts: Iterable[int]) -> list[str]:
        """Return the kind of each piece, given where the pieces end."""
        starts = [begin for begin, _, _ in self.spans]
        begins = [0, *cuts][:-1]
        return [self.spans[bisect(starts, at) - 1][2] for at in begins]


def kind_of(row: Row, column: str, seen: set[object]) -> str:
    """Tell what a reader needs to predict a cell, given what was printed."""
    kind = row.table.kinds[column]
    if kind == "agreement":
        return kind
    known = (row, column) in seen if kind else row in seen
    return "memory" if known else kind or "new"


WORD = re.compile(r"\W*\w+")


class Page:
    """A story while it is told."""

    def __init__(self) -> None:
        self.text = self.held = ""
        self.spans: list[Span] = []
        self.seen: set[object] = set()
        self.fresh = False  # a choice was made and no literal printed since

    def put(self, said: Said) -> None:
        """Add a piece of text and its span."""
        piece, kind, row, column = said
        tail = ("\n" + self.text[-4:])[-4:]
        piece, self.held = join(tail, self.held, piece)
        if row:
            kind = kind or kind_of(row, column, self.seen)
            self.seen |= {row, (row, column)}
        elif self.fresh and (word := WORD.match(piece)):
            self.fresh = False
            self.add(word[0], "wording")
            piece = piece[word.end() :]
        self.add(piece, kind)

    def add(self, piece: str, kind: str) -> None:
        """Add what is fit to be added."""
        if piece:
            begin = len(self.text)
            self.text += piece
            self.spans.append((begin, len(self.text), kind))


Options = tuple[list[Any], list[float], list[float]]
SURE: Options = [None], [0.0], [1.0]
State = tuple[str, Stack, Env]  # what join holds back, what is to do
States = dict[State, float]  # with ln p


class World:
    """A grammar with facts that tells stories, and weighs them."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.known: dict[tuple[object, ...], Options] = {}

    def options(self, node: Node, env: Env) -> Options:
        """Return a node's outcomes, the ln p of each, and p added up."""
        if not isinstance(node, Fork):
            return SURE
        key = node, *[look(env, name) for name in node.uses]
        if key not in self.known:
            try:
                weighed = node.weigh(self.grammar, env)
            except WorldError as error:
                raise WorldError(f"{node.where}: {error}") from None
            picks = [pick for pick, weight in weighed if weight > 0]
            if not picks:
                raise WorldError(
                    f"{node.where}: nothing is possible in {node.source}"
                )
            total = math.fsum(weight for _, weight in weighed)
            ps = [weight / total for _, weight in weighed if weight > 0]
            edges = [*accumulate(ps[:-1]), 1.0]
            self.known[key] = picks, [math.log(p) for p in ps], edges
        return self.known[key]

    @property
    def begin(self) -> Stack:
        """What is to be done for a story."""
        return self.grammar.rules[self.grammar.start].choice, None

    def take(self, node: Node, pick: Any, env: Env, rest: Stack) -> Step:
        """Let a node do its work; say where it stands if it fails."""
        try:
            return node.take(self.grammar, pick, env, rest)
        except WorldError as error:
            raise WorldError(f"{node.where}: {error}") from None

    def walk(
        self, rng: random.Random
    ) -> Iterator[tuple[float, Node, Said | None]]:
        """Yield each step of one story: ln p, the node, what it says."""
        env: Env = None
        stack: Stack = self.begin
        while stack:
            node, stack = stack
            picks, logs, edges = self.options(node, env)
            k = bisect(edges, rng.random()) if len(picks) > 1 else 0
            said, env, stack = self.take(node, picks[k], env, stack)
            yield logs[k], node, said

    def tell(self, rng: random.Random) -> Story:
        """Tell a story; uses `rng.random()` and nothing else."""
        page, total = Page(), 0.0
        for log_p, node, said in self.walk(rng):
            total += log_p
            page.fresh |= log_p < 0 and isinstance(node, Choice)
            if said:
                page.put(said)
        return Story(page.text, total, page.spans)

    def corpus(
        self, seed: int, n_stories: int = 0, *, n_characters: int = 0
    ) -> list[Story]:
        """Tell stories until there are so many, or so many characters."""
        if (n_stories > 0) == (n_characters > 0):
            raise ValueError(
                f"n_stories is {n_stories} and n_characters {n_characters}: "
                "expected one of them above 0"
            )
        rng = random.Random(seed)
        stories: list[Story] = []
        size = 0
        while len(stories) < n_stories or size < n_characters:
            stories.append(self.tell(rng))
            size += len(stories[-1].text)
        return stories

    @classmethod
    def read(cls, files: Mapping[str, str]) -> "World":
        """Read a world from texts: what is in each file, by its name."""
        return cls(read_grammar(files))

    @classmethod
    def load(cls, folder: str | Path | None = None) -> "World":
        """Read a world from a folder: *.csv and stories.txt."""
        path = Path(folder) if folder else bundled()
        found = [*sorted(path.glob("*.csv")), path / "stories.txt"]
        return cls.read({f.name: f.read_text("utf-8") for f in found})

    def advance(
        self, tail: str, held: str, stack: Stack, env: Env
    ) -> tuple[str, State]:
        """Do what is certain, up to a printed piece, a fork or the end."""
        piece = ""
        while stack and not piece and not isinstance(stack[0], Fork):
            node, stack = stack
            said, env, stack = self.take(node, None, env, stack)
            if said:
                piece, held = join(tail, held, said[0])
        return piece, (held, stack, env)

    def moves(
        self, state: State, tail: str, ahead: str
    ) -> Iterator[tuple[float, str, State]]:
        """Yield ln p, printed piece and next state of all that may come.

        Where a row is drawn, only those that begin with the letter `ahead`,
        if it is known; the space before it is a piece of its own.
        """
        held, stack, env = state
        if not stack or not isinstance(stack[0], Fork):
            yield 0.0, *self.advance(tail, held, stack, env)
            return
        node, rest = stack
        prints = isinstance(node, Draw) and node.column
        if prints and held == " " and tail[-1] != "\n":
            yield 0.0, " ", ("", stack, env)
            return
        picks, logs, _ = self.options(node, env)
        for pick, log_p in zip(picks, logs):
            if prints and ahead and pick[1][0][0].lower() != ahead:
                continue
            said, after, todo = self.take(node, pick, env, rest)
            piece, keep = join(tail, held, said[0]) if said else ("", held)
            if piece:
                yield log_p, piece, (keep, todo, after)
            else:
                yield log_p, *self.advance(tail, keep, todo, after)

    def spread(
        self, states: States, tail: str, ahead: str
    ) -> Iterator[tuple[str, State, float]]:
        """Follow states to what each prints next; "" where it ends."""
        while states:
            silent: States = {}
            for state, log_p in states.items():
                for log_q, piece, after in self.moves(state, tail, ahead):
                    if piece or not after[1]:
                        yield piece, after, log_p + log_q
                    else:
                        add_log(silent, after, log_p + log_q)
            states = silent

    def readings(self, text: str) -> Iterator[tuple[int, str, float]]:
        """Yield all printing that follows a beginning of the text.

        Each with where it starts, what is printed ("" at a story's end),
        and the ln p of having come so far and printing that.
        """
        agenda: dict[int, States] = {0: {("", self.begin, None): 0.0}}
        while agenda:
            at = min(agenda)
            tail = ("\n" + text)[max(0, at - 3) : at + 1]
            ahead = text[at : at + 1].lower()
            states = agenda.pop(at)
            for piece, state, log_p in self.spread(states, tail, ahead):
                yield at, piece, log_p
                if piece and text.startswith(piece, at):
                    after = agenda.setdefault(at + len(piece), {})
                    add_log(after, state, log_p)

    def log_prob(self, text: str) -> float:
        """Return ln p of a whole text, summed over its derivations."""
        ends = self.readings(text)
        return log_sum(
            p for at, piece, p in ends if at == len(text) and not piece
        )

    def prefix_log_probs(self, text: str, cuts: Iterable[int]) -> list[float]:
        """Return ln P(a story begins with text[:cut]) for each cut.

        The cut `len(text) + 1` asks that the story end there as well.
        """
        wanted, marked = [*cuts], text + END
        found: dict[int, list[float]] = {cut: [] for cut in wanted}
        for at, piece, log_p in self.readings(text):
            for n, (a, b) in enumerate(zip(piece or END, marked[at:]), at + 1):
                if a != b:
                    break
                if n in found:
                    found[n].append(log_p)
        return [log_sum(found[cut]) if cut else 0.0 for cut in wanted]

    def next_probs(self, prefix: str) -> dict[str, float]:
        """Return the distribution of the next character; "" is the end."""
        n = len(prefix)
        found: dict[str, list[float]] = {}
        for at, piece, log_p in self.readings(prefix):
            reaches = at + len(piece) > n or (at == n and not piece)
            if reaches and piece.startswith(prefix[at:]):
                found.setdefault(piece[n - at :][:1], []).append(log_p)
        total = log_sum(p for logs in found.values() for p in logs)
        return {c: math.exp(log_sum(found[c]) - total) for c in sorted(found)}

    def rows(self, table: str) -> list[dict[str, str]]:
        """Return a table as dictionaries."""
        if table not in self.grammar.tables:
            raise WorldError(f"there is no {table}.csv")
        return [
            dict(r.cells) for r in self.grammar.tables[table].rows.values()
        ]

    def without(
        self, facts: Mapping[str, Mapping[str, Iterable[str]]]
    ) -> "World":
        """Blank some cells: {"person": {"Ada Finch": ["trade"]}}."""
        tables = dict(self.grammar.tables)
        for name, rows in facts.items():
            if name not in tables:
                raise WorldError(f"there is no {name}.csv")
            tables[name] = tables[name].blank(rows)
        return World(replace(self.grammar, tables=tables))

    def keep_wordings(self, rule: str, n: int) -> "World":
        """Keep the first n alternatives of a rule."""
        known = self.grammar.rules.get(rule)
        size = len(known.choice.alternatives) if known else 0
        if not known or not 1 <= n <= size:
            raise WorldError(
                f"cannot keep {n} wordings of {rule!r}, which has {size}"
            )
        few = replace(known.choice, alternatives=known.choice.alternatives[:n])
        rules = {**self.grammar.rules, rule: replace(known, choice=few)}
        return World(replace(self.grammar, rules=rules))


def bundled() -> Path:
    """Return the folder of Saltmarsh, the world that comes with the book."""
    here = Path.cwd()
    for root in (Path(lib.__path__[0]).parent, here, *here.parents):
        folder = root / "data" / "saltmarsh"
        if (folder / "stories.txt").is_file():
            return folder
    raise FileNotFoundError(
        f"no data/saltmarsh beside lib, in {here} or above it"
    )


END = "\0"  # stands for a story's end


def add_log(states: States, state: State, log_p: float) -> None:
    """Add a state, or the probability of one that is there already."""
    known = states.get(state)
    states[state] = log_p if known is None else log_sum((known, log_p))
