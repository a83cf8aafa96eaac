"""Chapter 5's interactive pieces compute what the library computes.

The pages are filled with data of these tests, and compared with what the
chapter stores. Their arithmetic is run by node or Chromium; Chromium also
moves the controls.
"""

import json
import math
import random
import re
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import browser
import pytest
import torch
from browser import arithmetic, find_pieces, needs_chromium, needs_js, told
from torch import Tensor

from lib.sample import keep_top_k, keep_top_p
from lib.tokenizer import BPETokenizer
from lib.train import NGramLM
from lib.world import World

NAMES = ["copies", "kinds", "losses", "sampler"]
STORED = find_pieces("05_pretraining")
each_piece = pytest.mark.parametrize("name", NAMES)


def fill(name: str, data: Any) -> str:
    """Do what the chapter's `see` does."""
    return browser.fill(f"05_{name}", data)


def compute(name: str, call: str, folder: Path) -> Any:
    """Evaluate an expression on a piece's arithmetic."""
    page = (browser.SEE / f"05_{name}.html").read_text(encoding="utf-8")
    return browser.compute(arithmetic(page), call, folder)


# Data to fill the pages with

V = 97
HISTORY = [
    {"step": 10, "train_loss": 5.5, "val_loss": 5.25},
    {"step": 20, "train_loss": 4.5, "val_loss": 4.0},
    {"step": 30, "train_loss": 3.5, "val_loss": 3.75},
    {"step": 40, "train_loss": 2.5, "val_loss": 4.5},
]
LINES = [["uniform", 6.0], ["unigram", 5.0], ["bigram", 3.8], ["floor", 0.5]]
RATES = {"train": 0.5, "held": 0.25}


def logits_of(seed: int) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    drawn = 3 * torch.randn(V, generator=generator, dtype=torch.float64)
    return [round(x, 4) for x in drawn.tolist()]


def matches_of(ids: list[int], source: list[int]) -> list[list[Any]]:
    """For each place: how long a copy begins there, and how often."""
    found: list[list[Any]] = []
    for t in range(len(ids)):
        n, where = 0, [0]
        while where and t + n < len(ids):
            run = ids[t : t + n + 1]
            ends = range(len(source) - n)
            here = [i for i in ends if source[i : i + n + 1] == run]
            if not here:
                break
            n, where = n + 1, here
        found.append([n, len(where), f"<{where[0]}", f"{where[0] + n}>"])
    return found


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def copies_of(text: str, source: str) -> dict[str, Any]:
    found = matches_of(letters(text), letters(source))
    return {"tokens": list(text), "matches": found}


@cache
def told_stories() -> tuple[World, list[Any], dict[str, list[list[Any]]]]:
    """Stories of Saltmarsh, each token with kind, model's and floor's nats.

    The model is a trigram counter.
    """
    world = World.load()
    stories = world.corpus(5, 42)
    text = "".join(story.text for story in stories[2:])
    bpe = BPETokenizer.train(text, 600)
    end = bpe.vocab_size
    ids = [
        i for s in stories[2:] for i in [end, end, *bpe.encode(s.text), end]
    ]
    counter = NGramLM(3, end + 1).fit(ids)
    rows = {}
    for n, story in enumerate(stories[:2]):
        tokens = [bpe.vocabulary[i].decode() for i in bpe.encode(story.text)]
        cuts, at = [], 0
        for token in tokens:
            at += len(token)
            cuts.append(at)
        logs = world.prefix_log_probs(story.text, [0, *cuts, at + 1])
        floors = [a - b for a, b in pairwise(logs)]
        given = [end, end, *bpe.encode(story.text), end]
        places = range(2, len(given))
        p = [counter.mix(counter.shares(given, i))[-1] for i in places]
        kinds = [*story.kinds(cuts), "end"]
        rows[f"story {n}"] = [
            [token, kind, -math.log(x), floor]
            for token, kind, x, floor in zip([*tokens, ""], kinds, p, floors)
        ]
    return world, stories[:2], rows


def data_for(name: str) -> Any:
    if name == "sampler":
        tokens = [f" {chr(97 + i % 26)}{i}\n" for i in range(V)]
        pairs = [["First", logits_of(0)], ["Second", logits_of(1)]]
        return {"contexts": pairs, "tokens": tokens}
    if name == "losses":
        runs = {"a": HISTORY, "b": HISTORY[:2]}
        return {"runs": runs, "lines": LINES, "tokens_per_byte": RATES}
    if name == "copies":
        source = "the cat sat on the mat"
        texts = {
            name: copies_of(text, source)
            for name, text in {
                "one": "a cat satin hat </script>",
                "two": "the cat on the mat",
                "none": "xyz",
            }.items()
        }
        return {"texts": texts, "n": 4}
    return {"stories": told_stories()[2]}


