"""The bundled instruction set: generated again, recomputed, without leaks."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import instructions
from instructions import constant, near, normal, passes, read_wordings
from lib.data import DATASETS, Source, load_records
from lib.world import World
from wordlists import Lists, bag, close, read

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "data" / "instructions"
RECORDS = json.loads((FOLDER / "records.json").read_text(encoding="utf-8"))
TRAIN = [r for r in RECORDS if r["split"] == "train"]
HELD = [r for r in RECORDS if r["split"] != "train"]
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")
KEYS = [
    *("id", "group", "family", "kind", "split", "wording", "item", "taught"),
    *("people", "instruction", "input", "output", "sentence", "check"),
    "answers",
]


def of(family, *splits):
    """Return a family's records, of some splits if any are named."""
    return [
        r
        for r in RECORDS
        if r["family"] == family and (not splits or r["split"] in splits)
    ]


# The files


def test_generated_again_the_same():
    for name, text in instructions.written().items():
        assert (FOLDER / name).read_bytes() == text.encode("utf-8")


def test_another_hash_seed_gives_the_same():
    run = subprocess.run(
        [sys.executable, "tools/instructions.py", "--check"],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_check_tells_an_altered_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "records.json").write_text("[]\n")
    files = {"records.json": "[1]\n", "halves.csv": "table\n"}
    monkeypatch.setattr(instructions, "FOLDER", tmp_path)
    monkeypatch.setattr(instructions, "written", lambda: files)
    assert instructions.main(["--check"]) == 1
    assert (tmp_path / "records.json").read_text() == "[]\n"
    assert instructions.main([]) == 0
    assert (tmp_path / "records.json").read_text() == "[1]\n"
    assert instructions.main(["--check"]) == 0
    assert "records.json is not up to date" in capsys.readouterr().out


