"""The runner: what it stores, and what a notebook's kernel can see."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

import run

COPIED = ("conftest.py", "pyproject.toml", "tools")


def notebook(*cells: str) -> nbformat.NotebookNode:
    """Make a notebook of code cells that were not run."""
    return new_notebook(
        cells=[
            new_code_cell(source, id=f"cell-{n}")
            for n, source in enumerate(cells)
        ]
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A book without chapters, with the tools of this one."""
    for name in COPIED:
        source = run.weave.ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    for folder in run.FOLDERS:
        (tmp_path / folder).mkdir()
    return tmp_path


def store(root: Path, name: str, *cells: str) -> Path:
    path = root / name
    nbformat.write(notebook(*cells), path)
    return path


def run_notebooks(root: Path, *names: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "tools/run.py", *names],
        cwd=root,
        capture_output=True,
        text=True,
    )


# What is stored


def test_only_what_a_reader_needs_is_kept() -> None:
    book = notebook("1", "", "2")
    mystnb = {"image": {"alt": "a line"}}
    book.cells[0].metadata = {"tags": ["x"], "mystnb": mystnb, "foo": 1}
    book.cells[0].execution_count = 7
    book.cells[2].execution_count = 9
    book.cells[2].outputs = [
        new_output("stream", name="stdout", text="a\n"),
        new_output("stream", name="stdout", text="b\n"),
        new_output("stream", name="stderr", text="c\n"),
        new_output("execute_result", {"text/plain": "2"}, execution_count=9),
        new_output("error", ename="E", evalue="why", traceback=["far", "E"]),
    ]
    book.metadata = {"language_info": {"version": "3.11.7"}, "widgets": {}}
    text = run.normalise(book)
    stored = nbformat.reads(text, as_version=4)
    first, _, last = stored.cells
    assert stored.metadata == run.METADATA
    assert first.metadata == {"tags": ["x"], "mystnb": mystnb}
    counts = [cell.execution_count for cell in stored.cells]
    assert counts == [1, None, 2]
    assert [out.get("text") for out in last.outputs[:2]] == ["a\nb\n", "c\n"]
    assert last.outputs[2].execution_count == 2
    assert last.outputs[3].traceback == ["E: why"]
    assert run.normalise(stored) == text


def test_widget_ids_are_counted() -> None:
    def make(first: str, second: str) -> str:
        book = notebook("w")
        view = {
            "application/vnd.jupyter.widget-view+json": {"model_id": second}
        }
        book.cells[0].execution_count = 1
        book.cells[0].outputs = [new_output("display_data", view)]
        states = {first: {"n": 1}, second: {"layout": f"IPY_MODEL_{first}"}}
        kind = "application/vnd.jupyter.widget-state+json"
        book.metadata.widgets = {kind: {"state": states}}
        return run.normalise(book)

    text = make("f" * 32, "0a" * 16)
    assert text == make("1b" * 16, "c" * 32)
    assert "ffff" not in text
    assert run.normalise(nbformat.reads(text, as_version=4)) == text


def test_a_second_run_changes_nothing(root: Path) -> None:
    path = store(
        root,
        "chapters/03_a.ipynb",
        "import os\nprint(os.environ['OMP_NUM_THREADS'], hash('x'))",
        "print(1)\nprint(os.path.basename(os.getcwd()))\n{'a', 'b', 'c'}",
    )
    assert run_notebooks(root).returncode == 0
    first = path.read_bytes()
    stored = nbformat.reads(first.decode(), as_version=4)
    assert stored.cells[1].outputs[0].text == "1\nchapters\n"
    assert run_notebooks(root, "chapters/03_a.ipynb").returncode == 0
    assert path.read_bytes() == first


def test_a_failing_notebook_is_left_as_it_was(root: Path) -> None:
    path = store(root, "chapters/03_a.ipynb", "x = 1", "x / 0")
    before = path.read_bytes()
    done = run_notebooks(root)
    assert done.returncode == 1
    assert "03_a.ipynb" in done.stderr
    assert "In[2]" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert path.read_bytes() == before


# What nbval finds


def test_nbval_sees_the_library_before_a_chapter(root: Path) -> None:
    use = "from lib.alpha import X\nprint(X)"
    store(root, "chapters/03_a.ipynb", '#| export alpha\n"""A."""\nX = 42')
    good = store(root, "chapters/04_b.ipynb", use)
    assert run_notebooks(root).returncode == 0
    shutil.copy(good, root / "exercises/04_b.ipynb")
    shutil.copy(good, root / "exercises/03_a.ipynb")  # too early for alpha
    changed = good.read_text().replace('"42', '"43')
    (root / "solutions/04_b.ipynb").write_text(changed)
    beta = '#| export beta\n"""B."""\nX = 1'
    store(root, "chapters/05_c.ipynb", "from lib.beta import X", beta)
    nbval = ["--nbval", "--nbval-current-env", "-rA", *run.FOLDERS]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *nbval],
        cwd=root,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    results = {line.split("::Cell")[0] for line in lines if "::Cell" in line}
    assert results >= {
        "PASSED chapters/03_a.ipynb",
        "PASSED chapters/04_b.ipynb",
        "FAILED chapters/05_c.ipynb",
        "FAILED exercises/03_a.ipynb",
        "PASSED exercises/04_b.ipynb",
        "FAILED solutions/04_b.ipynb",
    }
    assert "No module named 'lib.alpha'" in done.stdout
    assert "No module named 'lib.beta'" in done.stdout
    assert any(line.endswith("s  chapters/04_b.ipynb") for line in lines)
