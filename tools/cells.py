"""Read the code cells of chapters and take the exported ones apart.

weave.py says what an exported cell may hold.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

DIRECTIVE = re.compile(r"#\| export ([a-z]\w*)( replace)?\s*$")
AFTER = re.compile(r"#\| after (\w+)\s*$", re.MULTILINE)
MAIN = "__name__ == '__main__'"  # and more, where a notebook must not run it
MAGIC = re.compile(r"^[ \t]*[%!].*$", re.MULTILINE)
Imports = dict[str, set[str]]  # the lines that bind each name


class WeaveError(Exception):
    """Says in one line which cell is wrong, and how."""


@dataclass(frozen=True)
class Cell:
    """A code cell, with the number that running the notebook gives it."""

    chapter: str  # its place among the chapters, see `place_of`
    number: int
    source: str

    def __str__(self) -> str:
        return f"{file_of(self.chapter)} [{self.number}]"


@dataclass(eq=False)
class Part:
    """A definition with the comments around it; only a class has a body.

    The purpose of a module is a part as well; it defines `__doc__`.
    """

    names: list[str]
    cells: list[Cell]
    since: str  # the chapter that first defined it
    head: str
    body: dict[str, str] = field(default_factory=dict)
    reopens: bool = False

    @property
    def text(self) -> str:
        """The source of the whole definition."""
        return self.head + "".join(self.body.values())

    def user_of(self, name: str) -> Cell:
        """Return the first of its cells that mentions a name."""
        word = re.compile(rf"\b{re.escape(name)}\b")
        return next(
            (c for c in self.cells if word.search(c.source)), self.cells[0]
        )


def file_of(place: str) -> str:
    """Name the notebook that stands at a place."""
    return f"chapters/{place.rpartition('~')[2]}.ipynb"


def read_sources(path: Path) -> list[str]:
    """Read the code cells of a notebook, without the empty ones."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    return [source for source in code if source.strip()]


def place_of(path: Path, below: tuple[str, ...] = ()) -> str:
    """Tell where a chapter stands in the order of the library: at its name.

    An appendix whose first code cell begins `#| after 02_text` stands there,
    so chapters from 03 on may import what it exports. It may stand after
    another appendix as well. below: those that stand after this one.
    """
    sources = read_sources(path)
    match = AFTER.match(sources[0]) if sources else None
    if not match:
        return path.stem
    said = f"chapters/{path.name}: {match[0]}"
    if not (before := path.with_stem(match[1])).exists():
        raise WeaveError(f"{said}: there is no chapters/{match[1]}.ipynb")
    if match[1] in (path.stem, *below):
        raise WeaveError(f"{said}: that one stands after this one")
    return f"{place_of(before, (path.stem, *below))}~{path.stem}"


def read_cells(path: Path) -> list[Cell]:
    """Read the code cells of a notebook, each with its place and number."""
    place = place_of(path)
    return [Cell(place, n, s) for n, s in enumerate(read_sources(path), 1)]


def read_directive(cell: Cell) -> tuple[str, bool] | None:
    """Tell which module a cell goes to, if any, and whether it replaces."""
    source = AFTER.sub("", cell.source) if cell.number == 1 else cell.source
    marks = re.findall(r"^#\|.*", source, re.MULTILINE)
    if not marks:
        return None
    match = DIRECTIVE.match(cell.source.splitlines()[0])
    if not match or len(marks) > 1:
        raise WeaveError(
            f"{cell}: '{marks[-1]}' is not '#| export MODULE' or "
            "'#| export MODULE replace' on the cell's first line"
        )
    return match[1], bool(match[2])


def read_imports(cells: list[Cell]) -> Imports:
    """Gather the imports at the top level of the cells."""
    imports: Imports = {}
    for cell in cells:
        for node in parse_loosely(cell.source):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            for alias in node.names:
                line = f"import {ast.unparse(alias)}"
                if isinstance(node, ast.ImportFrom):
                    line = f"from {node.module} {line}"
                name = alias.asname or alias.name.split(".")[0]
                imports.setdefault(name, set()).add(line)
    return imports


def parse_loosely(source: str) -> list[ast.stmt]:
    """Parse a cell without its magics; give up on what is not Python."""
    for text in (source, MAGIC.sub("", source)):
        try:
            return ast.parse(text).body
        except SyntaxError:
            continue
    return []


def read_parts(cell: Cell) -> Iterator[Part]:
    """Yield the parts that an exported cell defines."""
    try:
        nodes = ast.parse(cell.source).body
    except SyntaxError as error:
        raise WeaveError(f"{cell}: {error.msg}, line {error.lineno}") from None
    lines = ["", *cell.source.splitlines()[1:]]  # without the directive
    kept = []
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for n in range(node.lineno - 1, node.end_lineno or 0):
                lines[n] = ""
        else:
            kept.append(node)
    for node, first, last in share_lines(kept, 1, len(lines)):
        names = defined_names(node)
        if not names or ("__doc__" in names and node is not nodes[0]):
            raise WeaveError(
                f"{cell}: exports '{ast.unparse(node).splitlines()[0]}', "
                "which is no definition, constant or import"
            )
        part = Part(names, [cell], cell.chapter, join(lines, first, last))
        if isinstance(node, ast.ClassDef):
            split_class(part, node, lines, first, last)
        yield part


def split_class(
    part: Part, node: ast.ClassDef, lines: list[str], first: int, last: int
) -> None:
    """Part a class into its head and the members of its body."""
    part.reopens = node.name in map(ast.unparse, node.bases)
    if part.reopens:
        check_reopening(part.cells[0], node)
        inner = node.lineno + 1
    else:
        decorators = getattr(node.body[0], "decorator_list", [])
        inner = min(n.lineno for n in (node.body[0], *decorators))
    part.head = join(lines, first, inner - 1)
    for member, start, end in share_lines(node.body, inner, last):
        key = " ".join(defined_names(member)) or f"line {start}"
        part.body[key] = part.body.get(key, "") + join(lines, start, end)


def check_reopening(cell: Cell, node: ast.ClassDef) -> None:
    """Refuse what would mean something else in the woven class."""
    members = [name for n in node.body for name in defined_names(n)]
    if (
        len(node.bases) > 1
        or node.keywords
        or node.decorator_list
        or node.body[0].lineno == node.lineno
        or len(members) < len(node.body)
        or "__doc__" in members
        or any(getattr(n, "id", "") == "super" for n in ast.walk(node))
    ):
        raise WeaveError(
            f"{cell}: class {node.name}({node.name}) may add only methods and "
            "attributes: no base, decorator, docstring or super()"
        )


def share_lines(
    body: list[ast.stmt], first: int, last: int
) -> Iterator[tuple[ast.stmt, int, int]]:
    """Share out lines: a comment goes to the statement below it, if any."""
    for node in body:
        end = last if node is body[-1] else node.end_lineno or last
        yield node, first, end
        first = end + 1


def join(lines: list[str], first: int, last: int) -> str:
    """Return the text of some lines, counted from 1."""
    return "".join(line + "\n" for line in lines[first - 1 : last])


def defined_names(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines, if that is all it does."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Assign():
            each = [getattr(t, "elts", [t]) for t in node.targets]
            names = [getattr(t, "id", "") for elts in each for t in elts]
            return names if all(names) else []
        case ast.Expr(value=ast.Constant(value=str())):
            return ["__doc__"]
        case ast.If() if ast.unparse(node.test).startswith(MAIN):
            return ["__main__"]
    return []
