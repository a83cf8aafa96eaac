"""Making exercises: nothing of the solution stays, no answer is lost."""

from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import run
import strip
import weave

HEADING = "## Exercise 1.1: Twice\n\n*Section 1.4 · 5 minutes · a line*\n\nDo."
ANSWER = """def twice(x: int) -> int:
    \"\"\"Return 2 x.\"\"\"
    ### BEGIN SOLUTION 1.4
    y = x + x
    return y
    ### END SOLUTION"""
STUB = """def twice(x: int) -> int:
    \"\"\"Return 2 x.\"\"\"
    raise NotImplementedError("reread section 1.4")"""
CHECK = "%%check twice\nequal(twice(2), 4, 'Add.')"


def code(source: str, *tags: str) -> NotebookNode:
    return new_code_cell(source, metadata={"tags": list(tags)})


def solutions(**changes: NotebookNode) -> NotebookNode:
    cells = {
        "title": new_markdown_cell("# Solutions to chapter 1: Small"),
        "setup": code("X = 1"),
        "task": new_markdown_cell(HEADING),
        "answer": code(ANSWER, "solution"),
        "check": code(CHECK, "check", "hide-input"),
        "why": new_markdown_cell("**Why.**", metadata={"tags": ["solution"]}),
        "show": code("print(twice(3))", "solution"),
    }
    return new_notebook(cells=list((cells | changes).values()))


@pytest.mark.parametrize("path", run.notebooks(), ids=lambda path: path.stem)
def test_the_exercises_are_those_of_the_solutions(path: Path) -> None:
    if path.parent.name == "solutions":
        book = nbformat.read(path, as_version=4)
        strip.compare(path.name, strip.strip_book(book), weave.ROOT, False)


def test_a_solution_becomes_a_stub() -> None:
    book = strip.strip_book(solutions())
    sources = [cell.source for cell in book.cells]
    title = "# Exercises for chapter 1: Small"
    assert sources == [title, "X = 1", HEADING, STUB, CHECK]
    assert "y = x" not in nbformat.writes(book)


def test_several_regions_and_deeper_ones() -> None:
    source = """class A:
    def f(self):
        ### BEGIN SOLUTION A.2
        return 1
        ### END SOLUTION

    def g(self):
        for x in 1, 2:
            ### BEGIN SOLUTION A.3, on loops
            yield x
            ### END SOLUTION
        return 3"""
    text = strip.strip_source(source)
    assert text.count("raise NotImplementedError") == 2
    assert '            raise NotImplementedError("reread section A.3' in text
    assert "        return 3" in text and "return 1" not in text


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"title": new_markdown_cell("# Small")}, "cell 1: expected '# Sol"),
        ({"task": new_markdown_cell("## Exercise 1")}, "cell 3: expected"),
        ({"task": new_markdown_cell("None.")}, "check twice has no exercise"),
        ({"answer": code(ANSWER)}, "cell 4: an answer needs the tag"),
        ({"answer": code("X = 2", "solution")}, "1.1 has no answer cell"),
        ({"check": code("1")}, "exercise 1.1 has no check"),
        ({"check": code(CHECK, "check")}, "needs the tags check and hide"),
        (
            {"show": code(CHECK, "check", "hide-input")},
            "cell 7: check twice has no exercise",
        ),
        (
            {"answer": code(ANSWER.replace("### END", "# END"), "solution")},
            "1.1 has no answer cell",
        ),
        (
            {"answer": code(ANSWER.replace(" 1.4", ""), "solution")},
            "should name the section",
        ),
        (
            {
                "answer": code(
                    "### BEGIN SOLUTION 1.4\nX = 3\n### END SOLUTION",
                    "solution",
                )
            },
            "must stand inside a function",
        ),
    ],
)
def test_a_fault_in_the_solutions_is_named(
    changes: dict[str, NotebookNode], fault: str
) -> None:
    with pytest.raises(strip.StripError, match=fault.replace("(", r"\(")):
        strip.strip_book(solutions(**changes))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "solutions").mkdir()
    nbformat.write(solutions(), tmp_path / "solutions/01_small.ipynb")
    return tmp_path


@pytest.fixture(autouse=True)
def _no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(path: Path) -> str:
        return run.normalise(nbformat.read(path, as_version=4))

    monkeypatch.setattr(run, "execute", execute)


def answer(root: Path, source: str = "def twice(x): return 5") -> Path:
    """Be a reader who answers."""
    path = root / "exercises/01_small.ipynb"
    book = nbformat.read(path, as_version=4)
    book.cells[3].source = source
    nbformat.write(book, path)
    return path


def change_solutions(root: Path) -> None:
    path = root / "solutions/01_small.ipynb"
    path.write_text(path.read_text().replace("Return 2 x", "Return 2x"))


def test_exercises_are_written_once(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert strip.main(["--check"], root) == 1
    assert "is missing" in capsys.readouterr().err
    for said in ("wrote exercises/01_small.ipynb", "is up to date"):
        assert strip.main([], root) == 0
        assert said in capsys.readouterr().out
    assert strip.main(["--check"], root) == 0
    assert {p.name for p in root.iterdir()} == {"solutions", "exercises"}


def test_changed_solutions_are_drift_and_are_written(root: Path) -> None:
    strip.main([], root)
    change_solutions(root)
    assert strip.main(["--check"], root) == 1
    assert strip.main([], root) == 0
    assert strip.main(["--check"], root) == 0


def test_answers_are_not_overwritten(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strip.main([], root)
    path = answer(root)
    before = path.read_bytes()
    for _ in range(2):
        assert strip.main([], root) == 1
        assert "holds answers" in capsys.readouterr().err
        assert path.read_bytes() == before
        change_solutions(root)


def test_force_keeps_every_copy(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strip.main([], root)
    for number in (1, 2):
        mine = f"def twice(x): return {number}"
        answer(root, mine)
        assert strip.main(["--force"], root) == 0
        kept = f"kept/01_small-{number}.ipynb"
        assert f"your answers are in {kept}" in capsys.readouterr().out
        assert mine in (root / kept).read_text()
    assert strip.main(["--check"], root) == 0
    assert strip.main(["--force"], root) == 0
    assert len(list((root / "kept").iterdir())) == 2


def test_new_outputs_are_no_answers(root: Path) -> None:
    strip.main([], root)
    path = root / "exercises/01_small.ipynb"
    book = nbformat.read(path, as_version=4)
    stream = nbformat.v4.new_output("stream", text="hm\n")
    book.cells[1].outputs = [stream]
    book.cells[1].metadata["collapsed"] = True
    nbformat.write(book, path)
    change_solutions(root)
    assert strip.main([], root) == 0


@pytest.mark.parametrize("text", ["", "{}", "no notebook"])
def test_a_file_that_cannot_be_read_is_left(
    root: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    strip.main([], root)
    path = root / "exercises/01_small.ipynb"
    path.write_text(text)
    assert strip.main([], root) == 1
    assert path.read_text() == text
    assert "exercises/01_small.ipynb" in capsys.readouterr().err


def test_exercises_without_solutions_are_told(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strip.main([], root)
    (root / "solutions/01_small.ipynb").unlink()
    assert strip.main(["--check"], root) == 1
    assert "has no solutions" in capsys.readouterr().err
