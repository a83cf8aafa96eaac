"""Chapter 3's interactive pieces compute what the chapter computes.

The pieces are taken as stored in the chapter. Their arithmetic is run by
node or Chromium, and compared with Python; Chromium also moves controls.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import browser
import pytest
import torch
from browser import arithmetic, find_pieces, needs_chromium, needs_js, told
from torch import Tensor

from lib.attention import attend, causal_mask

NAMES = ["painter", "scale", "stepper", "tracer"]
each_piece = pytest.mark.parametrize("name", NAMES)


PIECES = find_pieces("03_attention")


def data_of(name: str) -> Any:
    (text,) = re.findall(r"const data = (\{.*\});\n", PIECES[name])
    return json.loads(text)


def compute(name: str, call: str, folder: Path) -> Any:
    """Evaluate an expression on a piece's arithmetic and its data."""
    code = f"const data = {json.dumps(data_of(name))};"
    return browser.compute(code + arithmetic(PIECES[name]), call, folder)


def tensor(numbers: Any) -> Tensor:
    """Return a float64 tensor; JSON's null stands for NaN and infinity."""
    rows = json.dumps(numbers).replace("null", "NaN")
    return torch.tensor(json.loads(rows), dtype=torch.float64)


def test_the_chapter_holds_all_pieces() -> None:
    assert sorted(PIECES) == NAMES


@each_piece
def test_a_piece_stands_alone(name: str) -> None:
    page = PIECES[name]
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
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_stepper(causal: bool, scale: bool, tmp_path: Path) -> None:
    flags = f"{json.dumps(causal)}, {json.dumps(scale)}"
    call = f"data.words.map((_, t) => look(data, t, {flags}))"
    rows = compute("stepper", call, tmp_path)
    q, k, v = (tensor(data_of("stepper")[n]) for n in "qkv")
    T, d = q.shape
    mask = causal_mask(T) if causal else torch.ones(T, T, dtype=torch.bool)
    larger = 1.0 if scale else math.sqrt(d)
    mixed, weights = attend(q * larger, k, v, mask)
    seen = {n: tensor([row[n] for row in rows]) for n in rows[0]}
    near = {"atol": 1e-12, "rtol": 0}
    torch.testing.assert_close(seen["dots"], q @ k.T, **near)
    torch.testing.assert_close(
        seen["scaled"], q @ k.T * larger / math.sqrt(d), **near
    )
    assert torch.equal(seen["masked"].isfinite(), mask)
    torch.testing.assert_close(seen["weights"], weights, **near)
    torch.testing.assert_close(seen["mixed"], mixed, **near)
    torch.testing.assert_close(seen["parts"], weights[:, :, None] * v, **near)


def masks_to_paint() -> list[Tensor]:
    g = torch.Generator().manual_seed(1)
    drawn = torch.rand(20, 6, 6, generator=g) < 0.4
    drawn[0] = False
    preset = [torch.tensor(m) for m in data_of("painter")["masks"].values()]
    return [*(m.bool() for m in preset), *drawn]


@needs_js
def test_painter(tmp_path: Path) -> None:
    masks = masks_to_paint()
    listed = json.dumps([mask.tolist() for mask in masks])
    call = (
        f"{listed}.map((mask) => ({{count: count(mask), weights: "
        "mask.map((row, t) => renormalize(data.scores[t], row))}))"
    )
    seen = compute("painter", call, tmp_path)
    scores = tensor(data_of("painter")["scores"])
    for mask, found in zip(masks, seen):
        weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
        torch.testing.assert_close(
            tensor(found["weights"]), weights, atol=1e-12, rtol=0,
            equal_nan=True,
        )  # fmt: skip
        assert found["count"] == {
            "allowed": int(mask.sum()),
            "ahead": int(mask.triu(1).sum()),
            "empty": (~mask.any(dim=1)).nonzero()[:, 0].tolist(),
        }
    assert any(found["count"]["empty"] for found in seen)


