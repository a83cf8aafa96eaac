#!/usr/bin/env python3
"""Try wrong answers to an exercise: is its grader worth its name?

Exercises are found in solutions/, their planted wrong answers in
tests/planted/ under the same name; slips are made by mutants.py. An answer
runs in this process, without a kernel, in the folder of the exercises.

    tools/answers.py 1.5 A.4     how many are caught, and which are not
    tools/answers.py --lines 1.5 what a reader is told, for the planted ones

Exit status: 0 if no planted answer passes, 1 if one does, 2 if an exercise
cannot be tried.
"""

import argparse
import io
import linecache
import os
import re
import runpy
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

import mutants
import strip
import weave
from lib.check import Result, run_check

Plan = str | tuple[str, str]  # a whole answer, or (old text, new text)
LINES = 100_000  # of the answer, that an answer may run
CELL = "<cell "  # how the name of a cell's file begins


class Endless(Exception):
    """An answer ran for longer than any right one would."""


# Finding


@cache
def solutions(stem: str, root: Path = weave.ROOT) -> NotebookNode:
    """Read a notebook of solutions."""
    return strip.read(root / "solutions" / f"{stem}.ipynb")


@cache
def exercises(stem: str, root: Path = weave.ROOT) -> dict[str, strip.Exercise]:
    """Return the exercises of a notebook, by the names of their checks."""
    return {e.name: e for e in strip.exercises_of(solutions(stem, root))}


@cache
def planted(stem: str, root: Path = weave.ROOT) -> dict[str, dict[str, Plan]]:
    """Return the wrong answers: for each check, by what is wrong."""
    path = root / "tests" / "planted" / f"{stem}.py"
    return runpy.run_path(str(path))["PLANTED"] if path.exists() else {}


@cache
def find(number: str, root: Path = weave.ROOT) -> tuple[str, str]:
    """Return notebook and check of an exercise such as 3.2 or A.4."""
    for path in sorted((root / "solutions").glob("*.ipynb")):
        for name, exercise in exercises(path.stem, root).items():
            if exercise.number == number:
                return path.stem, name
    raise ValueError(f"there is no exercise {number}")


# Running


@contextmanager
def limited(lines: int = LINES) -> Iterator[None]:
    """Raise Endless once that many lines of answers have run."""
    left = lines

    def on_line(frame: types.FrameType, event: str, arg: Any) -> Any:
        nonlocal left
        left -= event == "line"
        if left < 0:
            raise Endless(f"{lines} lines have run. Does a loop end?")
        return on_line

    def on_call(frame: types.FrameType, event: str, arg: Any) -> Any:
        is_answer = frame.f_code.co_filename.startswith(CELL)
        return on_line if is_answer else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)


def run_cell(source: str, names: dict[str, Any]) -> None:
    """Run a cell, without its magics; what it prints is not shown."""
    source = re.sub(r"^%.*$", "", source, flags=re.MULTILINE)
    file = f"{CELL}{hash(source)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        exec(compile(source, file, "exec", dont_inherit=True), names)


def is_code(cell: NotebookNode) -> bool:
    """Tell whether a cell is code, and not a check."""
    return cell.cell_type == "code" and not strip.CHECK.match(cell.source)


def is_left_out(cell: NotebookNode) -> bool:
    """Tell whether a cell only shows something about the solution."""
    return "solution" in strip.tags(cell) and not strip.REGION.search(
        cell.source
    )


@cache
def names_before(
    stem: str, root: Path = weave.ROOT
) -> dict[str, dict[str, Any]]:
    """Run the solutions; return the names that each exercise starts with."""
    names: dict[str, Any] = {"__name__": "__main__"}
    found = {}
    starts = {e.cells[0].id: key for key, e in exercises(stem, root).items()}
    for cell in solutions(stem, root).cells:
        if cell.id in starts:
            found[starts[cell.id]] = dict(names)
        if is_code(cell) and not is_left_out(cell):
            run_cell(cell.source, names)
    return found


