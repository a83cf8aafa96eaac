"""Reads worlds: tables from CSV, rules from a page of plain text.

Woven from chapters/appendix_j_world.ipynb. Edit the chapter, then run `make
lib`.
"""

import csv
import graphlib
import io
import re
from collections.abc import Mapping

from lib.grammar import (
    Alternative,
    Call,
    Choice,
    Condition,
    Draw,
    Grammar,
    Let,
    Literal,
    Node,
    Rule,
    Show,
    Table,
    Term,
    WorldError,
    inner_nodes,
)

HEAD = re.compile(r"(\w+)(?::(\w+))?([!~]?)")
MARKS = {"!": "fact", "~": "agreement", "": ""}


def read_table(name: str, text: str) -> Table:
    """Read a table: a line of heads, then a line for each row."""
    lines = csv.reader(io.StringIO(text))
    heads = [HEAD.fullmatch(head.strip()) for head in next(lines, [""])]
    if None in heads:
        raise WorldError(
            f"{name}.csv, line 1: expected column heads such as name, "
            "trade!, he~ or home:place"
        )
    found = [match.groups() for match in heads if match]
    kinds = {column: MARKS[mark] for column, _, mark in found}
    links = {column: link for column, link, _ in found if link}
    table = Table(name, [*kinds], kinds, links)
    for cells in filter(None, lines):
        try:
            table.add([cell.strip() for cell in cells])
        except WorldError as error:
            at = f"{name}.csv, line {lines.line_num}"
            raise WorldError(f"{at}: {error}") from None
    return table


def check_links(tables: Mapping[str, Table]) -> None:
    """See that every cell of a link names a row."""
    for table in tables.values():
        for column, link in table.links.items():
            if link not in tables:
                raise WorldError(
                    f"{table.name}.csv, line 1: there is no {link}.csv"
                )
            for row in table.rows.values():
                if row[column] and row[column] not in tables[link].rows:
                    raise WorldError(
                        f"{table.name}.csv: {row.name}'s {column} is "
                        f"{row[column]!r}, which {link}.csv does not have"
                    )


NAME = r"[A-Za-z_]\w*"
PATH = rf"{NAME}(?:\.\w+)*"
TOKEN = re.compile(r"\{[^{}]*\}|<[^<>]*>|[^][|{}<>]+|.")
RULE = re.compile(r"([^()<>{}\[\]|]+?)\s*(?:\(([\w\s,]*)\))?")
CONDITION = re.compile(rf"(not )?({PATH})\s*(?:(!=|[<>]=?|=)\s*(.+))?")
DRAW = re.compile(rf"(let )?({NAME}):(\w+)(?:\.(\w+))?(?:/(\w+))?(?:\s+(.+))?")
LET_NAME = re.compile(rf"\{{let ({NAME}) =")
LET = re.compile(rf"let ({NAME}) = (\w+) ([-+*]) (\w+)")
SHOW = re.compile(rf"({PATH})(?:/(\w+))?")
LINE_WEIGHT = re.compile(r"(\d+(?:\.\d+)?)  (?=\S)")
WEIGHT = re.compile(r"\s*(\d+(?:\.\d+)?): ")
KINDS = ["text", "wording", "new", "memory", "agreement", "fact", "reckoning"]


def read_weight(text: str, pattern: re.Pattern[str]) -> tuple[float, str]:
    """Take the weight off the beginning of a text, 1 where there is none."""
    match = pattern.match(text)
    if not match:
        return 1.0, text
    if not float(match[1]):
        raise WorldError(f"the weight of {text!r} is 0")
    return float(match[1]), text[match.end() :]


def parameters(text: str | None) -> tuple[str, ...] | None:
    """Read the names between parentheses."""
    if text is None:
        return None
    names = tuple(text.replace(",", " ").split())
    for name in names:
        if not re.fullmatch(NAME, name):
            raise WorldError(f"{name!r} is no variable's name")
    return names