@needs_js
def test_scale(tmp_path: Path) -> None:
    data = data_of("scale")
    call = (
        "data.widths.map((d, i) => [1, d ** -0.5].map("
        "(scale) => measure(data.scores[i], scale)))"
    )
    for d, z, pair in zip(
        data["widths"], data["scores"], compute("scale", call, tmp_path)
    ):
        for scale, seen in zip((1.0, d**-0.5), pair):
            log_a = (scale * tensor(z)).log_softmax(dim=0)
            a = log_a.exp()
            jacobian = torch.diag(a) - torch.outer(a, a)
            expected = {
                "largest": a.max(),
                "entropy": -(a * log_a).sum() / math.log(len(a)),
                "jacobian": jacobian.norm(),
            }
            for name, number in expected.items():
                assert seen[name] == pytest.approx(float(number), abs=1e-9)
            torch.testing.assert_close(
                tensor(seen["weights"]), a, atol=1e-12, rtol=0
            )


def test_scale_holds_the_histogram_of_its_scores() -> None:
    data = data_of("scale")
    for d, counts, std in zip(data["widths"], data["counts"], data["stds"]):
        assert 4080 < sum(counts) <= 4096
        assert std / math.sqrt(d) == pytest.approx(1.0, abs=0.1)
        places = torch.arange(-124.0, 128, 8)
        n = torch.tensor(counts)
        from_bins = ((places**2 * n).sum() / n.sum()).sqrt()
        # a bin is 8 wide, which adds about 8**2 / 12 to the variance
        assert float(from_bins) == pytest.approx(
            math.sqrt(std**2 + 64 / 12), rel=0.35
        )