def test_card_is_true():
    content = (FOLDER / "records.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() in CARD
    assert f"{len(content):,} bytes" in CARD
    assert f"{len(RECORDS):,} records" in CARD
    for split, n in Counter(r["split"] for r in RECORDS).items():
        assert f"| `{split}` | {n:,} |" in CARD
    for line in instructions.tables(RECORDS):
        assert line in CARD.splitlines()
    for path in FOLDER.iterdir():
        assert f"`{path.name}`" in CARD
    verbs, actors = read("action"), read("actor")
    objects = {o.strip("+") for v in verbs for o in v["objects"].split("|")}
    for n, what in (
        (len(actors), "subjects"),
        (len({v["base"] for v in verbs}), "verbs"),
        (len(objects), "objects"),
    ):
        assert f"{n} {what}" in CARD
    assert len(actors) >= 60 and len(verbs) >= 80 and len(objects) >= 100


def test_as_a_data_set(monkeypatch):
    digest = hashlib.sha256((FOLDER / "records.json").read_bytes())
    source = Source(
        "instructions/records.json",
        digest.hexdigest(),
        "CC0-1.0",
        "a test",
        bundled=True,
    )
    monkeypatch.setitem(DATASETS, "instructions", source)
    assert load_records("instructions") == RECORDS


def test_shape():
    assert len(RECORDS) >= 3000
    assert len({r["id"] for r in RECORDS}) == len(RECORDS)
    assert len({r["family"] for r in TRAIN}) >= 20
    for r in RECORDS:
        assert [*r] == KEYS
        texts = [r["instruction"], r["input"], r["output"], *r["answers"]]
        for text in texts:
            assert text == " ".join(text.split()) and text.isascii()
            assert not set("{}|+") & set(text) or r["family"] == "add-digits"
        assert r["instruction"] and r["output"] == r["answers"][0]
        assert 1 <= len(r["output"].split()) <= 12
        assert r["split"] in instructions.SPLITS
        assert r["taught"] in (True, False, None)


def test_order_of_files_is_by_family():
    families = [row["name"] for row in read("family")]
    assert [*dict.fromkeys(r["family"] for r in RECORDS)] == families


# Splits


def test_whole_families_are_held_out():
    whole = {r["family"] for r in RECORDS if r["split"] == "family"}
    assert whole == {
        *("when", "active", "kilograms", "minutes"),
        *("count-letters-spelled", "unknown-other"),
    }
    assert not whole & {r["family"] for r in TRAIN}


def test_items_stand_on_one_side():
    sides: dict[tuple[str, str], set[bool]] = {}
    for r in RECORDS:
        side = r["split"] == "train"
        sides.setdefault((r["family"], r["item"]), set()).add(side)
    assert all(len(side) == 1 for side in sides.values())


def test_held_out_items_are_asked_in_two_ways():
    """The same items again in held-out wordings: a paired comparison."""
    for family in {r["family"] for r in TRAIN}:
        items = [
            [r["item"] for r in of(family, split)]
            for split in ("item", "wording")
        ]
        assert items[0] == items[1] and len({*items[0]}) == len(items[0])


def test_share_held_out():
    for family in {r["family"] for r in TRAIN}:
        train = {r["item"] for r in of(family, "train")}
        held = {r["item"] for r in of(family, "item")}
        share = len(held) / len(train | held)
        low, high = {
            "words": (0.2, 0.35),
            "town": (0.5, 0.5),
            "unknown": (0.3, 0.5),
        }.get(of(family)[0]["group"], (0.15, 0.23))
        assert low <= share <= high, (family, share)


def test_wordings():
    wordings = read_wordings()
    known = {text for train, _ in wordings.values() for text in train}
    for family, (train, held) in wordings.items():
        assert 5 <= len(train) <= 8 and len({*train}) == len(train)
        if any(r["wording"].startswith(family + " ") for r in TRAIN):
            assert len(held) == 2 and not known & {*held}
    for r in RECORDS:
        name, number = re.fullmatch(
            r"([a-z-]+)(?: held out)? (\d)", r["wording"]
        ).groups()
        held = "held out" in r["wording"]
        assert held == (r["split"] == "wording")
        pattern = re.escape(wordings[name][held][int(number) - 1])
        pattern = re.sub(r"\\{\w+\\}", ".+", pattern)
        assert re.fullmatch(pattern, r["instruction"])
        assert r["family"] == "unknown-person" or name in (
            r["family"],
            r["family"].replace("unknown-none", name),
        )


def test_every_wording_is_used():
    used = {r["wording"] for r in RECORDS}
    for family, sides in read_wordings().items():
        for mark, texts in zip(("", " held out"), sides):
            for n in range(1, len(texts) + 1):
                if family != "unknown-other" or not mark:
                    assert (
                        f"{family}{mark} {n}" in used or len(of(family)) < 41
                    )


# Leaks


def test_nothing_comes_twice():
    count = Counter((r["instruction"], r["input"]) for r in RECORDS)
    assert max(count.values()) == 1


def test_no_held_out_input_in_training():
    """An input may be a word that stands in another family's training."""
    known = {(r["family"], r["input"]) for r in TRAIN if r["input"]}
    assert not known & {(r["family"], r["input"]) for r in HELD}
    known = {r["input"] for r in TRAIN}
    for r in HELD:
        if r["input"] in known and r["input"]:
            assert len(r["input"].split()) == 1
    asked = {r["instruction"] for r in TRAIN if not r["input"]}
    assert not asked & {r["instruction"] for r in HELD if not r["input"]}


def test_near_duplicates():
    """What is left are numbers in words, in families of other kinds."""
    held = [r for r in HELD if r["input"]]
    pairs = [*near(held, [r for r in TRAIN if r["input"]])]
    assert {(a["family"], b["family"]) for a, b in pairs} <= {
        ("digits", "add-words")
    }
    assert f"{len(pairs)} near duplicates" in CARD


def test_near_finds_what_is_planted():
    def record(text):
        return {"instruction": "Say it.", "input": text}

    asked = record("On Monday, Ben mended the old clock in the hall.")
    twins = [
        record("Alice mended the old clock in the hall on Monday."),
        record("in the hall Ben mended the clock on Monday"),
    ]
    others = [
        record("On Friday, Ben wound the old clock in the attic."),
        record("b e n"),
    ]
    for twin in twins:
        assert [*near([asked], [*others, twin])] == [(asked, twin)]
    assert not [*near([asked], others)]
    assert not [*near([record("b e n d s")], others)]


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(["ab", "cd", "ef", "gh", "ij"]))))
def test_near_by_brute_force(texts):
    found = [{"instruction": "", "input": " ".join(t)} for t in texts]
    bags = [bag(r["input"]) for r in found]
    expected = [
        (a, next(b for b, d in zip(found, bags) if close(c, d)))
        for a, c in zip(found, bags)
        if len(c) >= 4
    ]
    assert [*near(found, found)] == expected