def try_answer(
    stem: str, name: str, sources: list[str], root: Path = weave.ROOT
) -> Result:
    """Check an exercise, its answer cells replaced by these."""
    exercise = exercises(stem, root)[name]
    names = dict(names_before(stem, root)[name])
    waiting = list(sources)
    for cell in exercise.cells[:-1]:
        if any(cell is answer for answer in exercise.answers):
            run_cell(waiting.pop(0), names)
        elif is_code(cell) and not is_left_out(cell):
            run_cell(cell.source, names)
    return run_check(name, exercise.body, names)


def solution(stem: str, name: str, root: Path = weave.ROOT) -> list[str]:
    """Return the answer cells of an exercise."""
    return [cell.source for cell in exercises(stem, root)[name].answers]


def plant(cells: list[str], what: Plan) -> list[str]:
    """Return the answer cells with a wrong answer planted."""
    if isinstance(what, str):
        return [what] + [""] * (len(cells) - 1)
    old, new = what
    if (count := "\0".join(cells).count(old)) != 1:
        raise ValueError(f"{old!r} should occur once, and not {count} times")
    return [cell.replace(old, new) for cell in cells]


def slips(cells: list[str]) -> Iterator[tuple[mutants.Mutant, list[str]]]:
    """Yield each mutant of a solution, with the cells that hold it.

    Only what a reader has to write is changed.
    """
    for number, cell in enumerate(cells):
        lines: set[int] = set()
        for match in strip.REGION.finditer(cell):
            first, last = (cell.count("\n", 0, at) + 1 for at in match.span())
            lines.update(range(first, last + 1))
        for mutant in mutants.mutants(cell, lines):
            yield (
                mutant,
                [*cells[:number], mutant.source, *cells[number + 1 :]],
            )


def is_caught(
    stem: str, name: str, cells: list[str], root: Path = weave.ROOT
) -> bool:
    """Tell whether an answer fails, in its own cells or in the check."""
    try:
        with limited():
            return try_answer(stem, name, cells, root).status != "passed"
    except Exception:  # where the reader would see a traceback
        return True


# Judging a grader


@dataclass
class Trial:
    """What an exercise's check makes of wrong answers."""

    exercise: strip.Exercise
    lines: dict[str, Result]  # of the planted ones, by what is wrong
    tried: int = 0  # slips
    survivors: list[mutants.Mutant] = field(default_factory=list)

    @property
    def missed(self) -> list[str]:
        """The planted answers that are not caught."""
        return [t for t, r in self.lines.items() if r.status != "failed"]

    def __str__(self) -> str:
        caught = len(self.lines) - len(self.missed)
        killed = self.tried - len(self.survivors)
        said = (
            f"{self.exercise.number} {self.exercise.name}: caught {caught} of "
            f"{len(self.lines)} planted answers, {killed} of {self.tried} "
            "slips"
        )
        passes = [*self.missed, *map(str, self.survivors)]
        return "\n".join([said, *(f"  passes: {what}" for what in passes)])


def trial(stem: str, name: str, root: Path = weave.ROOT) -> Trial:
    """Plant all wrong answers of an exercise, and make all slips."""
    cells = solution(stem, name, root)
    found = Trial(exercises(stem, root)[name], {})
    for title, what in planted(stem, root).get(name, {}).items():
        answer = plant(cells, what)
        found.lines[title] = try_answer(stem, name, answer, root)
    for mutant, answer in slips(cells):
        found.tried += 1
        if not is_caught(stem, name, answer, root):
            found.survivors.append(mutant)
    return found


def main(argv: list[str] | None = None, root: Path = weave.ROOT) -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Judge graders.")
    parser.add_argument("exercise", nargs="+", help="such as 3.2 or A.4")
    parser.add_argument("--lines", action="store_true", help="what is said")
    args = parser.parse_args(argv)
    before, missed = Path.cwd(), 0
    os.chdir(root / "exercises")
    try:
        for number in args.exercise:
            found = trial(*find(number, root), root)
            print(found)
            for title, result in found.lines.items() if args.lines else ():
                print(f"  {title}\n    {result}")
            missed += len(found.missed)
    except (ValueError, strip.StripError) as error:
        print(f"answers: {error}", file=sys.stderr)
        return 2
    finally:
        os.chdir(before)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
