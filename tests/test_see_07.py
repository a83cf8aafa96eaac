"""Chapter 7's interactive pieces compute what the library computes."""

import json
import random
from pathlib import Path
from typing import Any

import browser
import pytest
from browser import arithmetic, ask, find_pieces, needs_chromium, needs_js

from lib.instruct import collate
from lib.train import IGNORE, count_targets

NAMES = ["masks", "responses"]
STORED = find_pieces("07_instructions")
END = 99


def fill(name: str, data: Any) -> str:
    """Do what the chapter's `see` does."""
    return browser.fill(f"07_{name}", data)


def compute(name: str, call: str, folder: Path) -> Any:
    """Evaluate an expression on a piece's arithmetic."""
    page = (browser.SEE / f"07_{name}.html").read_text(encoding="utf-8")
    return browser.compute(arithmetic(page), call, folder)


def test_all_pieces_are_stored():
    assert sorted(STORED) == NAMES
    for name, page in STORED.items():
        assert "{{" not in page.split("/* arithmetic */")[0]
        assert page.startswith(
            (browser.SEE / f"07_{name}.html").read_text()[:40]
        )


@needs_js
def test_masks_are_collates(tmp_path):
    rng = random.Random(0)
    cases = []
    for _ in range(40):
        shapes = [(rng.randint(1, 6), rng.randint(0, 5)) for _ in range(3)]
        cases.append((shapes, rng.randint(1, 14), rng.random() < 0.7))
    calls = [
        "[paint({0}, {1}, {2}), count(paint({0}, {1}, {2}))]".format(
            json.dumps([{"length": p + r, "n": p} for p, r in shapes]),
            most,
            json.dumps(mask),
        )
        for shapes, most, mask in cases
    ]
    told = compute("masks", f"[{', '.join(calls)}]", tmp_path)
    for (shapes, most, mask), (painted, counted) in zip(cases, told):
        batch = [([*range(p + r)], p) for p, r in shapes]
        options = {"max_length": most, "mask_prompt": mask}
        if not counted["targets"]:
            with pytest.raises(ValueError, match="no target"):
                collate(batch, END, **options)
            continue
        ids, targets = collate(batch, END, **options)
        assert counted["places"] == ids.numel()
        assert counted["targets"] == count_targets(targets)
        for n, row in enumerate(painted):
            found = [
                IGNORE
                if cell["state"] != "ask"
                else END
                if cell["target"] == "end"
                else cell["target"]
                for cell in row
            ]
            assert found == targets[n].tolist()
            read = [END if c["input"] < 0 else c["input"] for c in row]
            assert read == ids[n].tolist()
        empty = [
            n + 1 for n, row in enumerate(targets) if not count_targets(row)
        ]
        assert counted["empty"] == empty
        ends = sum(END in row for row in targets.tolist())
        assert counted["ends"] == ends


ROWS = [
    {
        "group": group,
        "family": f"f{n}",
        "asked": f"Ask {n}.",
        "wanted": "x",
        "said": {"before": "", "course": "x", "random": "y"},
        "right": right,
    }
    for n, (group, right) in enumerate(
        [
            ("reading", ["course"]),
            ("reading", ["course", "random"]),
            ("town", ["random"]),
            ("town", []),
        ]
    )
]


@needs_js
def test_responses_are_selected(tmp_path):
    def families(group: str, which: str) -> list[str]:
        call = f"select({json.dumps(ROWS)}, {group!r}, {which!r})"
        return [row["family"] for row in compute("responses", call, tmp_path)]

    assert families("all", "all") == ["f0", "f1", "f2", "f3"]
    assert families("town", "all") == ["f2", "f3"]
    assert families("all", "course right, random wrong") == ["f0"]
    assert families("all", "random right, course wrong") == ["f2"]
    assert families("reading", "course wrong") == []
    call = f"tally({json.dumps(ROWS)}, ['before', 'course', 'random'])"
    counted = compute("responses", call, tmp_path)
    assert counted == {"before": 0, "course": 2, "random": 2}


@needs_chromium
@pytest.mark.parametrize("name", NAMES)
def test_each_control_has_a_name(name, tmp_path):
    controls = browser.control_names(STORED[name], tmp_path)
    assert controls and all(controls)


@needs_chromium
def test_painter_moves(tmp_path):
    item = {"tokens": ["a", " b", " c", " d"], "n": 2}
    page = fill("masks", {"chat": [item], "alpaca": [item | {"n": 3}]})
    said = ask(
        page,
        """
        const at = (name) => document.querySelector(`[data-is="${name}"]`);
        const told = [at("say").textContent];
        at("most").value = 1;
        at("most").dispatchEvent(new Event("input"));
        told.push(at("say").textContent);
        at("mask").click();
        told.push(at("say").textContent);
        at("template").value = "alpaca";
        at("template").dispatchEvent(new Event("change"));
        told.push(document.querySelectorAll(".hot").length);
        return told;
        """,
        tmp_path,
    )
    assert said[0].startswith("3 of 4 places have a target; 1 of 1 rows")
    assert said[1].endswith("collate refuses this batch.")
    assert said[2].startswith("1 of 1 places have a target; 0 of 1 rows")
    assert said[3] == 4


@needs_chromium
def test_browser_leafs(tmp_path):
    said = ask(
        fill("responses", ROWS),
        """
        const at = (name) => document.querySelector(`[data-is="${name}"]`);
        const told = [at("where").textContent, at("say").textContent];
        at("next").click();
        told.push(at("asked").textContent);
        at("group").value = "town";
        at("group").dispatchEvent(new Event("change"));
        told.push(at("where").textContent, at("back").disabled);
        at("which").value = "course right, random wrong";
        at("which").dispatchEvent(new Event("change"));
        told.push(at("where").textContent, at("next").disabled);
        return told;
        """,
        tmp_path,
    )
    assert said == [
        "1 of 4: f0",
        "Right of all 4: before 0, course 2, random 2.",
        "Ask 1.",
        "1 of 2: f2",
        True,
        "No such response.",
        True,
    ]