def test_against_prints_pairs(tmp_path, monkeypatch, capsys):
    files = {"records.json": json.dumps(RECORDS[:900])}
    monkeypatch.setattr(instructions, "written", lambda: files)
    record = of("passive")[0]
    path = tmp_path / "others.json"
    path.write_text(json.dumps([record]))
    assert instructions.main(["--against", str(path)]) == 0
    assert record["input"] in capsys.readouterr().out


def test_held_out_people_are_never_trained():
    world = World.load()
    people = world.rows("person")
    halves = read("halves")
    sides = {
        half: {r["name"] for r in halves if r["half"] == half}
        for half in ("train", "held out")
    }
    full = {p["full"] for p in people}
    assert {p for r in TRAIN for p in r["people"]} == sides["train"] & full
    asked = {p for r in HELD for p in r["people"]}
    assert asked == sides["held out"] & full
    assert len(sides["train"] & full) == len(sides["held out"] & full) == 28
    text = "\n".join(json.dumps(r) for r in TRAIN)
    words = {*re.findall(r"[\w']+", text)}
    for person in people:
        if person["full"] in sides["held out"]:
            assert not words & {*person["full"].split()}
            for column in ("pet", "boat", "habit"):
                assert not person[column] or person[column] not in text
            assert f"the {person['trade']}" not in text
    for island in world.rows("island"):
        if island["name"] in sides["held out"]:
            assert island["name"] not in text
            assert island["capital"] not in text
    assert len(sides["train"]) == len(sides["held out"]) == 34


def test_each_half_has_its_share():
    for fact in ("trade", "home", "door", "pet", "food", "habit", "boat"):
        train = {r["item"] for r in of(f"town-{fact}", "train")}
        assert len(train) == len(of(f"town-{fact}", "item"))
    for fact in ("home", "door"):
        values = [
            {r["output"] for r in of(f"town-{fact}", split)}
            for split in ("train", "item")
        ]
        assert values[0] == values[1]


def test_reading_is_not_about_saltmarsh():
    world = World.load()
    names = {
        word
        for table in ("person", "child", "pet")
        for row in world.rows(table)
        for word in [*row.get("full", "").split(), row["name"]]
    }
    strangers = [row["name"] for row in read("stranger")]
    actors = [row["name"] for row in read("actor")]
    for name in strangers + actors:
        assert not names & {*name.split()}, name


def saltmarsh_words():
    folder = ROOT / "data" / "saltmarsh"
    files = [*folder.glob("*.csv"), folder / "stories.txt"]
    text = "\n".join(f.read_text(encoding="utf-8").lower() for f in files)
    return {*re.findall(r"[a-z']+", text)}


