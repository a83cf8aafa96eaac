"""The README's map shows the folders that there are."""

import base64
import json
import re
import subprocess

import pytest

from run import weave

README = weave.ROOT / "README.md"


def test_the_map_is_the_territory() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=weave.ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list of files")
    paths = listed.stdout.splitlines()
    folders = {path.split("/")[0] for path in paths if "/" in path}
    text = README.read_text(encoding="utf-8")
    section = re.split(r"^## ", text.split("\n## Map\n")[1], flags=re.M)[0]
    rows = re.findall(r"^\| *`([^`]+)`", section, flags=re.M)
    on_map = {row.rstrip("/") for row in rows}
    assert folders <= on_map
    assert [name for name in on_map if not (weave.ROOT / name).exists()] == []


def test_the_picture_is_the_figure_of_chapter_1() -> None:
    book = json.loads(
        (weave.ROOT / "chapters/01_orientation.ipynb").read_text("utf-8")
    )
    (outputs,) = (
        cell["outputs"]
        for cell in book["cells"]
        if '"fig-pipeline"' in json.dumps(cell["metadata"])
    )
    png = next(
        out["data"]["image/png"]
        for out in outputs
        if "image/png" in out.get("data", {})
    )
    picture = weave.ROOT / "_static/pipeline.png"
    assert picture.read_bytes() == base64.b64decode(png)
