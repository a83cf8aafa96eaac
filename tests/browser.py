"""A page in Chromium, for the tests of what a chapter shows."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")


def ask(page: str, script: str, folder: Path, **given: object) -> Any:
    """Load a page, then run a script in it; return what it returns.

    The script is a function's body; `given` are its arguments, by name.
    """
    names = ", ".join(given)
    values = json.dumps([*given.values()]).replace("</", "<\\/")
    path = folder / "page.html"
    path.write_text(
        f"<!doctype html><meta charset=utf-8>{page}<pre id=told></pre>"
        f"<script>{{ const run = ({names}) => {{ {script} }};"
        f"document.getElementById('told').textContent ="
        f"JSON.stringify(run(...{values})); }}</script>",
        encoding="utf-8",
    )
    done = subprocess.run(
        [
            str(CHROMIUM),
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    (told,) = re.findall(r'<pre id="told">(.*?)</pre>', done.stdout, re.S)
    assert told, "a script of the page failed"
    return json.loads(html.unescape(told))