def test_taught_words_are_saltmarshs_and_the_others_are_not():
    world, words = World.load(), saltmarsh_words()
    for family, table in (
        ("plural", "noun"),
        ("a-an", "noun"),
        ("past", "verb"),
        ("opposite", "adjective"),
        ("comparative", "adjective"),
    ):
        rows = {row["name"]: row for row in world.rows(table)}
        column = {"a-an": "one"}.get(family, family)
        for r in of(family):
            assert r["taught"] == (r["input"] in rows)
            if r["taught"]:
                assert r["output"] == rows[r["input"]][column]
            elif family == "opposite":
                assert not {r["input"], r["output"]} <= words
            else:
                assert r["input"] not in words
                assert not {*r["output"].split()} - {"a", "an"} & words
        held = [r["taught"] for r in of(family, "item")]
        assert min(held.count(True), held.count(False)) >= 8


def test_forms_are_not_given_away_by_sentences():
    """Held-out pasts and comparatives stand in no training record."""
    known = Counter(
        word
        for r in TRAIN
        for word in re.findall(
            r"[a-z]+", f"{r['instruction']} {r['input']} {r['output']}".lower()
        )
    )
    for family in ("past", "comparative"):
        for r in of(family, "item"):
            assert not known[r["output"]]
    sides = {
        frozenset((r["input"], r["output"])): r["split"] == "train"
        for r in of("opposite")
    }
    for r in of("opposite"):
        pair = frozenset((r["input"], r["output"]))
        assert sides[pair] == (r["split"] == "train")


def test_letters_and_lists_share_their_sides():
    held = {r["input"] for r in of("spell", "item")}
    for family in ("first-letter", "capitals"):
        assert {r["input"] for r in of(family, "item")} == held
    spelled = {" ".join(word) for word in held}
    for family in ("first-letter", "spell", "capitals"):
        family += "-spelled"
        assert {r["input"] for r in of(family, "item")} == spelled
    letters = {
        r["input"].replace(" ", "") for r in TRAIN if r["group"] == "letters"
    }
    unseen = [*of("reverse", "item"), *of("sort", "item")]
    for r in unseen:
        assert not letters & {*r["input"].split(", ")}
    for r in of("count-letters-spelled"):
        assert r["input"].replace(" ", "") not in letters


def test_town_is_not_asked_as_its_texts_ask():
    rules = (ROOT / "data" / "saltmarsh" / "stories.txt").read_text("utf-8")
    rules = rules.lower()
    for family, (train, held) in read_wordings().items():
        if family.startswith(("town", "unknown")):
            for text in train + held:
                asked = text.lower().replace("{full}", "{p.full}")
                assert asked not in rules
    for row in read("unknown"):
        assert row["name"] not in rules


# Answers, worked out in another way


def test_answers_pass_and_others_fail():
    lists: dict[str, list[str]] = {}
    for r in RECORDS:
        outputs = lists.setdefault(r["family"], [])
        if r["output"] not in outputs:
            outputs.append(r["output"])
        assert all(passes(r, answer) for answer in r["answers"])
        assert passes(r, f"  {r['output'].rstrip('.')} . ")
        assert not passes(r, "") and not passes(r, "nothing of the kind")
        assert passes(r, r["sentence"]) == bool(r["sentence"])
    for r in RECORDS:
        exact = r["check"] == "exact"
        right = {normal(a, exact) for a in r["answers"]}
        others = [
            a for a in lists[r["family"]] if normal(a, exact) not in right
        ]
        assert not others or not passes(
            r, others[len(r["item"]) % len(others)]
        )


def test_scorer():
    record = {"check": "one of", "answers": ["7000 metres", "7000"]}
    for said in ("7,000 Metres.", " 7000", "7000  metres\n"):
        assert passes(record, said)
    for said in ("70,00 metres", "7,0000", "7000 kilometres", "6000, 7000"):
        assert not passes(record, said)
    record = {"check": "exact", "answers": ["FOX"]}
    assert passes(record, "FOX.") and not passes(record, "fox")
    with pytest.raises(ValueError, match=r"'near'.*'exact' or"):
        passes(record | {"check": "near"}, "FOX")


