"""Grammars with facts: tables, and rules whose pieces print from them.

Woven from chapters/appendix_j_world.ipynb. Edit the chapter, then run `make
lib`.
"""

import operator
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


class WorldError(ValueError):
    """A world's files ask for what cannot be."""


@dataclass(frozen=True, eq=False)
class Row:
    """One line of a table: a name to print, and what is known of it."""

    table: "Table"
    cells: Mapping[str, str]

    @property
    def name(self) -> str:
        """Its first cell, printed for the row itself."""
        return self.cells[self.table.columns[0]]

    def __getitem__(self, column: str) -> str:
        if column not in self.cells:
            raise WorldError(
                f"{self.table.name}.csv has no column {column!r}; it has "
                + ", ".join(self.table.columns)
            )
        return self.cells[column]


@dataclass(eq=False)
class Table:
    """A class of things: people, places, numbers."""

    name: str
    columns: Sequence[str]
    kinds: Mapping[str, str]  # of each column: "fact", "agreement" or ""
    links: Mapping[str, str]  # the table whose rows a column names
    rows: dict[str, Row] = field(default_factory=dict)

    def add(self, cells: Sequence[str]) -> None:
        """Add a row; WorldError if it does not fit."""
        if len(cells) != len(self.columns):
            raise WorldError(
                f"{len(cells)} cells, expected {len(self.columns)}: "
                + ", ".join(self.columns)
            )
        if not cells[0] or cells[0] in self.rows:
            raise WorldError(f"the name {cells[0]!r} is empty or taken")
        self.rows[cells[0]] = Row(self, dict(zip(self.columns, cells)))

    def blank(self, facts: Mapping[str, Iterable[str]]) -> "Table":
        """Return a table in which some cells of some rows are empty."""
        table = Table(self.name, self.columns, self.kinds, self.links)
        for name, columns in facts.items():
            for column in columns:
                if name not in self.rows or column not in self.columns[1:]:
                    raise WorldError(
                        f"{self.name}.csv has no {column!r} of {name!r}"
                    )
        for name, row in self.rows.items():
            gone = [*facts.get(name, ())]
            table.add(["" if c in gone else row[c] for c in self.columns])
        return table


Env = tuple[str, Row, "Env"] | None  # variables, the latest first
Stack = tuple["Node", "Stack"] | None  # what is still to be done
Said = tuple[str, str, Row | None, str]  # piece, kind, which cell it is
Step = tuple[Said | None, Env, Stack]
Weighed = Sequence[tuple[Any, float]]  # outcomes with their weights


def look(env: Env, name: str) -> Row | None:
    """Return the row that a variable is bound to, if any."""
    while env:
        if env[0] == name:
            return env[1]
        env = env[2]
    return None


def bound(env: Env, name: str) -> Row:
    """Return the row that a variable is bound to; WorldError if none."""
    row = look(env, name)
    if row is None:
        raise WorldError(f"nothing is bound to {name!r}")
    return row


@dataclass(frozen=True, eq=False)
class Node:
    """One instruction of a grammar; `where` is its file and line."""

    where: str

    def take(self, g: "Grammar", pick: Any, env: Env, rest: Stack) -> Step:
        """Do it, given the outcome picked if there is a choice."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Fork(Node):
    """A node with several outcomes; `uses` are variables that matter."""

    source: str  # as it is written

    @cached_property
    def uses(self) -> tuple[str, ...]:
        """The variables on which the outcomes depend."""
        raise NotImplementedError

    def weigh(self, g: "Grammar", env: Env) -> Weighed:
        """List the possible outcomes and their weights."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Grammar:
    """All tables and rules; texts begin with the rule `start`."""

    tables: Mapping[str, Table]
    rules: Mapping[str, "Rule"]
    start: str

    def linked(self, row: Row, column: str) -> Row:
        """Return the row of another table that a cell names."""
        table = row.table.links.get(column)
        if table is None:
            raise WorldError(
                f"{row.table.name}.csv: {column!r} names no row of a table"
            )
        return self.tables[table].rows[row[column]]

    @cached_property
    def variables(self) -> set[str]:
        """All names that are bound somewhere."""
        found = {n for r in self.rules.values() for n in r.parameters or ()}
        for rule in self.rules.values():
            nodes = inner_nodes(rule.choice)
            found |= {n.name for n in nodes if isinstance(n, (Draw, Let))}
        return found

    @cached_property
    def shut(self) -> set["Alternative"]:
        """The alternatives that need a row which no table has (any more)."""
        choices = [rule.choice for rule in self.rules.values()]
        nodes = [n for c in choices for n in (c, *inner_nodes(c))]
        ways = [
            w for n in nodes if isinstance(n, Choice) for w in n.alternatives
        ]
        shut: set[Alternative] = set()
        while more := {
            way
            for way in ways
            if way not in shut
            and not all(self.is_open(n, shut) for n in way.nodes)
        }:
            shut |= more
        return shut

    def is_open(self, node: Node, shut: Collection["Alternative"]) -> bool:
        """Tell whether a node can be done, whatever the variables are."""
        match node:
            case Call():
                return self.is_open(self.rules[node.rule].choice, shut)
            case Choice():
                return not all(way in shut for way in node.alternatives)
            case Draw(others=()) if self.variables.isdisjoint(node.uses):
                return bool(node.weigh(self, None))
        return True