# The pages


@each_piece
def test_a_piece_stands_alone(name: str) -> None:
    page = fill(name, data_for(name))
    assert "{{" not in page
    assert not re.search(r"https?:|\bsrc=|\bimport\b|fetch\(|[^-]\bid=", page)
    assert not re.search(r"Math\.random|Date|window\.", page)
    assert page.count("</script>") == 1


@each_piece
def test_a_piece_without_scripts_points_to_its_twin(name: str) -> None:
    page = fill(name, data_for(name))
    page = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.S)
    assert re.search(r'class="see-off">[^<]*(figure|printed)', page)
    assert 'class="see-on" hidden' in page


def test_the_chapter_holds_all_pieces() -> None:
    assert sorted(STORED) == NAMES


@pytest.mark.parametrize("name", sorted(STORED))
def test_the_chapter_shows_the_pages_as_they_are(name: str) -> None:
    (given,) = re.findall(r"const data = (\{.*\});\n", STORED[name])
    assert STORED[name] == fill(name, json.loads(given))


@needs_chromium
def test_all_pieces_on_one_page_and_one_of_them_twice(tmp_path: Path) -> None:
    pages = [fill(name, data_for(name)) for name in [*NAMES, "losses"]]
    script = """
    const each = (css) => [...document.querySelectorAll(css)];
    tell([each(".see-off").filter((node) => !node.hidden).length,
      each(".see-on").map((node) => node.innerText.length > 100),
      each("input, select").filter((e) =>
        !e.labels?.[0]?.textContent.trim()).length,
      each(".see, .see :is([role], table, svg)").filter((e) =>
        !e.getAttribute("aria-label")).length]);
    """
    off, on, unlabelled, unnamed = told("".join(pages), script, tmp_path)
    assert (off, unlabelled, unnamed) == (0, 0, 0)
    assert on == [True] * 5


# The arithmetic


def chosen(logits: Tensor, t: float, k: int | None, p: float | None) -> Tensor:
    """Return the distribution that `sample_next` draws from."""
    logits = logits / t
    if k is not None:
        logits = keep_top_k(logits, k)
    if p is not None:
        logits = keep_top_p(logits, p)
    return logits.softmax(-1)


def entropy(p: Tensor) -> float:
    return -torch.special.xlogy(p, p).sum().item()


@needs_js
def test_sampler_chooses_as_the_library_does(tmp_path: Path) -> None:
    temperatures, ks = [0.1, 0.7, 1.0, 5.0], [None, 1, 2, 10, 96, 97]
    shares = [None, 0.01, 0.5, 0.9, 0.99]
    settings = list(product(temperatures, ks, shares))
    tables = [logits_of(seed) for seed in range(3)]
    call = (
        f"{json.dumps(tables)}.map((logits) => {json.dumps(settings)}"
        ".map(([t, k, p]) => { const order = sort(logits);"
        "return [order, choose(order.map((i) => logits[i]), t, k, p)]; }))"
    )
    for table, row in zip(tables, compute("sampler", call, tmp_path)):
        logits = torch.tensor(table, dtype=torch.float64)
        own = logits.softmax(-1)
        for (t, k, p), (order, seen) in zip(settings, row):
            expected = chosen(logits, t, k, p)
            kept = int((expected > 0).sum())
            assert seen["kept"] == len(seen["after"]) == kept
            after = torch.zeros(V, dtype=torch.float64)
            after[order[:kept]] = torch.tensor(
                seen["after"], dtype=torch.float64
            )
            torch.testing.assert_close(after, expected, atol=1e-12, rtol=0)
            torch.testing.assert_close(
                torch.tensor(seen["own"], dtype=torch.float64), own[order]
            )
            tempered = (logits / t).softmax(-1)
            assert math.isclose(
                seen["mass"], tempered[expected > 0].sum().item()
            )
            assert math.isclose(
                seen["ownMass"], own[expected > 0].sum().item()
            )
            near = {"abs_tol": 1e-12}
            assert math.isclose(seen["entropy"][0], entropy(own), **near)
            assert math.isclose(seen["entropy"][1], entropy(expected), **near)