class Reader:
    """Reads the alternatives of one rule."""

    def __init__(
        self, tables: Mapping[str, Table], reckoned: set[str]
    ) -> None:
        self.tables = tables
        self.reckoned = reckoned
        self.where = ""
        self.tokens: list[str] = []

    def line(self, where: str, line: str) -> Alternative:
        """Read the alternative on a line."""
        self.where = where
        weight, line = read_weight(line, LINE_WEIGHT)
        self.tokens = TOKEN.findall(line)[::-1]
        found = self.alternative(weight)
        if self.tokens:
            raise WorldError(f"{self.tokens[-1]!r} closes or parts nothing")
        return found

    def alternative(self, weight: float) -> Alternative:
        """Read up to the end, a | or a ]."""
        guards: list[Condition] = []
        nodes: list[Node] = []
        while self.tokens and self.tokens[-1] not in ("|", "]"):
            token = self.tokens.pop()
            if token == "[":
                nodes.append(self.choice())
            elif token.startswith("{if "):
                if nodes:
                    raise WorldError(f"{token} must begin its alternative")
                guards.append(self.condition(token[4:-1].strip()))
            elif token[:1] == "{" and token != "{":
                nodes.append(self.braces(token[1:-1].strip()))
            elif token[:1] == "<" and token != "<":
                nodes.append(self.call(token[1:-1].strip()))
            elif token in ("{", "}", "<", ">"):
                raise WorldError(f"{token!r} has no partner")
            elif token and (nodes or token.strip() or not guards):
                piece = re.sub(r"(?<!\S)/(?!\S)", "\n", token)
                nodes.append(Literal(self.where, piece))
        return Alternative(weight, tuple(guards), tuple(nodes))

    def choice(self) -> Choice:
        """Read the alternatives of a choice, after its [."""
        found, mark = [], "|"
        source = "[" + "".join(self.tokens[:-4:-1])
        while mark == "|":
            weight = 1.0
            if self.tokens:
                weight, self.tokens[-1] = read_weight(self.tokens[-1], WEIGHT)
            found.append(self.alternative(weight))
            if not self.tokens:
                raise WorldError("'[' has no partner")
            mark = self.tokens.pop()
        return Choice(self.where, source, found)

    def call(self, inside: str) -> Call:
        """Read <market> or <tells trade(p)>."""
        match = RULE.fullmatch(inside)
        if not match:
            raise WorldError(f"<{inside}>: expected a rule")
        return Call(self.where, match[1], parameters(match[2]))

    def condition(self, text: str, row: bool = False) -> Condition:
        """Read a guard, or what follows `where`, about the row drawn."""
        match = CONDITION.fullmatch(text)
        if not match:
            raise WorldError(f"{text!r}: expected a condition such as p.pet")
        no, left, sign, right = match.groups()
        left = Term.read(f".{left}" if row else left)
        return Condition(left, sign or "", right or "", not no)

    def braces(self, inside: str) -> Node:
        """Read what is bound, drawn or shown."""
        if match := LET.fullmatch(inside):
            return Let(self.where, *match.groups())
        if match := DRAW.fullmatch(inside):
            return self.draw(match)
        if match := SHOW.fullmatch(inside):
            found = Term.read(match[1])
            kind = "reckoning" if found.name in self.reckoned else ""
            return Show(self.where, found, self.kind(match[2] or kind))
        raise WorldError(
            f"{{{inside}}}: expected p, p.trade, p:person or let c = a + b"
        )

    def kind(self, kind: str) -> str:
        """Check the name of a kind."""
        if kind and kind not in KINDS:
            raise WorldError(f"kind {kind!r}, expected {', '.join(KINDS)}")
        return kind

    def draw(self, match: re.Match[str]) -> Draw:
        """Read a draw, conditions and all."""
        let, name, table, column, kind, rules = match.groups()
        if table not in self.tables:
            raise WorldError(f"there is no {table}.csv")
        columns = self.tables[table].columns
        others, conditions = self.conditions(rules or "")
        for needed in (column, *(c.left.columns[0] for c in conditions)):
            if needed and needed not in columns:
                raise WorldError(f"{table}.csv has no column {needed!r}")
        column = "" if let else column or columns[0]
        said = name, table, column, self.kind(kind or "new")
        return Draw(self.where, match[0], *said, others, conditions)

    def conditions(
        self, text: str
    ) -> tuple[tuple[str, ...], tuple[Condition, ...]]:
        """Read what follows a draw's class: not p, where trade=cooper."""
        others: list[str] = []
        found: list[Condition] = []
        for part in re.split(r"\s+(?=where |(?<!where )not )", text):
            word, _, rest = part.partition(" ")
            if word == "where":
                found.append(self.condition(rest.strip(), row=True))
            elif word == "not":
                others += parameters(rest) or ()
            elif part:
                raise WorldError(f"{part!r}: expected 'not' or 'where'")
        return tuple(others), tuple(found)