@dataclass(frozen=True, eq=False)
class Literal(Node):
    """Prints a piece of text."""

    piece: str

    def take(self, g: Grammar, pick: Any, env: Env, rest: Stack) -> Step:
        """Print it."""
        return (self.piece, "text", None, ""), env, rest


@dataclass(frozen=True, eq=False)
class Alternative:
    """One way to go on: its weight, when it is open, and what to do."""

    weight: float
    guards: Sequence["Condition"]
    nodes: Sequence[Node]


@dataclass(frozen=True, eq=False)
class Choice(Fork):
    """Goes on in one of several ways: [a|b|2: c], or as a rule has it."""

    alternatives: Sequence[Alternative]

    @cached_property
    def uses(self) -> tuple[str, ...]:
        """The variables in the guards."""
        guards = [c for a in self.alternatives for c in a.guards]
        return tuple(sorted(names_in(guards)))

    def weigh(self, g: Grammar, env: Env) -> Weighed:
        """List the alternatives that are not closed."""
        return [
            (way, way.weight)
            for way in self.alternatives
            if way not in g.shut
            and all(guard.holds(g, env) for guard in way.guards)
        ]

    def take(self, g: Grammar, pick: Any, env: Env, rest: Stack) -> Step:
        """Put the alternative's nodes before what is still to do."""
        for node in reversed(pick.nodes):
            rest = node, rest
        return None, env, rest


@dataclass(frozen=True, eq=False)
class Rule:
    """A choice with a name; with parameters it has variables of its own."""

    parameters: tuple[str, ...] | None
    choice: Choice


@dataclass(frozen=True, eq=False)
class Call(Node):
    """Expands a rule: <market>, or <tells trade(p)>."""

    rule: str
    arguments: tuple[str, ...] | None

    def take(self, g: Grammar, pick: Any, env: Env, rest: Stack) -> Step:
        """Put the rule's choice, and perhaps a way back, before the rest."""
        rule = g.rules[self.rule]
        if rule.parameters is None or self.arguments is None:
            return None, env, (rule.choice, rest)
        inner: Env = None
        for parameter, argument in zip(rule.parameters, self.arguments):
            inner = parameter, bound(env, argument), inner
        return None, inner, (rule.choice, (Back(self.where, env), rest))


@dataclass(frozen=True)
class Back(Node):
    """Returns from a rule to the variables of its caller."""

    env: Env

    def take(self, g: Grammar, pick: Any, env: Env, rest: Stack) -> Step:
        """Forget the rule's variables."""
        return None, self.env, rest


def inner_nodes(choice: Choice) -> Iterator[Node]:
    """Yield all nodes in a choice, at any depth."""
    for node in (n for a in choice.alternatives for n in a.nodes):
        yield node
        if isinstance(node, Choice):
            yield from inner_nodes(node)


