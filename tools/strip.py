#!/usr/bin/env python3
"""Make the exercises out of the solutions.

In solutions/NN_name.ipynb an exercise is a Markdown cell that begins

    ## Exercise 3.2: Attend

    *Section 3.4 · 10 minutes · a few lines*

then one or more code cells tagged `solution`, and a cell `%%check name`
tagged `check` and `hide-input`. In an answer, what stands between
`### BEGIN SOLUTION 3.4` and `### END SOLUTION` becomes
`raise NotImplementedError("reread section 3.4")`. Any other cell tagged
`solution` is left out: text that explains, code that shows off.

    tools/strip.py           write exercises/, run them, store the outputs
    tools/strip.py --check   fail if exercises/ is not what would be written
    tools/strip.py --force   replace answered notebooks too, keeping a copy

A notebook that holds answers of a reader's own is never overwritten: its
first cell carries a tag with the fingerprint of what was generated.
"""

import argparse
import ast
import hashlib
import itertools
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import nbformat
from nbformat import NotebookNode

import run
import weave

TITLE = re.compile(r"# Solutions to (?=chapter|appendix)")
HEADING = re.compile(
    r"## Exercise (\w+\.\d+): (.+)\n\n"
    r"\*(Sections? .+?) · (\d+) minutes · (.+)\*\n"
)
REGION = re.compile(
    r"^([ \t]*)### BEGIN SOLUTION\b[ \t]*(.*)\n(?:.*\n)*?"
    r"\1### END SOLUTION[ \t]*$",
    re.MULTILINE,
)
CHECK = re.compile(r"%%check (\w+)\s*\n")
MARK = "generated-"  # a tag: the fingerprint of a notebook's sources


class StripError(Exception):
    """Says in one line which cell of which notebook is wrong, and how."""


@dataclass
class Exercise:
    """A task, the cells that answer it, and the cell that checks it."""

    number: str
    title: str
    section: str
    minutes: int
    effort: str
    name: str = ""  # what its check is called
    answers: list[NotebookNode] = field(default_factory=list)
    check: NotebookNode | None = None
    cells: list[NotebookNode] = field(default_factory=list)  # up to the check

    @property
    def body(self) -> str:
        """The source of its check, without the first line."""
        source = self.check.source if self.check else ""
        return CHECK.sub("", source, count=1)


# Reading solutions


def read(path: Path) -> NotebookNode:
    """Read a notebook, or say that it can't be read."""
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # whatever a file may hold
        raise StripError(f"cannot be read: {error}") from None


def tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return list(cell.metadata.get("tags", []))


def exercises_of(book: NotebookNode) -> list[Exercise]:
    """Find the exercises of a solutions notebook, in order."""
    found: list[Exercise] = []
    for number, cell in enumerate(book.cells, 1):
        if cell.cell_type == "markdown" and "## Exercise " in cell.source:
            found.append(read_heading(number, cell))
        elif match := CHECK.match(cell.source):
            place_check(found, number, cell, match[1])
        if found and (cell is found[-1].check or not found[-1].check):
            found[-1].cells.append(cell)
            if REGION.search(cell.source) and cell.cell_type == "code":
                found[-1].answers.append(cell)
    for exercise in found:
        if not exercise.answers or not exercise.check:
            lacks = "check" if exercise.answers else "answer cell"
            raise StripError(f"exercise {exercise.number} has no {lacks}")
    return found


def read_heading(number: int, cell: NotebookNode) -> Exercise:
    """Begin an exercise with what its heading says."""
    if not (match := HEADING.match(cell.source + "\n")):
        raise StripError(
            f"cell {number}: expected '## Exercise 1.2: Title', an empty "
            "line, '*Section 1.4 · 5 minutes · a few lines*'"
        )
    count, title, section, minutes, effort = match.groups()
    return Exercise(count, title, section, int(minutes), effort)


def place_check(
    found: list[Exercise], number: int, cell: NotebookNode, name: str
) -> None:
    """Give a check to the exercise above it."""
    if not found or found[-1].check:
        raise StripError(f"cell {number}: check {name} has no exercise")
    if name in [exercise.name for exercise in found]:
        raise StripError(f"cell {number}: a second check is named {name}")
    if not {"check", "hide-input"} <= {*tags(cell)}:
        raise StripError(
            f"cell {number}: check {name} needs the tags check and hide-input"
        )
    found[-1].name, found[-1].check = name, cell


# Writing exercises


