"""The messages to the harbour office: as their card says, weighed right."""

import hashlib
import json
import math
import random
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

import harbour
from harbour import BUNDLED, FRAUD, load_harbour, sample
from lib.data import load_records
from lib.grammar import Call, inner_nodes

DATA = Path(__file__).parents[1] / "data" / "harbour"
LINES = (DATA / "messages.jsonl").read_text(encoding="utf-8").splitlines()
RECORDS = [json.loads(line) for line in LINES]
CARD = (DATA / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def fresh():
    """Many messages, not weighed, none of them in the file."""
    texts = [record["text"] for record in RECORDS]
    return sample(12000, 11, weigh=False, without=texts)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+|!", text.lower())


def pairs(text: str) -> list[str]:
    said = words(text)
    return said + [f"{a} {b}" for a, b in pairwise(said)]


def naive_bayes(train, test, features):
    """Return the share of right answers on the test records."""
    counts, n = [Counter(), Counter()], [0, 0]
    for record in train:
        counts[record["label"]].update(features(record["text"]))
        n[record["label"]] += 1
    size = len(counts[0] | counts[1])
    totals = [math.log(c.total() + size) for c in counts]
    right = 0
    for record in test:
        scores = [
            math.log(n[k])
            + sum(
                math.log(counts[k][f] + 1) - totals[k]
                for f in features(record["text"])
            )
            for k in (0, 1)
        ]
        right += (scores[1] > scores[0]) == record["label"]
    return right / len(test)


def claims(records):
    return [record for record in records if record["facts"]]


def is_note(record) -> bool:
    return not record["facts"]


def wrong(record):
    return [f for f in record["facts"] if f["said"] != f["known"]]


# The file


def test_the_file_can_be_written_again():
    again = sample(*BUNDLED, weigh=False)
    for line, record, old in zip(LINES, again, RECORDS, strict=True):
        assert line == json.dumps({**record, "p_fraud": old["p_fraud"]})


def test_its_posteriors_are_those_of_the_grammar():
    office = load_harbour()
    for record in RECORDS[::12]:
        p = office.posterior(record["text"])
        assert round(p, 6) == record["p_fraud"], record["text"]


def test_its_messages():
    assert len(RECORDS) >= 2000
    assert len({record["text"] for record in RECORDS}) == len(RECORDS)
    for record in RECORDS:
        assert [*record] == ["text", "label", "kind", "people", "facts",
                             "pattern", "p_fraud"]  # fmt: skip
        text = record["text"]
        assert text.isascii() and "  " not in text and text[-1] in ".!?"
        assert text[0].isupper() or text[0].isdigit()
        assert 8 <= len(text.split()) <= 45, text
        assert record["label"] == (record["kind"] != "real")
        assert 0 <= record["p_fraud"] <= 1 and record["pattern"]
        for fact in record["facts"]:
            assert fact["person"] in record["people"]
        for name in record["people"]:
            assert name.split()[0] in text


def test_the_loader_reads_it():
    assert load_records("harbour") == RECORDS


def test_its_card():
    for file in ("messages.jsonl", "stories.txt"):
        found = hashlib.sha256((DATA / file).read_bytes()).hexdigest()
        assert found in CARD
    assert "CC0 1.0" in CARD
    kinds = Counter(record["kind"] for record in RECORDS)
    for kind, n in kinds.items():
        assert re.search(rf"{kind}.*\b{n:,}\b", CARD), kind
    assert f"{len(RECORDS):,} messages" in CARD


def test_facts_are_those_of_the_town():
    town = load_harbour().hands[0]
    known = {row["full"]: row for row in town.rows("person")}
    for record in claims(RECORDS):
        for fact in record["facts"]:
            assert fact["known"] == known[fact["person"]][fact["fact"]]
            assert fact["said"] in {row[fact["fact"]] for row in
                                    known.values()}  # fmt: skip


# How likely a fraud is


def test_posteriors_are_calibrated():
    """In each bin, the share of frauds is what was foretold."""
    edges = [0, 0.02, 0.025, 0.05, 0.15, 0.35, 0.65, 0.9, 0.975, 0.99, 1.01]
    for low, high in pairwise(edges):
        inside = [r for r in RECORDS if low <= r["p_fraud"] < high]
        ps = [r["p_fraud"] for r in inside]
        expected, spread = sum(ps), math.sqrt(sum(p * (1 - p) for p in ps))
        assert len(inside) >= 30
        found = sum(r["label"] for r in inside)
        assert abs(found - expected) < 3.5 * spread + 1, (low, high)


def test_the_best_possible_accuracy():
    """What the posterior gets right is what it says that it will."""
    best = [max(r["p_fraud"], 1 - r["p_fraud"]) for r in RECORDS]
    right = [(r["p_fraud"] > 0.5) == r["label"] for r in RECORDS]
    spread = math.sqrt(sum(p * (1 - p) for p in best))
    assert abs(sum(right) - sum(best)) < 3.5 * spread
    assert 0.945 < sum(best) / len(best) < 0.965
    known = [p for p, r in zip(best, RECORDS) if r["facts"]]
    assert 0.965 < sum(known) / len(known) < 0.975


def test_some_notes_are_hard_and_claims_are_not():
    notes = [r["p_fraud"] for r in RECORDS if is_note(r)]
    assert sum(0.3 < p < 0.7 for p in notes) > 0.04 * len(notes)
    for record in claims(RECORDS):
        assert (record["p_fraud"] > 0.5) == bool(wrong(record)), record


def test_both_hands_make_mistakes():
    real = [r for r in claims(RECORDS) if not r["label"]]
    fraud = [r for r in claims(RECORDS) if r["label"]]
    assert 0.01 < sum(bool(wrong(r)) for r in real) / len(real) < 0.06
    assert 0.01 < sum(not wrong(r) for r in fraud) / len(fraud) < 0.06


@pytest.mark.parametrize("fraud", [0.05, 0.5, 0.9])
def test_another_share_of_frauds_shifts_the_odds(fraud):
    office = load_harbour()
    record = next(r for r in RECORDS if 0.1 < r["p_fraud"] < 0.9)
    odds = record["p_fraud"] / (1 - record["p_fraud"])
    odds *= fraud / (1 - fraud) / (FRAUD / (1 - FRAUD))
    p = office.posterior(record["text"], fraud)
    assert math.isclose(p, odds / (1 + odds), rel_tol=1e-4)
    few = sample(400, 1, fraud, weigh=False)
    spread = math.sqrt(fraud * (1 - fraud) / 400)
    assert abs(sum(r["label"] for r in few) / 400 - fraud) < 4 * spread


def test_evidence_counts_every_derivation():
    """Two independent ways to weigh: the whole grammar, and its halves."""
    office = load_harbour()
    whole = harbour.read_harbour()
    for record in RECORDS[:5]:
        text = record["text"]
        real, fraud = (math.exp(hand.log_prob(text)) for hand in office.hands)
        both = (1 - FRAUD) * real + FRAUD * fraud
        assert math.isclose(math.exp(whole.log_prob(text)), both)


def test_what_is_no_message():
    with pytest.raises(ValueError, match=r"no message.*'Good day\.'"):
        load_harbour().posterior("Good day.")
    for n, fraud in ((-1, 0.4), (1, 0.0), (1, 1.0)):
        with pytest.raises(ValueError, match="expected"):
            sample(n, 1, fraud)


# What a word counter can learn


def test_words_say_nothing_about_claims(fresh):
    """Right and wrong claims have the same words, and the same pairs."""
    told = claims(fresh)
    train, test = told[: len(told) // 2], told[len(told) // 2 :]
    for features in (words, pairs):
        found = naive_bayes(train, test, features)
        assert abs(found - 0.5) < 4 * 0.5 / math.sqrt(len(test))


def test_words_say_much_about_notes(fresh):
    """A word counter comes near the best on notes, but not up to it."""
    notes = [r for r in RECORDS if is_note(r)]
    right = [(r["p_fraud"] > 0.5) == r["label"] for r in notes]
    best = sum(right) / len(notes)
    found = naive_bayes(filter(is_note, fresh), notes, words)
    assert 0.9 * best < found < 0.985 * best


def test_no_word_gives_a_fraud_away(fresh):
    counts = [Counter(), Counter()]
    for record in filter(is_note, fresh):
        counts[record["label"]].update({*words(record["text"])})
    often = {w for w, n in (counts[0] + counts[1]).items() if n >= 60}
    shares = {w: counts[1][w] / (counts[0] + counts[1])[w] for w in often}
    assert max(shares.values()) < 0.98
    assert len(often) > 300


def test_right_and_wrong_claims_name_alike(fresh):
    """Each name and each told fact is as frequent in both, but for chance."""
    told = claims(fresh)
    found = [Counter(), Counter()]
    totals = [0, 0]
    for record in told:
        label = record["label"]
        totals[label] += 1
        found[label].update(record["people"])
        found[label].update((f["fact"], f["said"]) for f in record["facts"])
    share = totals[1] / sum(totals)
    zs = []
    for name in found[0] | found[1]:
        n = found[0][name] + found[1][name]
        z = (found[1][name] - n * share) / math.sqrt(n * share * (1 - share))
        zs.append(z)
    assert len(zs) > 280
    assert sum(z * z for z in zs) / len(zs) < 1 + 5 * math.sqrt(2 / len(zs))
    assert max(map(abs, zs)) < 4.5


# People who are held out


def test_messages_stay_in_one_half(fresh):
    """Names, and the true holders of what was wrongly told."""
    she, he = harbour.halves()
    assert len(she) == len(he) == 28 and not {*she} & {*he}
    both = [harbour.about_only(fresh, half) for half in (she, he)]
    named = [record for record in fresh if record["people"]]
    assert len(both[0]) + len(both[1]) == len(named) > 0.5 * len(fresh)
    assert min(map(len, both)) > 0.25 * len(fresh)
    rows = load_harbour().hands[0].rows("person")
    for half, records in zip((she, he), both):
        for fact in (f for r in records for f in wrong(r)):
            kind, said = fact["fact"], fact["said"]
            if kind in ("trade", "pet", "boat", "habit"):
                (holder,) = [x["full"] for x in rows if x[kind] == said]
                assert holder in half


# The generator


def test_the_same_messages_on_every_machine():
    class Plain:
        def __init__(self, seed: int) -> None:
            self.random = random.Random(seed).random

    office = load_harbour()
    for seed in range(50):
        assert office.write(Plain(seed)) == office.write(random.Random(seed))


def test_patterns(fresh):
    parts = {p for r in fresh for p in r["pattern"].split(" + ")}
    notes = {r["pattern"] for r in fresh if is_note(r)}
    assert len(notes) >= 65 and len(parts - notes) >= 70
    surface = Counter(r["pattern"] for r in fresh if r["kind"] == "surface")
    plain = Counter(
        r["pattern"] for r in fresh if is_note(r) and r["kind"] == "real"
    )
    assert sum(plain[p] > surface[p] for p in notes) >= 40
    assert sum(surface[p] > plain[p] for p in notes) >= 25


def test_every_rule_is_reachable():
    grammar = harbour.read_harbour().grammar
    reached: set[str] = set()
    todo = [grammar.start]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            nodes = inner_nodes(grammar.rules[name].choice)
            todo += [node.rule for node in nodes if isinstance(node, Call)]
    assert reached == grammar.rules.keys()


def test_the_generator_finds_its_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert harbour.data_folder() == DATA.parent
