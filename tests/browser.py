"""Pages in Chromium and scripts, for the tests of what a chapter shows."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playground import SEE as SEE
from playground import arithmetic as arithmetic

import run

NODE = shutil.which("node")
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
needs_js = pytest.mark.skipif(
    not (NODE or CHROMIUM), reason="needs node or Chromium"
)


def find_pieces(stem: str) -> dict[str, str]:
    """Return the HTML of each piece by name, as the chapter stores it."""
    path = run.weave.ROOT / "chapters" / f"{stem}.ipynb"
    found = {}
    for cell in nbformat.read(path, as_version=4).cells:
        for out in cell.get("outputs", []):
            page = out.get("data", {}).get("text/html", "")
            if match := re.search(r'data-see="\d\d[-_](\w+)"', page):
                found[match[1]] = page
    return found


def browse(page: str, folder: Path, *flags: str) -> Any:
    """Return what a page's scripts leave, as JSON, in its element `told`."""
    path = folder / "page.html"
    path.write_text(
        f"<!doctype html><meta charset=utf-8>{page}", encoding="utf-8"
    )
    profile = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, *flags, profile, "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    (text,) = re.findall(r'<pre id="told">(.*?)</pre>', done.stdout, re.S)
    assert text, "a script of the page failed"
    return json.loads(html.unescape(text))


def ask(page: str, script: str, folder: Path, **given: object) -> Any:
    """Load a page, then run a script in it; return what it returns.

    The script is a function's body; `given` are its arguments, by name.
    """
    names = ", ".join(given)
    values = json.dumps([*given.values()]).replace("</", "<\\/")
    return browse(
        f"{page}<pre id=told></pre>"
        f"<script>{{ const run = ({names}) => {{ {script} }};"
        f"document.getElementById('told').textContent ="
        f"JSON.stringify(run(...{values})); }}</script>",
        folder,
    )


def told(page: str, script: str, folder: Path) -> Any:
    """Run a script once a page is loaded; return what it `tell`s."""
    return browse(
        f"{page}<pre id=told></pre><script>window.onload = () => {{"
        f"const tell = (x) => document.getElementById('told').textContent ="
        f"JSON.stringify(x); {script} }};</script>",
        folder,
    )


def told_later(page: str, script: str, folder: Path) -> Any:
    """Run a script that may await; return what it `tell`s in the end."""
    script = f"(async () => {{ {script} }})()"
    return browse(
        f"{page}<pre id=told></pre><script>window.onload = () => {{"
        f"const tell = (x) => document.getElementById('told').textContent ="
        f"JSON.stringify(x); {script}.catch((e) => tell(String(e))); }};"
        "</script>",
        folder,
        "--virtual-time-budget=60000",
    )


def fill(name: str, data: Any) -> str:
    """Fill the page see/<name>.html, as a chapter's `see` does."""
    page = (SEE / f"{name}.html").read_text(encoding="utf-8")
    style = (SEE / "see.css").read_text(encoding="utf-8")
    given = json.dumps(data).replace("</", r"<\/")
    return page.replace("{{see.css}}", style).replace("{{DATA}}", given)


def control_names(page: str, folder: Path) -> Any:
    """Return what each control of a page is called, by label or by text."""
    script = """
    tell([...document.querySelectorAll("input, select, button")].map((e) =>
      e.labels?.[0]?.textContent.trim() || e.getAttribute("aria-label")
        || e.textContent));
    """
    return told(page, script, folder)


def compute(code: str, call: str, folder: Path) -> Any:
    """Evaluate an expression after some code, in node or Chromium."""
    if NODE is None:
        return told("", f"{code}; tell({call});", folder)
    done = subprocess.run(
        [NODE, "-e", f"{code}; console.log(JSON.stringify({call}))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)