Line = tuple[str, str]  # where it stands, and what stands there


def read_lines(text: str) -> list[list[Line]]:
    """Part a page into rules, each a head followed by alternatives."""
    rules: list[list[Line]] = []
    for n, line in enumerate(text.splitlines(), 1):
        where, body = f"stories.txt, line {n}", line.strip()
        indent = len(line) - len(line.lstrip())
        if not body or body.startswith("#"):
            continue
        if not indent:
            rules.append([(where, body)])
        elif indent == 2 and rules:
            rules[-1].append((where, body))
        elif indent > 2 and rules and len(rules[-1]) > 1:
            first, begun = rules[-1].pop()
            rules[-1].append((first, f"{begun} {body}"))
        else:
            raise WorldError(
                f"{where}: indented by {indent}, expected 0 for a rule's "
                "name, 2 for an alternative, or more to continue one"
            )
    return rules


def read_rule(
    lines: list[Line], tables: Mapping[str, Table]
) -> tuple[str, Rule]:
    """Read a rule; return its name and what it is."""
    (where, head), *rest = lines
    match = RULE.fullmatch(head)
    if not match or not rest:
        raise WorldError(
            f"{where}: {head!r}, expected a rule's name, such as market or "
            "tells trade(p), and below it alternatives indented by 2"
        )
    sums = {name for _, line in rest for name in LET_NAME.findall(line)}
    reader = Reader(tables, sums)
    found = []
    for at, line in rest:
        try:
            found.append(reader.line(at, line))
        except WorldError as error:
            raise WorldError(f"{at}: {error}") from None
    return match[1], Rule(parameters(match[2]), Choice(where, head, found))


def read_grammar(files: Mapping[str, str]) -> Grammar:
    """Read a world's files, given as texts by name."""
    names = [name[:-4] for name in files if name.endswith(".csv")]
    tables = {name: read_table(name, files[f"{name}.csv"]) for name in names}
    check_links(tables)
    rules: dict[str, Rule] = {}
    for lines in read_lines(files["stories.txt"]):
        name, rule = read_rule(lines, tables)
        if name in rules:
            raise WorldError(f"{lines[0][0]}: a second rule {name!r}")
        rules[name] = rule
    if not rules:
        raise WorldError("stories.txt: there is no rule")
    check_calls(rules)
    grammar = Grammar(tables, rules, next(iter(rules)))
    for node in (n for r in rules.values() for n in inner_nodes(r.choice)):
        if isinstance(node, Draw) and not grammar.is_open(node, ()):
            raise WorldError(
                f"{node.where}: no row of {node.table}.csv for {node.source}"
            )
    return grammar


def check_calls(rules: Mapping[str, Rule]) -> None:
    """See that what is called exists, and that something gets printed."""
    for rule in rules.values():
        for node in inner_nodes(rule.choice):
            if isinstance(node, Call):
                wanted = rules.get(node.rule)
                if wanted is None:
                    raise WorldError(f"{node.where}: no rule {node.rule!r}")
                if size(wanted.parameters) != size(node.arguments):
                    raise WorldError(
                        f"{node.where}: {node.rule!r} with {node.arguments}, "
                        f"expected as many as {wanted.parameters}"
                    )
    firsts = {name: first_calls(rule.choice) for name, rule in rules.items()}
    try:
        graphlib.TopologicalSorter(firsts).prepare()
    except graphlib.CycleError as error:
        circle = " begins with ".join(error.args[1][::-1])
        raise WorldError(f"stories.txt: {circle}, without end") from None


def size(names: tuple[str, ...] | None) -> int:
    """Count names, telling none from no parentheses."""
    return -1 if names is None else len(names)


def is_silent(node: Node) -> bool:
    """Tell whether a node may print nothing at all."""
    match node:
        case Literal():
            return not node.piece.strip()
        case Choice():
            return any(all(map(is_silent, a.nodes)) for a in node.alternatives)
        case Draw():
            return not node.column
    return isinstance(node, Let)


def first_calls(choice: Choice) -> set[str]:
    """Return the rules that a choice may call before it prints."""
    found: set[str] = set()
    for alternative in choice.alternatives:
        for node in alternative.nodes:
            if isinstance(node, Call):
                found.add(node.rule)
            if isinstance(node, Choice):
                found |= first_calls(node)
            if not is_silent(node):
                break
    return found
