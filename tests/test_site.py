"""The built site, as `make book` leaves it in _build/html."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from test_notebooks import MACHINE_PATH

import cells
import run

ROOT = run.weave.ROOT
SITE = ROOT / "_build" / "html"
PAGES = sorted((SITE / "chapters").glob("*.html"))
SOURCES = [
    *sorted((ROOT / "chapters").glob("*.ipynb")),
    *sorted((ROOT / "chapters").glob("*.md")),
]
LABEL = re.compile(r'"weave-label[^>]*>\s*<p><code[^>]*>(?:<[^>]*>)*([\w/.]+)')

pytestmark = pytest.mark.skipif(not PAGES, reason="run `make book` first")
each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


class Page(HTMLParser):
    """What a page names: its anchors, links, images and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        found = dict(attrs)
        self.anchors.add(found.get("id") or "")
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")
        if tag == "img":
            self.images.append(found)
        if tag in ("script", "img", "iframe"):
            self.loaded.append(found.get("src") or "")
        if tag == "link" and found.get("rel") in ("stylesheet", "preload"):
            self.loaded.append(found.get("href") or "")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_chapter_has_its_page(path: Path) -> None:
    assert (SITE / "chapters" / f"{path.stem}.html").exists()


@each_page
def test_a_page_shows_no_accident(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" not in text
    assert not re.findall(r"\w+Warning: .*", text)
    assert not MACHINE_PATH.findall(text)


@each_page
def test_every_image_says_what_it_shows(path: Path) -> None:
    silent = [img for img in Page(path).images if not img.get("alt")]
    assert silent == []


@each_page
def test_links_within_the_book_lead_somewhere(path: Path) -> None:
    page = Page(path)
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (path.parent / unquote(parts.path)).resolve()
        if not parts.path:
            target = path
        assert target.is_file(), link
        if parts.fragment and target.suffix == ".html":
            anchors = page.anchors if target == path else Page(target).anchors
            assert unquote(parts.fragment) in anchors, link


@each_page
def test_a_page_loads_nothing_from_the_net(path: Path) -> None:
    assert [url for url in Page(path).loaded if "//" in url] == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "chapters").glob("*.ipynb")), ids=lambda p: p.stem
)
def test_exported_cells_name_their_module(path: Path) -> None:
    found = map(cells.read_directive, cells.read_cells(path))
    expected = [f"lib/{mark[0]}.py" for mark in found if mark]
    page = (SITE / "chapters" / f"{path.stem}.html").read_text("utf-8")
    assert LABEL.findall(page) == expected
    assert "#| export" not in page
