"""Appendix A's interactive piece computes what its engine computes.

The piece is taken as stored in the appendix. Its arithmetic is run by node
or Chromium, and compared with PyTorch; Chromium also moves its controls.
"""

import re
from pathlib import Path

import browser
import nbformat
import pytest
import torch
from browser import arithmetic, control_names, needs_chromium, needs_js, told

ROOT = Path(__file__).resolve().parents[1]
BOOK = nbformat.read(
    ROOT / "chapters" / "appendix_a_pytorch.ipynb", as_version=4
)
PAGES = [
    page
    for cell in BOOK.cells
    for out in cell.get("outputs", [])
    if "data-see=" in (page := out.get("data", {}).get("text/html", ""))
]
LAST = 9  # four values, one start and five arrows, counted from 0


@pytest.fixture
def page() -> str:
    (only,) = PAGES
    return only


def test_the_piece_stands_alone(page: str) -> None:
    bare = page.replace("http://www.w3.org/2000/svg", "")
    assert "{{" not in bare
    assert not re.search(r"https?:|\bsrc=|\bimport\b|fetch\(|[^-]\bid=", bare)
    assert not re.search(r"Math\.random|Date", bare)


def test_without_scripts_it_points_to_its_twin(page: str) -> None:
    bare = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.S)
    assert re.search(r'class="see-off">[^<]*figure', bare)
    assert 'class="see-on" hidden' in bare


@needs_js
@pytest.mark.parametrize("start", [(0.5, -1.5), (-2, 0.3), (0, 0), (1.7, 2)])
def test_slopes(page: str, start: tuple[float, float], tmp_path: Path) -> None:
    a, b = (torch.tensor(x, dtype=torch.float64) for x in start)
    a.requires_grad_(), b.requires_grad_()
    u = a * b
    v = u + a
    y = v.tanh()
    wanted = torch.autograd.grad(y, (a, b, u, v))
    steps = browser.compute(arithmetic(page), f"steps{start}", tmp_path)
    assert len(steps) == LAST + 1
    last = steps[-1]
    assert last["value"]["y"] == pytest.approx(y.item(), abs=1e-12)
    for name, slope in zip("abuv", wanted):
        assert last["grad"][name] == pytest.approx(slope.item(), abs=1e-12)


@needs_js
def test_each_step_adds_one_thing(page: str, tmp_path: Path) -> None:
    steps = browser.compute(arithmetic(page), "steps(0.5, -1.5)", tmp_path)
    assert [len(step["value"]) for step in steps] == [2, 3, 4, *7 * [5]]
    assert [len(s["grad"]) for s in steps] == [0, 0, 0, 0, 1, 2, 3, 4, 4, 5]
    assert "It had 0.94, and now has -0.47" in steps[8]["what"]


@needs_chromium
def test_the_controls_work(page: str, tmp_path: Path) -> None:
    assert all(control_names(page, tmp_path))
    script = f"""
    const at = (name) => document.querySelector(`[data-is="${{name}}"]`);
    const before = [at("back").disabled, at("say").textContent];
    for (let n = 0; n < {LAST}; n++) at("next").click();
    at("b").value = 1; at("b").dispatchEvent(new Event("input"));
    tell([...before, at("next").disabled, at("say").textContent,
          document.querySelector("svg").textContent]);
    """
    first, text, last, said, drawn = told(page, script, tmp_path)
    assert first and last
    assert text.startswith(f"Step 0 of {LAST}")
    assert said.startswith(f"Step {LAST} of {LAST}")
    assert "y = tanh v = 0.76" in drawn and "slope 0.84" in drawn