SMALL = [row["name"] for row in World.load().rows("number")]
NUMBER = {name: n for n, name in enumerate(SMALL, 1)}


def number(text):
    """Read a number in words, by adding up its parts."""
    tens = dict(zip(("forty", "fifty", "sixty"), (40, 50, 60)))
    tens |= dict(zip(("seventy", "eighty", "ninety"), (70, 80, 90)))
    known = NUMBER | tens | {"and": 0}
    text = text.replace("one hundred", "")
    total = 0 if "hundred" not in text else -1
    for part in text.replace("-", " ").split():
        total += known[part]
    return total


def recomputed(r):
    """Work out the answer to a record from its input."""
    text, words = r["input"], re.findall(r"[a-zA-Z0-9'-]+", r["input"])
    match r["family"].removesuffix("-spelled"):
        case "reverse":
            return f"{words[2]}, {words[1]}, {words[0]}"
        case "sort":
            first, last = min(words), max(words)
            return ", ".join([first, *({*words} - {first, last}), last])
        case "last-word":
            return re.fullmatch(r".* (\w+)\.", text)[1]
        case "count-words":
            return SMALL[text.count(" ")]
        case "count-letters":
            return SMALL[text.count(" ")]
        case "first-letter":
            return text[0]
        case "spell":
            return re.sub(r"(?<=\w) ?(?=\w)", "-", text)
        case "capitals":
            return "".join(chr(ord(c) - 32 * (c != " ")) for c in text)
        case "kilometres" | "kilograms":
            return f"{words[0]}000 {words[1].removeprefix('kilo')}"
        case "metres":
            return f"{words[0]}00 centimetres"
        case "minutes":
            return f"{sum(60 for _ in range(int(words[0])))} seconds"
        case "add-words":
            return SMALL[sum(map(number, text.split(" and "))) - 1]
        case "add-digits":
            return str(eval(text))
        case "question":
            return None
    return None


def test_answers_recomputed():
    done = Counter()
    for r in RECORDS:
        right = recomputed(r)
        if right:
            assert r["output"] == right, r["id"]
            done[r["family"]] += 1
    assert len(done) == 17 and min(done.values()) >= 40


def test_digits():
    for r in of("digits"):
        n = int(r["output"])
        hundred = "one hundred" in r["input"]
        assert n == number(r["input"]) + 100 * hundred
        assert 10 < n < 200


def test_town_answers_are_saltmarshs():
    world = World.load()
    people = {p["full"]: p for p in world.rows("person")}
    streets = {s["name"]: s["at"] for s in world.rows("street")}
    for r in RECORDS:
        fact = r["family"].removeprefix("town-")
        if r["group"] == "unknown":
            for name in r["people"]:
                assert not people[name].get(r["kind"])
        elif fact.startswith("who-"):
            value = people[r["output"]][fact.removeprefix("who-")]
            assert value in r["instruction"]
            assert r["people"] == [r["output"]]
        elif r["group"] == "town" and r["people"]:
            (name,) = r["people"]
            right = people[name][fact]
            assert name in r["instruction"]
            assert right in r["answers"]
            if fact == "home":
                assert r["output"] == streets[right]
    for island in world.rows("island"):
        name, capital = island["name"], island["capital"]
        for r in RECORDS:
            if r["item"] == f"{name}, capital":
                assert r["output"] == capital and name in r["instruction"]
            if r["item"] == f"{name}, island":
                assert r["output"] == name and capital in r["instruction"]
            if r["item"] == f"{name}, known":
                assert r["output"] == island["known"]


def test_answers_of_reading_stand_in_the_sentence():
    for family in ("who", "what", "where", "when"):
        for r in of(family):
            assert r["output"].lower() in r["input"].lower()
    for r in of("odd-one-out"):
        kinds = {c["name"]: c["words"].split() for c in read("category")}
        words = r["input"].split(", ")
        rest = [w for w in words if w != r["output"]]
        home = [k for k, known in kinds.items() if {*rest} <= {*known}]
        assert home and r["output"] in words
        assert not any(r["output"] in kinds[k] for k in home)


