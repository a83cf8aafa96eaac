"""The grader of whole notebooks: fair, hard to fool, never waiting long."""

import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import grade
import strip

ROOT = Path(__file__).resolve().parents[1]
TASK = (
    "## Exercise 1.{n}: {name}\n\n*Section 1.{n} · 5 minutes · a line*\n\nDo."
)
ANSWER = """def {name}(x):
    ### BEGIN SOLUTION 1.{n}
    return {result}
    ### END SOLUTION"""
CHECK = "%%check {name}\nequal({name}(3), {expected}, 'Think again.')"
WORK = (("double", "2 * x", 6), ("square", "x * x", 9), ("next", "x + 1", 4))


def solutions() -> nbformat.NotebookNode:
    cells = [
        new_markdown_cell("# Solutions to chapter 1: Small"),
        new_code_cell("%load_ext lib.check"),
    ]
    for n, (name, result, expected) in enumerate(WORK, 1):
        words = {"n": n, "name": name, "result": result, "expected": expected}
        tagged = {"tags": ["check", "hide-input"]}
        cells += [
            new_markdown_cell(TASK.format(**words)),
            new_code_cell(
                ANSWER.format(**words), metadata={"tags": ["solution"]}
            ),
            new_code_cell(CHECK.format(**words), metadata=tagged),
        ]
    return new_notebook(cells=cells)


class Desk:
    """A folder of solutions, and a reader's exercises."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("solutions", "exercises"):
            (root / name).mkdir()
        self.book = solutions()
        nbformat.write(self.book, root / "solutions/01_small.ipynb")

    def answer(self, name: str, source: str) -> None:
        """Put a source where the answer to an exercise stands."""
        for cell in self.book.cells:
            if cell.source.startswith(f"def {name}("):
                cell.source = source

    def grade(self, *arguments: str) -> int:
        path = self.root / "exercises/01_small.ipynb"
        nbformat.write(self.book, path)
        return grade.main(
            [
                f"--folder={self.root / 'exercises'}",
                f"--solutions={self.root / 'solutions'}",
                "--limit=4",
                *arguments,
            ]
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_untouched_exercises_score_nothing(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.book = strip.strip_book(desk.book)
    assert desk.grade() == 1
    said = capsys.readouterr().out
    assert "1 Small  0 of 3  ···\n" in said
    assert "Next: exercise 1.1, double, in 01_small.ipynb (5 minutes" in said


def test_solutions_score_all(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.grade() == 0
    said = capsys.readouterr().out
    assert "1 Small  3 of 3  ✓✓✓\n" in said
    assert said.endswith("All exercises are passed.\n")


def test_wrong_answers_are_told_with_a_hint(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.answer("double", "def double(x):\n    return x + x + 1")
    desk.answer("square", "def square(x):\n    return x / 0")
    desk.answer("next", "def next(x) return x + 1")
    assert desk.grade() == 1
    said = capsys.readouterr().out
    assert "✗ 1.1 double: 7, expected 6. Think again.\n" in said
    assert "ZeroDivisionError: division by zero, in line 2" in said
    assert "✗ 1.3 next: In [6] stopped with SyntaxError: expected" in said
    assert "(line 1)\n" in said


def test_endless_loops_are_reported_and_not_waited_for(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """One in a function, one that holds on, in a cell of the reader's."""
    desk.answer("double", "def double(x):\n    while True:\n        pass")
    stubborn = (
        "while True:\n    try:\n        while True: pass\n    except: pass"
    )
    desk.answer("square", f"def square(x): return 9\n{stubborn}")
    assert desk.grade() == 1
    said = capsys.readouterr().out
    assert "1 Small  1 of 3  ∞∞✓\n" in said
    assert "∞ 1.1 double: a call in its check did not end within 4" in said
    assert "∞ 1.2 square: In [4] did not end within 4 seconds\n" in said