def traced(B: int, T: int, D: int, H: int) -> list[dict[str, Any]]:
    """What PyTorch does to x (B, T, D) on its way through H heads."""
    x = torch.ones(B, T, D)
    qkv = x @ torch.ones(D, 3 * D)
    view = qkv.view(B, T, 3, H, D // H)
    parts = view.permute(2, 0, 3, 1, 4)
    q, k, v = parts.unbind()
    scores = q @ k.transpose(-2, -1)
    mixed = scores @ v
    turned = mixed.transpose(1, 2)
    joined = turned.flatten(2)
    out = joined @ torch.ones(D, D)
    steps = [
        x, qkv, view, parts, q, scores, mixed, turned, joined, out,
    ]  # fmt: skip
    return [
        {
            "shape": list(n.shape),
            "strides": list(n.stride()),
            "kept": any(n.data_ptr() == m.data_ptr() for m in steps[:i]),
        }
        for i, n in enumerate(steps)
    ]


def stripped(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the strides of dimensions of size 1, which nobody takes."""
    return [
        {
            **step,
            "strides": [
                stride
                for size, stride in zip(step["shape"], step["strides"])
                if size > 1
            ],
        }
        for step in steps
    ]


SIZES = [
    {"B": B, "T": T, "D": D, "H": H}
    for B in (1, 2, 3)
    for T in (1, 2, 5, 16)
    for D in (6, 12, 48)
    for H in (1, 2, 3, 6)
]


@needs_js
def test_tracer(tmp_path: Path) -> None:
    seen = compute("tracer", f"{json.dumps(SIZES)}.map(trace)", tmp_path)
    for sizes, steps in zip(SIZES, seen):
        assert stripped(steps) == stripped(traced(**sizes)), sizes
    assert len(data_of("tracer")["code"]) == len(seen[0])


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
  at(name).dispatchEvent(new Event("change", {bubbles: true}));
};
const rows = () => [...at("table").rows].map((row) =>
  [...row.cells].map((cell) => cell.textContent));
const said = [];
"""


@needs_chromium
def test_stepper_walks_through_all_words(tmp_path: Path) -> None:
    script = """
    set("query", "Old");
    for (let i = 0; i < 29; i++) { at("next").click(); }
    tell([at("say").textContent, at("next").disabled, rows()]);
    """
    say, ended, rows = told(PIECES["stepper"], MOVE + script, tmp_path)
    data = data_of("stepper")
    q, k, v = (tensor(data[n]) for n in "qkv")
    mixed, weights = attend(q, k, v, causal_mask(6))
    shown = ", ".join(f"{n:.2f}" for n in mixed[5])
    assert say == (
        "Step 5 of 5. Mix: each value times its weight, and added up: "
        f"dusk leaves with ({shown})."
    )
    assert ended
    assert [row[4] for row in rows[1:7]] == [f"{n:.2f}" for n in weights[5]]


@needs_chromium
def test_stepper_fills_one_column_a_step(tmp_path: Path) -> None:
    script = """
    const filled = () => rows()[1].filter((text) => text !== "\\u00b7").length;
    for (let i = 0; i < 5; i++) { said.push(filled()); at("next").click(); }
    at("back").click();
    tell([said, at("query").value, filled()]);
    """
    seen = told(PIECES["stepper"], MOVE + script, tmp_path)
    assert seen == [[2, 3, 4, 5, 6], "home", 6]


@needs_chromium
def test_painter_is_painted_by_keyboard(tmp_path: Path) -> None:
    script = """
    const cells = [...document.querySelectorAll(".grid button")];
    const press = (key) => document.activeElement.dispatchEvent(
      new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
    set("preset", "causal");
    cells.find((cell) => cell.tabIndex === 0).focus();
    for (const key of ["ArrowUp", "ArrowUp", "ArrowUp", "ArrowLeft"]) {
      press(key);
    }
    document.activeElement.click();
    tell([cells.filter((cell) => cell.tabIndex === 0).length,
      document.activeElement.getAttribute("aria-label"),
      cells.slice(0, 2).map((cell) => cell.textContent),
      at("row").textContent, at("all").textContent]);
    """
    reachable, label, row, say, total = told(
        PIECES["painter"], MOVE + script, tmp_path
    )
    assert reachable == 1
    assert label == "Old may look at Old: no, weight NaN"
    assert row == ["NaN", "NaN"]
    assert say.startswith("Old looks at nobody; it is seen by boats, drift")
    assert total == (
        "20 of 36 cells are allowed, none of them looks ahead: causal. "
        "Empty: the row of Old; 0/0 is not a number."
    )


@needs_chromium
def test_painter_knows_its_masks(tmp_path: Path) -> None:
    script = """
    for (const {value} of [...at("preset").options]) {
      set("preset", value);
      said.push(at("all").textContent);
    }
    tell(said);
    """
    said = told(PIECES["painter"], MOVE + script, tmp_path)
    masks = masks_to_paint()
    for text, mask in zip(said, masks):
        ahead = int(mask.triu(1).sum())
        assert text.startswith(f"{int(mask.sum())} of 36")
        assert (f"{ahead} of them look ahead" in text) == (ahead > 0)
        assert ("Empty" in text) == (not mask.any(dim=1).all())


@needs_chromium
def test_scale_slides(tmp_path: Path) -> None:
    script = """
    for (const i of [0, 8]) { set("width", i); said.push(rows()[2]); }
    tell([said, at("plain").children.length, at("spread").children.length,
      at("width").getAttribute("aria-valuetext")]);
    """
    data = data_of("scale")
    said, bars, bins, value = told(PIECES["scale"], MOVE + script, tmp_path)
    for i, row in zip((0, 8), said):
        z = tensor(data["scores"][i])
        tops = [z.softmax(0).max(), (z / data["widths"][i] ** 0.5).softmax(0)]
        shown = [f"{float(n.max()):.2f}" for n in tops]
        assert row == ["largest weight", *shown]
    assert (bars, bins, value) == (16, 32, "d = 1024")


@needs_chromium
def test_tracer_slides_and_refuses(tmp_path: Path) -> None:
    script = """
    const go = (name, value) =>
      set(name, data.choices[name][1].indexOf(value));
    go("T", 1024); go("D", 768); go("H", 12);
    said.push(at("say").textContent, rows());
    go("H", 5);
    said.push(at("say").textContent, rows());
    tell(said);
    """
    start = f"const data = {json.dumps(data_of('tracer'))};"
    say, rows, error, none = told(
        PIECES["tracer"], start + MOVE + script, tmp_path
    )
    assert "12 heads is d = 768 / 12 = 64 wide" in say
    assert "25,165,824 numbers" in say
    assert rows[5][1:] == ["(2, 12, 1024, 64)", "(2359296, 64, 2304, 1)",
                           "stay"]  # fmt: skip
    assert none == []
    with pytest.raises(ValueError) as raised:
        from lib.attention import MultiHeadAttention

        MultiHeadAttention(768, 768, 1024, 0.0, n_heads=5)
    assert error == f"ValueError: {raised.value}"
