#!/usr/bin/env python3
"""Run notebooks and store their outputs, so that a second run changes none.

A notebook runs in its own folder, with the library that is woven from the
chapters before it. A file is written only when all its cells succeed.

    tools/run.py                            all notebooks
    tools/run.py chapters/03_attention.ipynb
"""

import argparse
import atexit
import os
import shutil
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import (
    CellExecutionError,
    CellTimeoutError,
    DeadKernelError,
)
from nbformat import NotebookNode

import weave

FOLDERS = ("chapters", "exercises", "solutions")
SECONDS_A_CELL = 300
FIXED = {  # what digits and orders may depend on
    "OMP_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2",
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait leave the core to others
    "PYTHONHASHSEED": "0",
}
FAILURES = (
    CellExecutionError,
    CellTimeoutError,
    DeadKernelError,
    weave.WeaveError,
)
METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}


def notebooks(root: Path = weave.ROOT) -> list[Path]:
    """Return all notebooks of the book, in reading order."""
    return [p for f in FOLDERS for p in sorted((root / f).glob("*.ipynb"))]


@cache
def library_before(stem: str) -> Path:
    """Weave the library of the chapters before one; return its folder."""
    folder = Path(tempfile.mkdtemp(prefix="lib-before-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    weave.write(weave.weave(weave.ROOT / "chapters", stem), folder / "lib")
    return folder


def environment(notebook: Path) -> dict[str, str]:
    """Return what a notebook's kernel runs with.

    Exercises build what their chapter builds, so they too see the library
    before it. All are checked by lib.check, which chapter 1 weaves. Those of
    an appendix use what it built, and see all of the library.
    """
    path = notebook.resolve()
    until = path.stem
    if path.parent.name != "chapters":
        until = "~" if until.startswith("appendix_") else max(until, "02")
    library = library_before(max(until, "01"))
    return os.environ | FIXED | {"PYTHONPATH": str(library)}


def normalise(book: NotebookNode) -> str:
    """Return the one text that stands for a notebook and its outputs."""
    widgets = book.metadata.get("widgets")
    book.metadata = nbformat.from_dict(METADATA)
    if widgets:
        book.metadata.widgets = widgets
    count = 0
    for cell in book.cells:
        kept = {"tags", "mystnb"} & cell.metadata.keys()
        cell.metadata = NotebookNode({k: cell.metadata[k] for k in kept})
        if cell.cell_type == "code":
            runs = bool(cell.source.strip()) and cell.execution_count
            count += bool(runs)
            cell.execution_count = count if runs else None
            cell.outputs = normalise_outputs(cell.outputs, count)
    book.nbformat, book.nbformat_minor = 4, 5
    text = nbformat.writes(book)
    for kind in (widgets or {}).values():
        for number, model in enumerate(kind["state"], 1):
            text = text.replace(model, f"{number:032x}")
    return nbformat.writes(nbformat.reads(text, as_version=4)) + "\n"


def normalise_outputs(
    outputs: list[NotebookNode], count: int
) -> list[NotebookNode]:
    """Merge streams, renumber results and cut tracebacks to one line."""
    merged: list[NotebookNode] = []
    for out in outputs:
        last = merged[-1] if merged else NotebookNode()
        if out.output_type == "stream" and out.name == last.get("name"):
            last.text += out.text
            continue
        if out.output_type == "execute_result":
            out.execution_count = count
        if out.output_type == "error":
            out.traceback = [f"{out.ename}: {out.evalue}"]
        merged.append(out)
    return merged


def execute(path: Path) -> str:
    """Run a notebook; return its normalised text."""
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = None, []
    recording = os.environ.get("COURSE_RECORD") == "1"  # takes its time
    client = NotebookClient(
        book,
        timeout=None if recording else SECONDS_A_CELL,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env=environment(path))
    return normalise(book)


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Run and store notebooks.")
    parser.add_argument("notebook", nargs="*", type=Path)
    failed = 0
    for path in parser.parse_args(argv).notebook or notebooks():
        begun = time.perf_counter()
        try:
            weave.replace_file(path, execute(path))
        except FAILURES as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed += 1
        else:
            seconds = time.perf_counter() - begun
            print(f"{path}  {seconds:.1f} s", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
