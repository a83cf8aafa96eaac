"""The tuned model that comes along, and the tool that makes it."""

import json
import shutil

import pytest

import instructed
from lib.data import DataAltered, load_records
from lib.difference import FILE, load_tuned
from lib.instruct import respond

FOLDER = instructed.FOLDER
RECORDS = load_records("instructions")


def test_it_answers_about_people_it_was_never_asked_about():
    model, tokenizer = load_tuned("course-instruct")
    asked = [
        r
        for r in RECORDS
        if r["split"] == "item" and r["family"] in ("town-trade", "town-door")
    ]
    right = 0
    for r in asked:
        said = respond(model, tokenizer, r, template="chat", max_new_tokens=16)
        right += instructed.exact_match(said, r)
    figures = json.loads((FOLDER / "figures.json").read_text())
    right_of_town, n = figures["item"]["town"]
    assert len(asked) == 56 and right > 40
    assert right_of_town / n > 0.5


def test_it_is_as_its_card_says():
    figures = json.loads((FOLDER / "figures.json").read_text())
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    asked = [
        r for r in RECORDS if (r["split"], r["group"]) == ("item", "reading")
    ]
    hits = instructed.ask(FOLDER, asked)["item"]["reading"]
    right, n = figures["item"]["reading"]
    assert len(hits) == n and abs(sum(hits) - right) <= 2
    assert f"| {right} of {n} |" in card
    assert (FOLDER / FILE).stat().st_size < 12_000_000


def test_the_tool_in_small(tmp_path, monkeypatch):
    shutil.copy(FOLDER / "README.md", tmp_path)
    kept = [r for r in RECORDS if r["family"] in ("who", "when")][::8]
    monkeypatch.setattr(instructed, "load_records", lambda name: kept)
    monkeypatch.setattr(instructed, "PASSES", 1)
    assert instructed.main(["--folder", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {split: [*row] for split, row in figures.items()} == {
        "item": ["reading"],
        "wording": ["reading"],
        "family": ["reading"],
    }
    old = (FOLDER / "README.md").read_text(encoding="utf-8")
    new = (tmp_path / "README.md").read_text(encoding="utf-8")
    begin, end = instructed.MARKS
    assert new.split(begin)[0] == old.split(begin)[0]
    assert new.split(end)[1] == old.split(end)[1]
    right, n = figures["item"]["reading"]
    assert n and f"| {right} of {n} |" in new
    load_tuned(tmp_path)


def test_an_altered_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    folder = tmp_path / "course-instruct"
    folder.mkdir()
    shutil.copy(FOLDER / FILE, folder)
    (folder / "SHA256SUMS").write_text("0" * 64 + f"  {FILE}\n")
    with pytest.raises(DataAltered, match="altered or incomplete"):
        load_tuned("course-instruct")
