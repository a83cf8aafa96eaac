"""Every notebook is stored as a reader should find it."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

import run

LONGEST = 40  # lines of a cell that is shown
HIDDEN = {"hide-cell", "hide-input", "remove-cell", "remove-input"}
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:root|home|tmp|work|Users)/[\w./-]+")


def shown_texts(cell: NotebookNode) -> Iterator[str]:
    """The texts that a cell shows: its source and its outputs'."""
    yield cell.source
    for out in cell.get("outputs", []):
        yield out.get("text", "")
        yield from out.get("traceback", [])
        for kind, data in out.get("data", {}).items():
            if kind.startswith("text/"):
                yield data


def faults_of(cell: NotebookNode) -> Iterator[str]:
    """What is wrong with a cell."""
    for text in shown_texts(cell):
        if found := MACHINE_PATH.search(text):
            yield f"names a path of one machine: {found[0]}"
    if cell.cell_type != "code":
        return
    tags = set(cell.metadata.get("tags", []))
    runs = cell.source.strip() and "nbval-skip" not in tags
    if runs and not cell.execution_count:
        yield "was not run"
    if len(cell.source.splitlines()) > LONGEST and not tags & HIDDEN:
        yield f"has more than {LONGEST} lines"
    for out in cell.outputs:
        if out.output_type == "error" and "raises-exception" not in tags:
            yield f"stores an error: {out.ename}"
        if out.get("name") == "stderr" and "Warning" in out.text:
            yield f"stores a warning: {out.text}"
        image = any(kind.startswith("image/") for kind in out.get("data", {}))
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
        if image and not alt:
            yield "draws a figure without alt text"


def faults(text: str) -> list[str]:
    """What is wrong with a notebook, given as its file's text."""
    book = nbformat.reads(text, as_version=4)
    found = [
        f"[{cell.get('execution_count')}] {fault}: {cell.source[:60]!r}"
        for cell in book.cells
        for fault in faults_of(cell)
    ]
    if run.normalise(book) != text:
        found.append("is not as tools/run.py stores it")
    return found


@pytest.mark.parametrize(
    "path", run.notebooks(), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_a_notebook_is_fit_to_be_read(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


# The checks themselves


def stored(source: str = "1", count: int | None = 1, **cell: object) -> str:
    """Return the text of a notebook of one cell."""
    outputs = cell.pop("outputs", [])
    code = new_code_cell(source, metadata=cell, outputs=outputs)
    code.execution_count = count
    return run.normalise(new_notebook(cells=[code]))


def stream(text: str, name: str = "stderr") -> list[NotebookNode]:
    return [new_output("stream", name=name, text=text)]


PICTURE = [new_output("display_data", {"image/png": "aGk="})]
ERROR = [new_output("error", ename="ValueError", evalue="", traceback=[])]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (stored(count=None), "was not run"),
        (stored("1\n" * 41), "more than 40"),
        (stored("open('/home/me/x')"), "a path of one machine: /home/me/x"),
        (stored(outputs=stream("/tmp/x\n", "stdout")), "/tmp/x"),
        (stored(outputs=stream("UserWarning: no\n")), "stores a warning"),
        (stored(outputs=PICTURE), "without alt text"),
        (stored(outputs=ERROR), "stores an error: ValueError"),
        (stored().replace("python3", "other"), "is not as tools/run.py"),
    ],
)
def test_a_planted_fault_is_found(text: str, fault: str) -> None:
    (found,) = faults(text)
    assert fault in found


@pytest.mark.parametrize(
    "text",
    [
        stored(),
        stored("", None),
        stored(count=None, tags=["nbval-skip"]),
        stored("1\n" * 41, tags=["hide-input"]),
        stored(outputs=PICTURE, mystnb={"image": {"alt": "a line"}}),
        stored(outputs=ERROR, tags=["raises-exception"]),
        stored("url = 'https://a.org/home/x'"),
    ],
)
def test_what_is_allowed_is_not_a_fault(text: str) -> None:
    assert faults(text) == []