def test_rewritten_sentences():
    base = {v["past"]: v["base"] for v in read("action")}
    done = {v["past"]: v["participle"] for v in read("action")}
    for r in of("passive") + of("active"):
        plain, turned = r["input"], r["output"]
        if r["family"] == "active":
            plain, turned = turned, plain
        past = max((p for p in base if f" {p} " in plain), key=len)
        subject, rest = plain.split(f" {past} ", 1)
        thing, by = re.split(
            rf" was {done[past]} | were {done[past]} ", turned
        )
        assert rest.lower().startswith(thing.lower())
        end = rest[len(thing) :]
        assert by.lower() == f"by {subject}{end}".lower()
        many = " were " in turned
        assert many == bool(re.search(r"(\b(two|some) .*|[^s])s$", thing)) or (
            thing.split()[0].lower() in ("some", "a", "an", "the")
        )
    for r in of("negation"):
        past = max((p for p in base if f" {p} " in r["input"]), key=len)
        said = r["input"].replace(f" {past} ", f" did not {base[past]} ", 1)
        assert r["output"] == said
    for r in of("question"):
        past = max((p for p in base if f" {p} " in r["input"]), key=len)
        said = r["input"].replace(f" {past} ", f" {base[past]} ", 1)
        said = f"Did {said[:-1]}?"
        assert r["output"].lower() == said.lower()


# Balance


def test_no_constant_answer_is_good():
    for family in {r["family"] for r in RECORDS}:
        ours = of(family)
        best = constant(ours)
        if ours[0]["group"] == "unknown":
            assert best == 1
        elif family == "yes-no":
            assert best == 0.5
        else:
            assert best <= 0.3, family
        counted = Counter(r["output"] for r in of(family, "train"))
        if counted and family != "yes-no" and ours[0]["group"] != "unknown":
            most = max(counted.values())
            assert most / counted.total() <= 0.4, family


def test_choices_are_balanced():
    for split in ("train", "item"):
        articles = Counter(r["kind"] for r in of("a-an", split))
        assert articles["a"] == articles["an"]
        pronouns = Counter(r["kind"] for r in of("pronoun", split))
        assert len({*pronouns.values()}) == 1 and len(pronouns) == 4
        first = [r["output"] == r["input"].split()[0] for r in of("compare")]
        assert 0.45 <= sum(first) / len(first) <= 0.55
        lengths = Counter(r["output"] for r in of("count-words", split))
        assert len(lengths) == 6 and len({*lengths.values()}) == 1
    places = Counter(
        r["input"].split(", ").index(r["output"]) for r in of("odd-one-out")
    )
    assert max(places.values()) / places.total() <= 0.45


def test_sides_do_not_overlap():
    lists = Lists()
    for sides, key in (
        (lists.people, "full"),
        (lists.nouns, "name"),
        (lists.verbs, "name"),
        (lists.opposites, "name"),
        (lists.adjectives, "name"),
    ):
        train, held = ({row[key] for row in side} for side in sides)
        assert train and held and not train & held


# Beside the field's own set


@pytest.mark.skipif(
    "COURSE_DATA" not in os.environ,
    reason="COURSE_DATA does not name a folder with the real data sets",
)
def test_beside_the_reference_set():
    others = load_records("instruction-1100")
    known = {(normal(r["instruction"]), normal(r["input"])) for r in RECORDS}
    asked = {(normal(r["instruction"]), normal(r["input"])) for r in others}
    assert not known & asked
    inputs = {text for _, text in known} & {text for _, text in asked} - {""}
    found = {b["instruction"] for _, b in near(RECORDS, others, whole=True)}
    assert f"{len(found)} of its instructions" in CARD
    assert f"{len(inputs)} inputs" in CARD
