"""Chapter 6's interactive pieces compute what the chapter computes.

The pieces are taken as stored in the chapter. Their arithmetic is run by
node or Chromium, and compared with lib; Chromium also moves controls.
"""

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import browser
import pytest
import torch
from browser import arithmetic, find_pieces, needs_chromium, needs_js, told

from lib.classify import POOLS, positions_read, wilson_interval
from lib.evidence import Confusion

NAMES = ["curve", "pool", "threshold"]
each_piece = pytest.mark.parametrize("name", NAMES)
PIECES = find_pieces("06_classification")


def data_of(name: str) -> Any:
    (text,) = re.findall(r"const data = (\{.*\});\n", PIECES[name])
    return json.loads(text)


def compute(name: str, call: str, folder: Path) -> Any:
    """Evaluate an expression on a piece's arithmetic and its data."""
    code = f"const data = {json.dumps(data_of(name))};"
    return browser.compute(code + arithmetic(PIECES[name]), call, folder)


def test_the_chapter_holds_all_pieces() -> None:
    assert sorted(PIECES) == NAMES


@each_piece
def test_a_piece_stands_alone(name: str) -> None:
    page = PIECES[name].replace("http://www.w3.org/2000/svg", "")
    assert "{{" not in page
    assert not re.search(r"https?:|\bsrc=|\bimport\b|fetch\(|[^-]\bid=", page)
    assert not re.search(r"Math\.random|Date", page)


@each_piece
def test_a_piece_without_scripts_points_to_its_twin(name: str) -> None:
    page = re.sub(r"<(style|script)>.*?</\1>", "", PIECES[name], flags=re.S)
    assert re.search(r'class="see-off">[^<]*(figure|printed)', page)
    assert 'class="see-on" hidden' in page


# The arithmetic


@needs_js
@pytest.mark.parametrize("pool", POOLS)
def test_pool(pool: str, tmp_path: Path) -> None:
    cases = [(n, width) for width in (1, 4, 9) for n in range(1, width + 1)]
    call = (
        f"{json.dumps(cases)}.map(([n, width]) => "
        f"[positions('{pool}', n, width), seen('{pool}', n, width)])"
    )
    for (n, width), (read, seen) in zip(
        cases, compute("pool", call, tmp_path)
    ):
        is_text = torch.arange(width)[None] < n
        marked = positions_read(is_text, pool)[0].nonzero()[:, 0]
        assert read == marked.tolist()
        most = int(marked.max()) + 1  # the causal mask: up to itself
        assert seen == {
            "tokens": min(most, n), "filling": max(0, most - n)
        }  # fmt: skip


@needs_js
def test_threshold(tmp_path: Path) -> None:
    data = data_of("threshold")
    places = [0, 0.1, 0.5, 0.9, 0.99, 1.1, *data["scores"][:5]]
    call = (
        f"{json.dumps(places)}.map((t) => "
        "confuse(data.scores, data.labels, t))"
    )
    for t, seen in zip(places, compute("threshold", call, tmp_path)):
        wanted = Confusion.at(t, data["scores"], data["labels"])
        for name in ("hits", "misses", "false_alarms", "passes"):
            assert seen[name] == getattr(wanted, name)
        for name in ("precision", "recall", "f1"):
            share = getattr(wanted, name)
            if math.isnan(share):
                assert seen[name] is None
            else:
                assert seen[name] == pytest.approx(share, abs=1e-12)


@needs_js
def test_histogram(tmp_path: Path) -> None:
    rng = random.Random(0)
    scores = [0.0, 1.0, *(rng.random() for _ in range(98))]
    call = f"histogram({json.dumps(scores)}, 7)"
    counts = compute("threshold", call, tmp_path)
    wanted = [0] * 7
    for score in scores:
        wanted[min(6, int(score * 7))] += 1
    assert counts == wanted


@needs_js
def test_curve(tmp_path: Path) -> None:
    cases = [[[3, 9], [5, 9], [7, 9]], [[0, 4]], [[50, 50], [49, 50]]]
    seen = compute("curve", f"{json.dumps(cases)}.map(point)", tmp_path)
    for runs, found in zip(cases, seen):
        shares = [right / n for right, n in runs]
        mean = sum(shares) / len(shares)
        assert found["mean"] == pytest.approx(mean, abs=1e-12)
        assert (found["low"], found["high"]) == (min(shares), max(shares))
        n = runs[0][1]
        interval = wilson_interval(math.floor(mean * n + 0.5), n)
        assert found["interval"] == pytest.approx(list(interval), abs=1e-9)


# The controls


@needs_chromium
@each_piece
def test_each_control_has_a_name(name: str, tmp_path: Path) -> None:
    controls = browser.control_names(PIECES[name], tmp_path)
    assert controls and all(controls)


MOVE = """
const at = (name) => document.querySelector(`[data-is="${name}"]`);
const set = (name, value) => {
  at(name).value = value;
  at(name).dispatchEvent(new Event("input", {bubbles: true}));
};
const said = [];
"""


@needs_chromium
def test_pool_picks(tmp_path: Path) -> None:
    script = """
    set("more", 2);
    for (const pool of ["last", "first", "end"]) {
      set("pool", pool);
      said.push(at("say").textContent);
    }
    set("pool", "mean");
    tell([said, document.querySelectorAll(".read").length]);
    """
    lengths = [len(row) for row in data_of("pool")["rows"]]
    (last, first, end), marked = told(PIECES["pool"], MOVE + script, tmp_path)
    assert marked == sum(lengths)
    for i, n in enumerate(lengths, 1):
        assert f"row {i} knows {n} of {n} tokens" in last
        assert f"row {i} knows 1 of {n} tokens" in first
        filling = max(lengths) + 2 - n
        assert f"row {i} knows {n} of {n} tokens and {filling}" in end


@needs_chromium
def test_threshold_slides(tmp_path: Path) -> None:
    script = """
    for (const t of [10, 90]) {
      set("threshold", t);
      said.push(at("say").textContent);
    }
    tell(said);
    """
    data = data_of("threshold")
    said = told(PIECES["threshold"], MOVE + script, tmp_path)
    for t, text in zip((0.1, 0.9), said):
        n = Confusion.at(t, data["scores"], data["labels"])
        assert text == (
            f"From {t:.2f} on, {n.hits} of {n.hits + n.misses} frauds are "
            f"found, with {n.false_alarms} false alarms."
        )


@needs_chromium
def test_curve_names_the_leader(tmp_path: Path) -> None:
    script = """
    for (const kind of data.kinds) {
      set("kind", kind);
      said.push([at("say").textContent, at("table").rows.length]);
    }
    tell(said);
    """
    data = data_of("curve")
    start = f"const data = {json.dumps(data)};"
    said = told(PIECES["curve"], start + MOVE + script, tmp_path)
    for kind, (text, n_rows) in zip(data["kinds"], said):
        assert n_rows == len(data["runs"]) + 1
        means = {
            name: sum(r / n for r, n in sizes[-1][kind]) / len(sizes[-1][kind])
            for name, sizes in data["runs"].items()
        }
        leader = max(means, key=lambda name: means[name])
        assert text.startswith(
            f"On {kind}, with {data['sizes'][-1]} labels: {leader} leads"
        )