@needs_js
def test_sampler_sorts_equals_by_id(tmp_path: Path) -> None:
    found = compute("sampler", "sort([1, 2, 1, 2, -1])", tmp_path)
    assert found == [1, 3, 0, 2, 4]


def generate(seed: int, n: int) -> list[float]:
    """Numbers of the page's generator, from its definition."""
    m = 2**31 - 1
    return [(seed + 1) * pow(48271, i, m) % m / m for i in range(6, n + 6)]


@needs_js
def test_sampler_draws_with_the_given_probabilities(tmp_path: Path) -> None:
    n, p = 20_000, [0.5, 0.3, 0.15, 0.04, 0.01]
    call = (
        "[0, 1, 9999].map((seed) => { const next = generator(seed);"
        f"const numbers = Array.from({{length: {n}}}, next);"
        f"return [numbers, numbers.map((u) => draw({p}, u))]; }})"
    )
    found = compute("sampler", call, tmp_path)
    for seed, (numbers, drawn) in zip([0, 1, 9999], found):
        assert numbers == generate(seed, n)
        ends = torch.tensor(p, dtype=torch.float64).cumsum(0)
        places = torch.tensor(numbers, dtype=torch.float64)
        expected = torch.searchsorted(ends, places, right=True)
        assert drawn == expected.clamp(max=4).tolist()
        for rank, share in enumerate(p):
            scatter = math.sqrt(n * share * (1 - share))
            assert abs(drawn.count(rank) - n * share) < 4 * scatter
    certain = "[draw([1], 0.999), draw([0.5, 0.5 - 1e-9], 1 - 1e-12)]"
    assert compute("sampler", certain, tmp_path) == [0, 1]


@needs_js
def test_losses_measure(tmp_path: Path) -> None:
    rng = random.Random(0)
    histories = []
    for n in range(1, 20):
        pairs = [[rng.random() * 7, rng.random() * 7] for _ in range(n)]
        history = [
            {"step": 5 * i, "train_loss": a, "val_loss": b}
            for i, (a, b) in enumerate(pairs, start=1)
        ]
        for record in history:
            if rng.random() < 0.2:
                record[rng.choice(["train_loss", "val_loss"])] = None  # type: ignore[assignment]
        histories.append(history)
    call = (
        f"{json.dumps(histories)}.map((history) => history.map((_, i) =>"
        f"look(history, i, {json.dumps(RATES)})))"
    )
    for history, row in zip(histories, compute("losses", call, tmp_path)):
        for i, seen in enumerate(row):
            record = history[i]
            for key, loss in ("train", "train_loss"), ("held", "val_loss"):
                if (nats := record[loss]) is None:
                    assert seen[key] is None
                    continue
                assert seen[key]["nats"] == nats
                assert math.isclose(seen[key]["perplexity"], math.exp(nats))
                bits = nats / math.log(2) * RATES[key]
                assert math.isclose(seen[key]["bits"], bits)
            losses = record["train_loss"], record["val_loss"]
            whole = None not in losses
            assert seen["gap"] == (losses[1] - losses[0] if whole else None)
            for key, part in ("best", history[: i + 1]), ("lowest", history):
                taken = [r for r in part if r["val_loss"] is not None]
                best = min(taken, key=lambda r: r["val_loss"], default=None)
                assert seen[key] == best


@needs_js
def test_losses_know_between_which_lines_they_lie(tmp_path: Path) -> None:
    asked = [7.0, 6.0, 5.5, 3.8, 3.7, 0.5, 0.1]
    call = f"{asked}.map((nats) => between({json.dumps(LINES)}, nats))"
    found = compute("losses", call, tmp_path)
    names = [
        [side and side[0] for side in (seen["above"], seen["below"])]
        for seen in found
    ]
    assert names == [
        [None, "uniform"],
        [None, "uniform"],
        ["uniform", "unigram"],
        ["unigram", "bigram"],
        ["bigram", "floor"],
        ["bigram", "floor"],
        ["floor", None],
    ]