def test_an_endless_cell_of_unknown_id_is_told_too(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.answer("square", "def square(x): return 9\nwhile True: pass")
    for number, cell in enumerate(desk.book.cells):
        cell.id = f"new-{number}"
    assert desk.grade() == 1
    said = capsys.readouterr().out
    assert "1 Small  2 of 3  ✓✗✓\n" in said
    assert "✗ 1.2 square: In [4] did not end within 4 seconds\n" in said


@pytest.mark.parametrize("end", ["exit()", "import os\nos._exit(0)"])
def test_a_kernel_that_ends_is_reported(
    desk: Desk, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    desk.book.cells.insert(2, new_code_cell(end))
    desk.answer("square", "def square(x):\n    return 8")
    assert desk.grade() == 1
    said = capsys.readouterr().out
    assert "01_small.ipynb: In [2] ended the kernel" in said
    assert "1 Small  2 of 3  ✓✗✓\n" in said


def test_it_is_not_fooled(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not by printed ticks, edited checks, or names taken away."""
    trick = """print("✓ double")
def equal(*anything): pass
def close(*anything): pass
import lib.check
lib.check.run_check = lambda name, *rest: lib.check.Result(name, "passed")
lib.check.equal = lib.check.VOCABULARY["equal"] = equal
def double(x): return 0"""
    desk.answer("double", trick)
    desk.answer("square", "def square(x): return 0")
    desk.book.cells[7].source = "%%check square\nprint('✓ square')"
    desk.book.cells[10].source = "%%check other\nequal(1, 1)"
    desk.answer("next", "def next(x): return 0")
    for cell in desk.book.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                nbformat.v4.new_output("stream", text="✓ double\n✓ square\n")
            ]
    assert desk.grade() == 1
    assert "1 Small  0 of 3  ✗✗✗\n" in capsys.readouterr().out


def test_a_reader_may_move_cells_and_lose_ids(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.book.cells += [new_code_cell("1 / 0"), new_code_cell("x = 1")]
    del desk.book.cells[4]  # the first check
    for number, cell in enumerate(desk.book.cells):
        cell.id = f"new-{number}"
    assert desk.grade() == 0
    assert "3 of 3" in capsys.readouterr().out


def test_stored_outputs_do_not_count_and_nothing_is_written(
    desk: Desk,
) -> None:
    desk.answer("next", "open('note.txt', 'w')\ndef next(x): return x + 1")
    desk.grade()
    files = {path.name for path in (desk.root / "exercises").iterdir()}
    assert files == {"01_small.ipynb"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": 3}', "no json"])
def test_a_broken_notebook_is_2(
    desk: Desk, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    folder = desk.root / "broken"
    folder.mkdir()
    (folder / "01_small.ipynb").write_text(text)
    assert desk.grade(f"--folder={folder}") == 2
    assert "01_small.ipynb: cannot be read" in capsys.readouterr().out


def test_a_missing_notebook_and_a_missing_folder(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk.root / "empty").mkdir()
    assert desk.grade(f"--folder={desk.root / 'empty'}") == 1
    assert "01_small.ipynb: is not there" in capsys.readouterr().out
    assert desk.grade(f"--folder={desk.root / 'nowhere'}") == 2
    assert "there is no folder" in capsys.readouterr().err


def test_reports_for_a_teacher(desk: Desk) -> None:
    desk.answer("square", "def square(x): return '<b>|'")
    pages = {
        name: desk.root / f"report.{name}" for name in ("markdown", "html")
    }
    options = [f"--{name}={path}" for name, path in pages.items()]
    assert desk.grade(*options) == 1
    text = pages["markdown"].read_text(encoding="utf-8")
    assert "| 1 Small | 2 of 3 | ✓✗✓ |" in text
    assert "| 1.2 square | ✗ | '<b>\\|' is of type str, expected int" in text
    page = pages["html"].read_text(encoding="utf-8")
    assert "<td>1 Small</td><td>2 of 3</td>" in page
    assert "&lt;b&gt;|" in page and "<b>" not in page


def test_the_books_own_exercises(capsys: pytest.CaptureFixture[str]) -> None:
    """All solutions pass; no exercise is answered in what is generated."""
    total = sum(
        len(strip.exercises_of(nbformat.read(path, as_version=4)))
        for path in (ROOT / "solutions").glob("*.ipynb")
    )
    assert grade.main([f"--folder={ROOT / 'solutions'}"]) == 0
    assert f"{total} of {total}" in capsys.readouterr().out
    assert grade.main([]) == 1
    assert f"0 of {total}" in capsys.readouterr().out


def test_one_chapter_can_be_chosen(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.grade("2") == 2
    assert capsys.readouterr().out.endswith("No exercises found.\n")
    assert json.dumps(desk.grade("1")) == "0"
