#!/usr/bin/env python3
"""Grade a reader's exercises, and say what to do next.

Each notebook runs in a scratch copy with a time limit for every cell; a
loop that never ends is reported, and the other exercises of its notebook
are graded all the same. The checks are those of solutions/, whatever the
reader's copies of them say, and their results come back with the kernel's
reply, not out of what is printed.

    tools/grade.py                    all chapters
    tools/grade.py 1 3                chapters 1 and 3
    tools/grade.py --folder DIR       somebody's exercises, not exercises/
    tools/grade.py --markdown FILE    the same for a teacher; also --html FILE

Exit status: 0 if all exercises are passed, 1 if not, 2 if a notebook cannot
be read.
"""

import argparse
import ast
import html
import json
import os
import queue
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from nbformat import NotebookNode

import run
import strip
import weave

SECONDS_A_CELL = 30
SECONDS_TO_START = 60
SIGNS = {"passed": "✓", "failed": "✗", "open": "·", "endless": "∞"}
LEGEND = "✓ passed   ✗ wrong   · not answered   ∞ stuck"
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Exercises</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto }}
td {{ padding: 0.2em 1em 0.2em 0; vertical-align: top }}
</style>
{body}
</html>
"""


@dataclass
class Score:
    """What became of one exercise."""

    exercise: strip.Exercise
    status: str = ""  # "passed", "failed", "open" or "endless"
    message: str = ""
    stopped: str = ""  # the error that stopped one of its cells


@dataclass
class Sheet:
    """A reader's notebook with its scores."""

    stem: str
    title: str
    scores: list[Score]
    notes: list[str] = field(default_factory=list)
    is_broken: bool = False

    @property
    def passed(self) -> int:
        """The number of exercises that are passed."""
        return sum(score.status == "passed" for score in self.scores)

    @property
    def signs(self) -> str:
        """One sign for each exercise."""
        return "".join(SIGNS[score.status] for score in self.scores)


# Running a notebook


class Stuck(Exception):
    """A cell did not end in time, or took the kernel with it."""


class Kernel:
    """A kernel in a folder, to be thrown away when it gets stuck."""

    def __init__(self, folder: Path, limit: float) -> None:
        self.limit = limit
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(
            cwd=str(folder),
            env=os.environ | run.FIXED | {"PYTHONPATH": str(weave.ROOT)},
            extra_arguments=["--log-level=ERROR"],
        )
        self.client: BlockingKernelClient = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS_TO_START)

    def run(self, code: str, **expressions: str) -> dict[str, Any]:
        """Run code, then evaluate expressions; return the kernel's reply."""
        sent = self.client.execute(
            code,
            allow_stdin=False,
            user_expressions=expressions,
            stop_on_error=False,  # or what follows an error may be dropped
        )
        end = time.monotonic() + self.limit
        while time.monotonic() < end:
            try:
                reply = self.client.get_shell_msg(timeout=0.5)
            except queue.Empty:
                if not self.manager.is_alive():
                    raise Stuck("ended the kernel") from None
                continue
            if reply["parent_header"].get("msg_id") == sent:
                payload = reply["content"].get("payload", [])
                if any(part.get("source") == "ask_exit" for part in payload):
                    raise Stuck("ended the kernel")
                return reply["content"]
        raise Stuck(f"did not end within {self.limit:g} seconds")

    def check(self, exercise: strip.Exercise) -> tuple[str, str]:
        """Run a check; return its status and message.

        lib/check.py is run afresh, so that nothing depends on what the
        reader made of the imported module.
        """
        source = str(weave.ROOT / "lib" / "check.py")
        call = (
            "(lambda result: __import__('json').dumps("
            "[result.status, result.message]))"
            f"(__import__('runpy').run_path({source!r})['run_check']"
            f"({exercise.name!r}, {exercise.body!r}, "
            "__import__('IPython').get_ipython().user_ns))"
        )
        reply = self.run("", result=call)
        if "user_expressions" not in reply:
            raise Stuck(f"left a kernel that is {reply['status']!r}")
        found = reply["user_expressions"]["result"]
        if found["status"] != "ok":
            return "failed", f"{found['ename']}: {found['evalue']}"
        status, message = json.loads(
            ast.literal_eval(found["data"]["text/plain"])
        )
        return status, message

    def close(self) -> None:
        """Stop the kernel at once."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@dataclass
class Step:
    """A cell of the reader's, or the check of an exercise."""

    number: int  # In [number] when all is run from the top
    source: str
    score: Score | None  # of the exercise it belongs to, or stands before
    is_check: bool = False
    is_answer: bool = False

    def run(self, kernel: Kernel) -> None:
        """Run the cell, or the check if its exercise is not yet judged."""
        score = self.score
        if not self.is_check:
            reply = kernel.run(self.source)
            if score and reply["status"] == "error":
                text = re.sub(r"\(\d+\.py, ", "(", reply["evalue"])
                error = f"{reply['ename']}: {text}"
                score.stopped = f"In [{self.number}] stopped with {error}"
        elif score and not score.status:
            score.status, score.message = kernel.check(score.exercise)
            if score.status == "failed" and score.stopped:
                score.message = score.stopped

    def blame(self, reason: str) -> str:
        """Judge the exercise that got stuck; else return a note."""
        if self.score and (self.is_check or self.is_answer):
            cell = "a call in its check" if self.is_check else str(self)
            self.score.status = "endless"
            self.score.message = f"{cell} {reason}"
            return ""
        if self.score:
            self.score.stopped = f"{self} {reason}"
        return f"{self} {reason}; the rest is graded without it"

    def __str__(self) -> str:
        return f"In [{self.number}]"