@needs_js
def test_labels_of_lines_stay_apart(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [[rng.uniform(10, 250) for _ in range(n)] for n in range(1, 15)]
    rows += [[100.0] * 5, [249.0, 250.0], [10.0, 10.5, 11.0]]
    call = f"{rows}.map((row) => spread(row, 12.5, 12, 262))"
    for row, found in zip(rows, compute("losses", call, tmp_path)):
        assert 12 - 1e-9 <= min(found) and max(found) <= 262 + 1e-9
        assert all(b - a > 12.4 for a, b in pairwise(sorted(found)))
        pairs = sorted(zip(row, found))
        assert [b for _, b in pairs] == sorted(found)


def copied_windows(
    ids: list[int], source: list[int], n: int
) -> set[tuple[int, int]]:
    """All [a, b) of n or more tokens that stand in source."""
    N = len(ids)
    known = {
        tuple(source[i:j])
        for i in range(len(source))
        for j in range(i + n, len(source) + 1)
    }
    return {
        (a, b)
        for a in range(N)
        for b in range(a + n, N + 1)
        if tuple(ids[a:b]) in known
    }


@needs_js
def test_copies_are_all_that_stand_in_the_source(tmp_path: Path) -> None:
    rng = random.Random(2)
    cases = [
        [[rng.randrange(size) for _ in range(length)] for length in (24, 40)]
        for size in (2, 3, 5, 9, 30)
        for _ in range(12)
    ]
    lengths = [[row[0] for row in matches_of(*case)] for case in cases]
    call = f"{lengths}.map((row) => [1, 2, 3, 5, 8].map((n) => mark(row, n)))"
    for (ids, source), row in zip(cases, compute("copies", call, tmp_path)):
        for n, seen in zip((1, 2, 3, 5, 8), row):
            windows = copied_windows(ids, source, n)
            whole = [
                (a, b)
                for a, b in sorted(windows)
                if not {(a - 1, b), (a, b + 1)} & windows
            ]
            assert seen["found"] == [[a, b - a] for a, b in whole]
            depth = [sum(a <= i < b for a, b in whole) for i in range(24)]
            assert seen["depth"] == depth
            covered = {i for a, b in windows for i in range(a, b)}
            assert [i for i in range(24) if depth[i]] == sorted(covered)
            assert seen["share"] == len(covered) / 24
        every = copied_windows(ids, source, 1)
        longest = max((b - a for a, b in every), default=0)
        assert all(seen["longest"] == longest for seen in row)


@needs_js
def test_kinds_add_up_to_the_worlds_probability(tmp_path: Path) -> None:
    world, stories, rows = told_stories()
    call = f"{json.dumps([*rows.values()])}.map(sums)"
    found = compute("kinds", call, tmp_path)
    for story, row, parts in zip(stories, rows.values(), found):
        by_kind = {part["kind"]: part for part in parts}
        assert {*by_kind} == {kind for _, kind, _, _ in row} | {"all"}
        whole = by_kind["all"]
        assert whole["tokens"] == len(row)
        assert math.isclose(whole["floor"], -world.log_prob(story.text))
        assert whole["over"] > 0 and math.isclose(whole["share"], 1)
        for kind, part in by_kind.items():
            mine = [r for r in row if kind in (r[1], "all")]
            model, floor = (math.fsum(r[i] for r in mine) for i in (2, 3))
            near = {"abs_tol": 1e-9}
            assert part["tokens"] == len(mine)
            assert math.isclose(part["model"], model, **near)
            assert math.isclose(part["floor"], floor, **near)
            assert math.isclose(part["over"], model - floor, **near)
            share = (model - floor) / whole["over"]
            assert math.isclose(part["share"], share, **near)


@needs_js
def test_a_meter_is_as_high_as_the_dearer_of_the_two(tmp_path: Path) -> None:
    pairs = [[3, 1], [1, 3], [2, 2], [0, 0], [0, 4]]
    call = f"{pairs}.map(([model, floor]) => meter(model, floor, 4))"
    found = compute("kinds", call, tmp_path)
    for (model, floor), seen in zip(pairs, found):
        assert seen["due"] + seen["over"] == model / 4
        assert seen["due"] + seen["saved"] == floor / 4
        assert seen["over"] == 0 or seen["saved"] == 0


# The controls

MOVE = """
const at = (name) => document.querySelector(`[data-is="${name}"]`);
const send = (name) =>
  at(name).dispatchEvent(new Event("input", {bubbles: true}));
const set = (name, value) => { at(name).value = value; send(name); };
const rows = () => [...at("table").rows].map((row) =>
  [...row.cells].map((cell) => cell.textContent));
const said = [];
"""


def look(name: str, script: str, folder: Path) -> Any:
    return told(fill(name, data_for(name)), MOVE + script, folder)


@needs_chromium
def test_sampler_slides_and_draws(tmp_path: Path) -> None:
    script = """
    const lines = () => [...at("rows").children].map((row) =>
      [...row.children].map((cell) => cell.textContent));
    const drawn = () => lines().reduce((sum, row) =>
      sum + (parseInt(row[3]) || 0), 0);
    said.push(at("say").textContent, lines());
    set("k", 3); set("temperature", 14);
    said.push(at("say").textContent, lines().slice(0, 6));
    at("hundred").click(); at("one").click();
    said.push(drawn(), at("told").textContent);
    at("clear").click(); at("hundred").click(); at("one").click();
    said.push(at("told").textContent);
    set("seed", 5); at("hundred").click(); at("one").click();
    said.push(at("told").textContent);
    set("context", "Second"); set("k", 1e3);  set("p", 50);
    said.push(drawn(), lines()[0][0], at("say").textContent,
      ["temperature", "k", "p"].map((n) =>
        at(n).getAttribute("aria-valuetext")));
    set("temperature", 25); set("p", 100);
    const box = document.querySelector(".see");
    said.push(box.scrollWidth - box.clientWidth);
    tell(said);
    """
    (
        say, rows, cut, few, n, first, again, other, none, top, last, values,
        beyond,
    ) = look("sampler", script, tmp_path)  # fmt: skip
    order = sorted(range(V), key=lambda i: -logits_of(0)[i])
    p = torch.tensor(logits_of(0), dtype=torch.float64).softmax(-1)
    tokens = data_for("sampler")["tokens"]
    names = [tokens[i].replace(" ", "␣").replace("\n", "↵") for i in order]
    assert say.startswith("97 of 97 tokens kept.")
    assert f"Entropy: {entropy(p):.2f} nats before" in say
    assert [row[0] for row in rows] == [*names[:30], "67 others"]
    assert rows[0][2] == f"{100 * p[order[0]]:.0f}% → {100 * p.max():.0f}%"
    assert cut.startswith("4 of 97 tokens kept.")
    assert [row[2].endswith("cut") for row in few] == [False] * 4 + [True] * 2
    kept = p[order[:4]] / p[order[:4]].sum()
    ranks = [
        int(torch.searchsorted(kept.cumsum(0), u)) for u in generate(0, 101)
    ]
    assert n == 101 and first == again != other
    quoted = ", ".join(f"“{names[rank]}”" for rank in ranks[-8:])
    assert first == f"Drawn 101, 4 different. The last: {quoted}."
    second = torch.tensor(logits_of(1), dtype=torch.float64)
    best = tokens[int(second.argmax())]
    assert (none, top) == (0, best.replace(" ", "␣").replace("\n", "↵"))
    half = int((chosen(second, 1.0, None, 0.5) > 0).sum())
    assert last.startswith(f"{half} of 97 tokens kept.")
    assert values == ["1", "off", "0.50"]
    assert beyond <= 0


@needs_chromium
def test_losses_cursor(tmp_path: Path) -> None:
    script = """
    said.push([at("say").textContent, rows()]);
    for (const i of [0, 1, 3]) {
      set("at", i);
      said.push(at("say").textContent);
    }
    at("log").click();
    const places = [...at("chart").querySelectorAll("circle")].length;
    set("run", "b");
    said.push(at("say").textContent, at("at").max, places);
    const box = at("chart").getBoundingClientRect();
    at("chart").dispatchEvent(new MouseEvent("click",
      {clientX: box.left + 60, clientY: box.top + 9}));
    said.push(at("step").value);
    tell(said);
    """
    (best, table), first, second, last, other, most, circles, clicked = look(
        "losses", script, tmp_path
    )
    assert best == (
        "Step 30: held-out loss 3.750, below bigram (3.80) and above floor "
        "(0.50). The lowest so far. No later one is lower: stop early here."
    )
    bits = 3.75 / math.log(2)
    assert table == [
        ["", "nats", "perplexity", "bits a byte"],
        ["training", "3.500", f"{math.exp(3.5):.1f}", f"{7 * bits / 15:.2f}"],
        ["held-out", "3.750", f"{math.exp(3.75):.1f}", f"{bits / 4:.2f}"],
        ["gap", "0.250", "", ""],
    ]
    assert first.endswith(
        "The lowest so far. Still to come: 3.750 at step 30."
    )
    assert "below unigram (5.00) and above bigram (3.80)" in second
    assert last.endswith(
        "Lowest so far: 3.750 at step 30, 0.750 less. It is not reached again."
    )
    assert other.startswith("Step 20: held-out loss 4.000")
    assert (most, circles, clicked) == ("1", 2, "10")


@needs_chromium
def test_copies_are_marked_and_walked(tmp_path: Path) -> None:
    script = """
    const marked = (css) => [...at("body").querySelectorAll(css)]
      .map((span) => span.textContent).join("");
    const state = () => [marked(".copy"), marked(".twice"), marked(".now"),
      at("say").textContent, at("origin").textContent,
      at("back").disabled, at("next").disabled];
    said.push(state(), rows());
    set("text", "two"); said.push(state());
    at("next").click(); said.push(state());
    set("n", 13); said.push(state());
    set("text", "none"); said.push(state());
    tell(said);
    """
    one, table, two, walked, long, none = look("copies", script, tmp_path)
    assert one[:3] == [" cat sat", "", " cat sat"]
    assert one[3] == (
        "1 copy, 32% of the 25 tokens. Copy 1 of 1: 8 tokens, 1 time in the "
        "training text, first here:"
    )
    assert one[4:] == ["…<3 cat sat11>…", True, True]
    assert table == [
        ["", "longest copy", "marked at 4"],
        ["one", "8 tokens", "32%"],
        ["two", "13 tokens", "100%"],
        ["none", "0 tokens", "0%"],
    ]
    assert two[:3] == ["the cat on the mat", "at ", "the cat "]
    assert two[3].startswith("2 copies, 100% of the 18 tokens. Copy 1 of 2: 8")
    assert walked[2] == "at on the mat" and walked[5:] == [False, True]
    assert long[0] == long[2] == "at on the mat" and long[1] == ""
    assert none[:2] == ["", ""]
    assert none[3] == "Nothing of 13 tokens or more is copied."


@needs_chromium
def test_kinds_can_be_walked_by_keys(tmp_path: Path) -> None:
    script = """
    const buttons = () => [...at("body").children];
    const stops = () => buttons().filter((b) => b.tabIndex === 0).length;
    const press = (key) => {
      document.activeElement.dispatchEvent(
        new KeyboardEvent("keydown", {key, bubbles: true}));
      if (!document.hasFocus()) {  // then Chromium keeps the event back
        document.activeElement.dispatchEvent(new FocusEvent("focus"));
      }
    };
    said.push(stops(), at("say").textContent);
    buttons()[0].focus(); press("ArrowRight"); press("ArrowRight");
    said.push(buttons().indexOf(document.activeElement), stops(),
      at("say").textContent, document.activeElement.ariaLabel);
    press("End"); press("ArrowRight");
    said.push(at("say").textContent, rows());
    const kind = [...at("table").querySelectorAll("button")]
      .find((b) => b.dataset.kind === "fact");
    kind.click();
    said.push(buttons().filter((b) => !b.classList.contains("dim")).length,
      kind.getAttribute("aria-pressed"));
    kind.click();
    said.push(buttons().filter((b) => b.classList.contains("dim")).length);
    at("marks").click();
    said.push(buttons().every((b) => b.querySelector("small").hidden));
    tell(said);
    """
    (
        stops,
        worst,
        place,
        still,
        say,
        label,
        end,
        table,
        facts,
        on,
        off,
        bare,
    ) = look("kinds", script, tmp_path)
    rows = told_stories()[2]["story 0"]
    text, kind, model, floor = max(rows, key=lambda row: row[2] - row[3])
    assert worst.startswith(f"“{text.replace(' ', '␣')}” is {kind}")
    assert f"{model - floor:.2f} above it." in worst
    assert (stops, place, still) == (1, 2, 1)
    text, kind, model, floor = rows[2]
    assert f" is {kind} (needed: " in say
    assert f"pays {model:.2f} nats" in say and f"floor is {floor:.2f}" in say
    assert label.endswith(f"model {model:.2f}, floor {floor:.2f} nats")
    assert end.startswith("The end is end (needed: to know when")
    n = sum(row[1] == "fact" for row in rows)
    assert (facts, on, off, bare) == (n, "true", 0, True)
    assert table[0][0] == "kind" and table[-1][:2] == ["all", str(len(rows))]
    over = sum(row[2] - row[3] for row in rows) / len(rows)
    assert table[-1][4:] == [f"{over:.2f}", "100%"]
    assert [row[1] for row in table if row[0] == "f: fact"] == [str(n)]