def strip_source(source: str) -> str:
    """Replace each solution region of a cell by a stub."""
    for match in REGION.finditer(source):
        if not re.match(r"\w+\.\d+", match[2]):
            raise StripError(
                f"'### BEGIN SOLUTION {match[2]}' should name the section to "
                "reread, as in '### BEGIN SOLUTION 1.4'"
            )
    stub = r'\1raise NotImplementedError("reread section \2")'
    text = REGION.sub(stub, source)
    if "### BEGIN SOLUTION" in text or "### END SOLUTION" in text:
        raise StripError(
            "expected '### BEGIN SOLUTION 1.4' and '### END SOLUTION' in "
            "pairs, equally far in"
        )
    tree = ast.parse(text)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    inside = {id(n) for function in functions for n in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and id(node) not in inside:
            raise StripError(
                "a solution must stand inside a function: elsewhere its stub "
                "would stop the notebook"
            )
    return text


def strip_cell(cell: NotebookNode) -> NotebookNode | None:
    """Return a cell as the reader gets it, or None if it is left out."""
    answer = "### BEGIN SOLUTION" in cell.source and cell.cell_type == "code"
    if answer and "solution" not in tags(cell):
        raise StripError("an answer needs the tag solution")
    if "solution" in tags(cell) and not answer:
        return None
    copy = nbformat.from_dict(cell)
    if answer:
        copy.source = strip_source(cell.source)
    return copy


def strip_book(book: NotebookNode) -> NotebookNode:
    """Return the exercises of a solutions notebook, not yet run."""
    exercises_of(book)
    if not TITLE.match(book.cells[0].source):
        raise StripError("cell 1: expected '# Solutions to chapter ...'")
    stripped = nbformat.v4.new_notebook()
    for number, cell in enumerate(book.cells, 1):
        try:
            copy = strip_cell(cell)
        except (StripError, SyntaxError) as error:
            raise StripError(f"cell {number}: {error}") from None
        if copy:
            stripped.cells.append(copy)
    title = stripped.cells[0]
    title.source = TITLE.sub("# Exercises for ", title.source)
    title.metadata["tags"] = [*tags(title), MARK + fingerprint(stripped)]
    return stripped


def fingerprint(book: NotebookNode) -> str:
    """Return a short hash of what stands in the cells of a notebook."""
    text = json.dumps([(c.cell_type, c.source) for c in book.cells])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def is_answered(old: NotebookNode, new: NotebookNode) -> bool:
    """Tell whether a notebook holds more than was once generated."""
    first = tags(old.cells[0]) if old.cells else []
    return bool(old.cells) and (
        MARK + fingerprint(old) not in first
        and fingerprint(old) != fingerprint(new)
    )


def first_difference(old: NotebookNode, new: NotebookNode) -> str:
    """Say in which cell two notebooks differ, or nothing."""

    def gist(cell: NotebookNode | None) -> tuple:
        if cell is None:
            return ()
        style = cell.metadata.get("mystnb", {})
        return cell.id, cell.cell_type, cell.source, tags(cell), style

    for number, cells in enumerate(zip_longest(old.cells, new.cells), 1):
        if gist(cells[0]) != gist(cells[1]):
            return f"cell {number}"
    return ""


def execute(book: NotebookNode, name: str, root: Path) -> str:
    """Run a notebook beside exercises/; return its normalised text."""
    with tempfile.TemporaryDirectory(dir=root, prefix=".strip-") as folder:
        path = Path(folder, name)
        nbformat.write(book, path)
        return run.execute(path)


def keep(path: Path, root: Path) -> Path:
    """Copy a reader's notebook to where nothing overwrites it."""
    (root / "kept").mkdir(exist_ok=True)
    numbers = itertools.count(1)
    names = (root / "kept" / f"{path.stem}-{n}.ipynb" for n in numbers)
    copy = next(name for name in names if not name.exists())
    return Path(shutil.copy2(path, copy))


# Going through the book


def write(name: str, new: NotebookNode, root: Path, force: bool) -> str:
    """Write one notebook of exercises, if need be; say what was done."""
    path = root / "exercises" / name
    said = ""
    if path.exists():
        old = read(path)
        if not force and not first_difference(old, new):
            return ""
        if is_answered(old, new):
            if not force:
                raise StripError(
                    "holds answers, so it is left as it is. `make exercises "
                    "FORCE=1` copies them into kept/ and writes it anew"
                )
            said = (
                f", your answers are in {keep(path, root).relative_to(root)}"
            )
    text = execute(new, name, root)
    path.parent.mkdir(exist_ok=True)
    weave.replace_file(path, text)
    return f"wrote exercises/{name}{said}"


def compare(name: str, new: NotebookNode, root: Path, force: bool) -> str:
    """Raise StripError where a notebook is not what would be written."""
    path = root / "exercises" / name
    if not path.exists():
        raise StripError("is missing. Run `make exercises`")
    old = read(path)
    if cell := first_difference(old, new):
        raise StripError(
            f"{cell} is not what solutions/{name} gives. Edit the solutions, "
            "then run `make exercises`"
        )
    return ""


def main(argv: list[str] | None = None, root: Path = weave.ROOT) -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Make the exercises.")
    parser.add_argument("--check", action="store_true", help="only compare")
    parser.add_argument("--force", action="store_true", help="write all anew")
    args = parser.parse_args(argv)
    act = compare if args.check else write
    solutions = sorted((root / "solutions").glob("*.ipynb"))
    failed = 0
    for path in solutions:
        shown = f"exercises/{path.name}"
        try:
            book = read(path)
            shown = f"solutions/{path.name}"
            new = strip_book(book)
            shown = f"exercises/{path.name}"
            said = act(path.name, new, root, args.force)
        except (StripError, *run.FAILURES) as error:
            print(f"strip: {shown}: {error}", file=sys.stderr)
            failed += 1
        else:
            print(said or f"{shown} is up to date")
    names = {path.name for path in solutions}
    for path in sorted((root / "exercises").glob("*.ipynb")):
        if path.name not in names:
            print(
                f"strip: exercises/{path.name} has no solutions",
                file=sys.stderr,
            )
            failed += 1
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