def plan(book: NotebookNode, scores: list[Score]) -> list[Step]:
    """Return the reader's cells with the true checks in their places."""
    code = [c for c in book.cells if c.cell_type == "code"]
    code = [cell for cell in code if cell.source.strip()]
    answers = {c.id: s for s in scores for c in s.exercise.answers}
    by_name = {score.exercise.name: score for score in scores}
    steps: list[Step] = []
    for number, cell in enumerate(code, 1):
        if not cell.source.startswith("%%check"):
            owner = answers.get(cell.get("id"))
            step = Step(number, cell.source, owner, is_answer=bool(owner))
            steps.append(step)
            continue
        match = strip.CHECK.match(cell.source + "\n")
        score = by_name.pop(match[1], None) if match else None
        if score:
            steps.append(Step(number, "", score, is_check=True))
    steps += [Step(len(code), "", s, is_check=True) for s in by_name.values()]
    following = None
    for step in reversed(steps):
        following = step.score if step.is_check else following
        step.score = step.score or following
    return steps


def grade(
    sheet: Sheet, book: NotebookNode, folder: Path, limit: float
) -> None:
    """Run a notebook, without what gets stuck, until all is judged."""
    steps = plan(book, sheet.scores)
    stuck: Step | None = steps[0] if steps else None
    while stuck:
        kernel, stuck = Kernel(folder, limit), None
        try:
            for step in steps:
                stuck = step
                step.run(kernel)
            stuck = None
        except Stuck as error:
            if note := step.blame(str(error)):
                sheet.notes.append(note)
            steps.remove(step)
        finally:
            kernel.close()


# Going through the chapters


def copy_out(folder: Path, scratch: Path) -> Path:
    """Copy the reader's folder and what its notebooks may read."""
    ignore = shutil.ignore_patterns(".*")
    shutil.copytree(folder, scratch / "exercises", ignore=ignore)
    for name in ("data", "chapters"):
        if (weave.ROOT / name).exists():
            shutil.copytree(weave.ROOT / name, scratch / name, ignore=ignore)
    return scratch / "exercises"


def grade_all(
    folder: Path, chapters: list[str], limit: float, solutions: Path
) -> Iterator[Sheet]:
    """Grade a folder of notebooks, chapter by chapter."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = copy_out(folder, Path(scratch))
        for path in sorted(solutions.glob("*.ipynb")):
            if chapters and not is_chosen(path.stem, chapters):
                continue
            book = nbformat.read(path, as_version=4)
            scores = [Score(e) for e in strip.exercises_of(book)]
            sheet = Sheet(path.stem, title_of(book), scores)
            if answers := read_answers(copy / path.name, sheet):
                grade(sheet, answers, copy, limit)
            for score in scores:
                score.status = score.status or "open"
            yield sheet


def read_answers(path: Path, sheet: Sheet) -> NotebookNode | None:
    """Read a reader's notebook; note on the sheet why it can't be read."""
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        sheet.notes.append("is not there")
    except Exception as error:  # whatever a file may hold
        sheet.is_broken = True
        sheet.notes.append(f"cannot be read: {error}")
    return None


def title_of(book: NotebookNode) -> str:
    """Return a chapter's number and name, as in 3 Attention."""
    title = re.match(r"# Solutions to \w+ (.+)", book.cells[0].source)
    return title[1].replace(":", "", 1) if title else "?"


def is_chosen(stem: str, chapters: list[str]) -> bool:
    """Tell whether a notebook is of one of the chapters, as 3 or 03."""
    return any(stem.startswith(f"{c:0>2}_") or c in stem for c in chapters)


# Reporting