@dataclass(frozen=True)
class Term:
    """What is known of a variable's row: p, p.trade, p.home.colour."""

    name: str
    columns: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str) -> "Term":
        """Read it as it is written."""
        name, *columns = path.split(".")
        return cls(name, tuple(columns))

    def cell(self, g: Grammar, env: Env) -> tuple[Row, str]:
        """Return the row and column meant, or the first that is empty."""
        row = bound(env, self.name)
        *links, column = self.columns or row.table.columns[:1]
        for link in links:
            if not row[link]:
                return row, link
            row = g.linked(row, link)
        return row, column

    def value(self, g: Grammar, env: Env) -> str:
        """Return what stands in the cell."""
        row, column = self.cell(g, env)
        return row[column]


SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """A test: p.pet, not p.pet, p.he=she, n.value<10, q=r.home."""

    left: Term
    sign: str = ""  # "" asks whether anything is known
    right: str = ""  # another term if its variable is bound, else a word
    wanted: bool = True

    def holds(self, g: Grammar, env: Env) -> bool:
        """Tell whether it is true."""
        a, b, other = (
            self.left.value(g, env),
            self.right,
            Term.read(self.right),
        )
        if not self.sign:
            return bool(a) == self.wanted
        if look(env, other.name):
            b = other.value(g, env)
        pair = (number(a), number(b)) if self.sign[0] in "<>" else (a, b)
        return SIGNS[self.sign](*pair) == self.wanted


def number(cell: str) -> float:
    """Read a number; WorldError if it is none."""
    try:
        return float(cell)
    except ValueError:
        raise WorldError(f"expected a number, got {cell!r}") from None


def names_in(conditions: Iterable[Condition]) -> set[str]:
    """Return the variables that conditions may look at."""
    both = [(c.left.name, Term.read(c.right).name) for c in conditions]
    return {name for pair in both for name in pair if name}


def say(row: Row, column: str, kind: str) -> Said:
    """Print a cell, which must not be empty."""
    if not row[column]:
        raise WorldError(f"{row.table.name}.csv: {row.name} has no {column!r}")
    return row[column], kind, row, column


@dataclass(frozen=True, eq=False)
class Draw(Fork):
    """Draws a row and binds it: {p:person}, {let q:person not p}."""

    name: str
    table: str
    column: str  # what to print, "" for nothing
    kind: str = "new"
    others: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @cached_property
    def uses(self) -> tuple[str, ...]:
        """The variables in its conditions."""
        return tuple(sorted({*self.others} | names_in(self.conditions)))

    def weigh(self, g: Grammar, env: Env) -> Weighed:
        """List the rows that satisfy the conditions, and what each says."""
        others = [bound(env, name) for name in self.others]
        rows = [
            row
            for row in g.tables[self.table].rows.values()
            if row not in others
            and all(c.holds(g, ("", row, env)) for c in self.conditions)
        ]
        said = [
            say(row, self.column, self.kind) if self.column else None
            for row in rows
        ]
        weights = [number(row.cells.get("weight") or "1") for row in rows]
        return [*zip(zip(rows, said), weights)]

    def take(self, g: Grammar, pick: Any, env: Env, rest: Stack) -> Step:
        """Bind the row, and say what is to be said."""
        row, said = pick
        return said, (self.name, row, env), rest


@dataclass(frozen=True, eq=False)
class Show(Node):
    """Prints what is known of a row: {p}, {p.trade}, {p.home.colour}."""

    term: Term
    kind: str = ""  # "" leaves it to the column and the story so far

    def take(self, g: Grammar, pick: Any, env: Env, rest: Stack) -> Step:
        """Print the cell."""
        row, column = self.term.cell(g, env)
        return say(row, column, self.kind), env, rest


REACH: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}


@dataclass(frozen=True, eq=False)
class Let(Node):
    """Binds the row of a result: {let c = a + b}, {let c = a * 2}."""

    name: str
    a: str
    sign: str
    b: str

    def take(self, g: Grammar, pick: Any, env: Env, rest: Stack) -> Step:
        """Find the row of `number` with the result."""
        a, b = (
            number(x if x.isdigit() else bound(env, x)["value"])
            for x in (self.a, self.b)
        )
        result = REACH[self.sign](a, b)
        for row in g.tables["number"].rows.values():
            if number(row["value"]) == result:
                return None, (self.name, row, env), rest
        raise WorldError(
            f"number.csv has no row for {a:g} {self.sign} {b:g} = {result:g}"
        )