def table(sheets: list[Sheet]) -> list[tuple[str, str, str]]:
    """Return chapter, passed of total, and signs; the last row sums up."""
    passed = sum(sheet.passed for sheet in sheets)
    total = sum(len(sheet.scores) for sheet in sheets)
    rows = [
        (s.title, f"{s.passed} of {len(s.scores)}", s.signs) for s in sheets
    ]
    return [*rows, ("total", f"{passed} of {total}", "")]


def faults(sheets: list[Sheet]) -> list[str]:
    """Say all that is wrong, but not what has no answer yet."""
    lines = []
    for sheet in sheets:
        lines += [f"{sheet.stem}.ipynb: {note}" for note in sheet.notes]
        for score in sheet.scores:
            if score.status in ("failed", "endless"):
                exercise = score.exercise
                lines.append(
                    f"{SIGNS[score.status]} {exercise.number} "
                    f"{exercise.name}: {score.message}"
                )
    return lines


def advice(sheets: list[Sheet]) -> str:
    """Say what to do next."""
    for sheet in sheets:
        for score in sheet.scores:
            if score.status != "passed":
                todo = score.exercise
                return (
                    f"Next: exercise {todo.number}, {todo.title}, in "
                    f"{sheet.stem}.ipynb ({todo.minutes} minutes; "
                    f"{todo.section[0].lower()}{todo.section[1:]})"
                )
    return "All exercises are passed." if sheets else "No exercises found."


def as_text(sheets: list[Sheet]) -> str:
    """Report for a terminal."""
    rows = [("chapter", "passed", ""), *table(sheets)]
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    lines = [
        f"{name:{widths[0]}}  {passed:>{widths[1]}}  {signs}".rstrip()
        for name, passed, signs in rows
    ]
    parts = ["\n".join(lines), LEGEND, "\n".join(faults(sheets))]
    return "\n\n".join([part for part in parts if part] + [advice(sheets)])


def as_markdown(sheets: list[Sheet]) -> str:
    """Report for a teacher, in Markdown."""
    lines = [
        "# Exercises",
        "",
        "| chapter | passed | |",
        "| :-- | --: | :-- |",
    ]
    lines += [f"| {' | '.join(row)} |" for row in table(sheets)]
    lines += ["", LEGEND]
    for sheet in sheets:
        lines += ["", f"## {sheet.title}", ""]
        lines += [f"- {note}" for note in sheet.notes]
        lines += [
            "| exercise | | what the check said |",
            "| :-- | :-- | :-- |",
        ]
        for s in sheet.scores:
            said = s.message.replace("|", r"\|").replace("\n", " ")
            lines.append(
                f"| {s.exercise.number} {s.exercise.title} "
                f"| {SIGNS[s.status]} | {said} |"
            )
    return "\n".join([*lines, "", advice(sheets), ""])


def as_html(sheets: list[Sheet]) -> str:
    """Report for a teacher, as a page that stands alone."""

    def row(*cells: str) -> str:
        inner = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        return f"<tr>{inner}</tr>"

    body = ["<h1>Exercises</h1>", "<table>"]
    body += [row(*cells) for cells in table(sheets)]
    body += ["</table>", f"<p>{LEGEND}</p>"]
    for sheet in sheets:
        body.append(f"<h2>{html.escape(sheet.title)}</h2>")
        body += [f"<p>{html.escape(note)}</p>" for note in sheet.notes]
        body.append("<table>")
        for s in sheet.scores:
            name = f"{s.exercise.number} {s.exercise.title}"
            body.append(row(name, SIGNS[s.status], s.message))
        body.append("</table>")
    body.append(f"<p>{html.escape(advice(sheets))}</p>")
    return PAGE.format(body="\n".join(body))


def read_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Grade the exercises.")
    add = parser.add_argument
    add("chapter", nargs="*", help="such as 3; all chapters if none is given")
    add("--folder", type=Path, default=weave.ROOT / "exercises")
    add("--solutions", type=Path, default=weave.ROOT / "solutions")
    add("--limit", type=float, default=SECONDS_A_CELL, help="seconds a cell")
    add("--markdown", type=Path, metavar="FILE")
    add("--html", type=Path, metavar="FILE")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return the exit status."""
    args = read_arguments(argv)
    if not args.folder.is_dir():
        print(f"grade: there is no folder {args.folder}", file=sys.stderr)
        return 2
    sheets = list(
        grade_all(args.folder, args.chapter, args.limit, args.solutions)
    )
    print(as_text(sheets))
    for path, report in ((args.markdown, as_markdown), (args.html, as_html)):
        if path:
            path.write_text(report(sheets), encoding="utf-8")
    if any(sheet.is_broken for sheet in sheets) or not sheets:
        return 2
    return int(any(s.passed < len(s.scores) for s in sheets))


if __name__ == "__main__":
    sys.exit(main())
