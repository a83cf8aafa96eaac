"""Worlds against counts, sums over all texts, and closed forms."""

import hashlib
import math
import random
import re
from collections import Counter
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.grammar import Call, WorldError
from lib.reader import inner_nodes, read_grammar
from lib.world import World, join, log_sum

# A small world, and a second author who writes its texts by plain loops.

PORT = {
    "person.csv": "name,he~,trade!,pet:pet!,home:place\n"
    "Una,she,baker,Ink,mill\nPiet,he,pilot,,quay\nMaud,she,,Mog,mill\n",
    "pet.csv": "name,kind!\nInk,cat\nMog,dog\n",
    "place.csv": "name,at,weight\nmill,at the mill,1\nquay,on the quay,3\n",
    "number.csv": "name,value\ntwo,2\nthree,3\nfour,4\nfive,5\nsix,6\n",
    "stories.txt": """
# a comment
story
  3  {p:person} [rests|2: sleeps] {q:place.at}.[ {p.he} is <what(p)>.|]
  {p:person where pet} and {p.pet}: {a:number where value<4} and
    {b:number where value<=a.value} make {let c = a + b}{c}.
what(p)
  {if p.trade} a {p.trade}
  2  {if p.pet} glad of {p.pet}, the {p.pet.kind}
  {if not p.pet} alone
""",
}


def port_by_hand() -> dict[str, float]:
    """All texts of PORT with their probabilities, without the engine."""
    people = {  # what a person is, with weights
        "Una": ("She", {"a baker": 1, "glad of Ink, the cat": 2}),
        "Piet": ("He", {"a pilot": 1, "alone": 1}),
        "Maud": ("She", {"glad of Mog, the dog": 2}),
    }
    does = {"rests": 1 / 3, "sleeps": 2 / 3}
    places = {"at the mill": 0.25, "on the quay": 0.75}
    found = {}
    for (name, (he, is_)), verb, place in product(
        people.items(), does, places
    ):
        p = 3 / 4 / 3 * does[verb] * places[place] / 2
        found[f"{name} {verb} {place}."] = p
        for what, weight in is_.items():
            share = p * weight / sum(is_.values())
            found[f"{name} {verb} {place}. {he} is {what}."] = share
    sums = {
        ("two", "two", "four"): 1 / 2,
        ("three", "two", "five"): 1 / 4,
        ("three", "three", "six"): 1 / 4,
    }
    for pair, ((a, b, c), p) in product(
        ("Una and Ink", "Maud and Mog"), sums.items()
    ):
        found[f"{pair}: {a} and {b} make {c}."] = p / 4 / 2
    return found


PORT_TEXTS = port_by_hand()


@pytest.fixture(scope="module")
def port() -> World:
    return World.read(PORT)


@pytest.fixture(scope="module")
def town() -> World:
    return World.load()


def grammar(text: str, **tables: str) -> World:
    files = {f"{name}.csv": content for name, content in tables.items()}
    return World.read(files | {"stories.txt": text})


def written_again(world: World) -> dict[str, float]:
    """All texts that the scorer's own prefix probabilities lead to."""
    found, begun = {}, [""]
    while begun:
        text = begun.pop()
        for character in world.next_probs(text):
            if character:
                begun.append(text + character)
            else:
                found[text] = math.exp(world.log_prob(text))
    return found


# Exact probabilities


def test_all_texts_of_a_finite_world(port):
    assert math.isclose(sum(PORT_TEXTS.values()), 1)
    found = written_again(port)
    assert found.keys() == PORT_TEXTS.keys()
    assert math.isclose(sum(found.values()), 1, abs_tol=1e-12)
    for text, p in PORT_TEXTS.items():
        assert math.isclose(found[text], p, rel_tol=1e-12), text


def test_frequencies_of_100_000_stories(port):
    n = 100_000
    counts = Counter(story.text for story in port.corpus(11, n))
    assert counts.keys() <= PORT_TEXTS.keys()
    chi2 = 0.0
    for text in PORT_TEXTS:
        p = math.exp(port.log_prob(text))
        chi2 += (counts[text] - n * p) ** 2 / (n * p)
        assert abs(counts[text] - n * p) < 4.5 * math.sqrt(n * p), text
    free = len(PORT_TEXTS) - 1
    assert abs(chi2 - free) < 4 * math.sqrt(2 * free)


def test_a_story_knows_its_probability(port):
    for story in port.corpus(3, 300):
        assert math.isclose(story.log_p, math.log(PORT_TEXTS[story.text]))
        assert math.isclose(story.log_p, port.log_prob(story.text))


@pytest.mark.parametrize(
    "text", ["", "U", "Una", "una rests at the mill.", "Una rests at the mill"]
)
def test_what_is_not_said_is_impossible(port, text):
    assert port.log_prob(text) == -math.inf
    assert port.log_prob("Una rests at the mill. ") == -math.inf


def test_an_ambiguous_text_sums_its_derivations():
    gulls = grammar(
        "gull\n  a <color> gull\n  a grey gull\ncolor\n  [grey|white]\n"
    )
    assert math.isclose(gulls.log_prob("A grey gull"), math.log(0.75))
    told = {story.log_p for story in gulls.corpus(1, 50)}
    assert len(told) == 2 and max(told) == math.log(0.5)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 60])
def test_exponentially_many_derivations(n):
    """Rows of stones: the closed form obeys Fibonacci's recurrence."""
    stones = grammar("row\n  <step><row>\n  <step>\nstep\n  3  o\n  oo\n")
    a = [1.0, 3 / 8]
    while len(a) <= n:
        a.append(3 / 8 * a[-1] + 1 / 8 * a[-2])
    text = ("o" * n).capitalize()
    assert math.isclose(stones.log_prob(text), math.log(a[n]))
    assert sum(1 for _ in stones.readings(text)) <= 6 * n + 6


def test_derivations_that_print_nothing_are_summed_too():
    world = grammar("s\n  [|2: ]x[[|]|] [y|]\n")
    assert math.isclose(world.log_prob("X"), math.log(0.5))
    assert math.isclose(world.log_prob("X y"), math.log(0.5))


# Prefixes


def test_prefixes_by_summing_over_texts(port):
    for text in [*PORT_TEXTS][::4]:
        cuts = range(len(text) + 1)
        found = port.prefix_log_probs(text, cuts)
        for cut, log_p in zip(cuts, found):
            mass = sum(
                p for x, p in PORT_TEXTS.items() if x.startswith(text[:cut])
            )
            assert math.isclose(log_p, math.log(mass), abs_tol=1e-12)


def test_a_cut_past_the_end_asks_for_the_end(port):
    text = "Una rests at the mill."
    n = len(text)
    here, ended = port.prefix_log_probs(text, [n, n + 1])
    assert ended < here - 0.1 and math.isclose(ended, port.log_prob(text))
    assert port.prefix_log_probs(text, [n + 1, n, n, 0]) == [
        ended, here, here, 0.0,
    ]  # fmt: skip
    half = text[:5]
    assert port.prefix_log_probs(half, [6]) == [-math.inf]


def test_prefixes_of_what_is_never_said(port):
    found = port.prefix_log_probs("Una flies", range(10))
    assert found[4] > -math.inf and found[5:] == [-math.inf] * 5


def test_next_characters(port):
    mass = Counter()
    begun = "Una "
    for text, p in PORT_TEXTS.items():
        if text.startswith(begun):
            mass[text[len(begun)]] += p
    found = port.next_probs(begun)
    assert found.keys() == mass.keys()
    for character, p in found.items():
        assert math.isclose(p, mass[character] / mass.total())
    assert port.next_probs("Una rests at the mill.").keys() == {"", " "}
    assert port.next_probs("Nobody") == {}


# What nodes do


def tell(world: World, seed: int = 0) -> str:
    return world.tell(random.Random(seed)).text


def all_told(world: World, n: int = 200) -> set[str]:
    return {story.text for story in world.corpus(0, n)}


PEOPLE = "name,he~,trade!,home:house\nUna,she,baker,red\nPiet,he,,blue\n"
HOUSES = "name,street,floors\nred,High Street,2\nblue,Low Street,11\n"


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("[a|b|]c", {"Ac", "Bc", "C"}),
        ("{p:person}, {p.he}", {"Una, she", "Piet, he"}),
        ("{p:person.he} {p}", {"She Una", "He Piet"}),
        ("{p:person where trade}", {"Una"}),
        ("{p:person where not trade}", {"Piet"}),
        ("{p:person where trade=baker}", {"Una"}),
        ("{p:person where trade!=baker}", {"Piet"}),
        ("{p:person where home.street=Low Street}", {"Piet"}),
        ("{p:person} {q:person not p}", {"Una Piet", "Piet Una"}),
        ("{p:person} in {h:house where name=p.home}", {"Una in red",
                                                      "Piet in blue"}),
        ("{h:house where floors>9}", {"Blue"}),
        ("{h:house where floors<=2}", {"Red"}),
        ("{let p:person}{p.home.street}", {"High Street", "Low Street"}),
        ("{p:person} [{if p.trade}works|{if not p.trade}rests]",
         {"Una works", "Piet rests"}),
        ("{p:person} [{if p.he=she}{if p.trade}a|b]",
         {"Una a", "Una b", "Piet b"}),
        ("{p:person}{q:person} [{if p=q}same|{if p!=q}not]",
         {"UnaUna same", "PietPiet same", "UnaPiet not", "PietUna not"}),
        ("{p:person}: {p:person not p} {p}", {"Una: Piet Piet",
                                              "Piet: Una Una"}),
    ],
)  # fmt: skip
def test_what_a_line_can_say(line, texts):
    world = grammar(f"s\n  {line}\n", person=PEOPLE, house=HOUSES)
    assert all_told(world) == texts
    assert math.isclose(
        math.fsum(math.exp(world.log_prob(x)) for x in texts), 1
    )


@pytest.mark.parametrize(
    ("sum_", "text"), [("a + b", "Five"), ("b - a", "One"), ("a * b", "Six"),
                       ("a + 4", "Six")]
)  # fmt: skip
def test_reckoning(sum_, text):
    numbers = "name,value\none,1\ntwo,2\nthree,3\nfive,5\nsix,6\n"
    world = grammar(
        "s\n  {let a:number where value=2}{let b:number where value=3}"
        f"{{let c = {sum_}}}{{c}}\n",
        number=numbers,
    )
    assert tell(world) == text


def test_rules_with_parameters_have_variables_of_their_own():
    world = grammar(
        "s\n  {p:person}: <two(p, p)> {p}\n"
        "two(q, r)\n  {p:person not q}{q}{r}\n",
        person="name\nA\nB\n",
    )
    assert all_told(world) == {"A: BAA A", "B: ABB B"}


def test_rules_without_parameters_share_the_callers():
    world = grammar("s\n  <who> {p}\nwho\n  {p:person}\n", person="name\nA\n")
    assert tell(world) == "A A"


def test_rows_and_alternatives_are_drawn_by_weight():
    world = grammar(
        "s\n  3  {p:x}\n  0.5  no\n", x="name,weight\nA,5\nB,0\nC,\n"
    )
    for text, p in {
        "A": 3 / 3.5 * 5 / 6,
        "C": 3 / 3.5 / 6,
        "No": 1 / 7,
    }.items():
        assert math.isclose(world.log_prob(text), math.log(p))
    assert world.log_prob("B") == -math.inf


# Spaces, capitals and spans


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("a  b [] c [] .", "A b c ."),
        ("it rains. [] it stops!  why? so.", "It rains. It stops! Why? So."),
        ('he said: "it [] is." she left.', 'He said: "It is." She left.'),
        ('"where?" she asked. "here."', '"Where?" she asked. "Here."'),
        ('"go," he said, "or run." "me?"', '"Go," he said, "or run." "Me?"'),
        ('"go!" ^she said, "^now."', '"Go!" She said, "Now."'),
        ("one / two. [] / three", "One\nTwo.\nThree"),
        ("3 o'clock: a tale", "3 o'clock: a tale"),
    ],
)  # fmt: skip
def test_pieces_fit(line, text):
    world = grammar(f"s\n  {line}\n")
    assert tell(world) == text
    assert world.log_prob(text) == 0
    split = grammar(
        f"s\n  {line.replace(' ', '[ ]').replace('[[ ]]', '[]')}\n"
    )
    if " / " not in line:
        assert tell(split) == text and split.log_prob(text) == 0


def test_join_holds_back_spaces():
    assert join("\n", "", " a ") == ("A", " ")
    assert join("xxx.", " ", "") == ("", " ")
    assert join("xxx.", " ", " b") == (" B", "")


def test_spans_tile_the_text_and_know_their_kind():
    world = grammar(
        "s\n  {p:person} had [one|a] {t:thing}. {p.he} was a {p.trade}. "
        "the {t} of {p} was {p.home.colour}, {p.trade/text}, {p.trade}. "
        "{let q:person not p}{q} {let n = 1 + 1}{n}\n",
        person="name,he~,trade!,home:house\nUna,she,baker,H\nPiet,he,cook,H\n",
        house="name,colour!\nH,red\n", thing="name\nkettle\n",
        number="name,value\ntwo,2\n",
    )  # fmt: skip
    story = world.tell(random.Random(1))
    pieces = [(story.text[a:b], kind) for a, b, kind in story.spans]
    assert "".join(piece for piece, _ in pieces) == story.text
    name, other = (("Una", "Piet") if "Una had" in story.text
                   else ("Piet", "Una"))  # fmt: skip
    trade = {"Una": "baker", "Piet": "cook"}[name]
    assert [(x.strip(), kind) for x, kind in pieces if kind != "text"] == [
        (name, "new"), (pieces[2][0].strip(), "wording"), ("kettle", "new"),
        ({"Una": "She", "Piet": "He"}[name], "agreement"), (trade, "fact"),
        ("kettle", "memory"), (name, "memory"), ("red", "fact"),
        (trade, "memory"), (other, "new"), ("two", "reckoning"),
    ]  # fmt: skip
    ends = [end for _, end, _ in story.spans]
    assert story.kinds(ends) == [kind for _, _, kind in story.spans]
    assert story.kinds(range(1, len(story.text) + 1))[0] == "new"


# The switches


def test_without_removes_and_renormalizes(port):
    less = port.without({"person": {"Una": ["trade"], "Maud": ["pet"]}})
    assert not [x for x in all_told(less, 2000) if "baker" in x or "Mog" in x]
    found = written_again(less)
    assert math.isclose(sum(found.values()), 1, abs_tol=1e-12)
    was = PORT_TEXTS["Una rests at the mill. She is glad of Ink, the cat."]
    now = found["Una rests at the mill. She is glad of Ink, the cat."]
    assert math.isclose(now, was * 3 / 2)
    assert math.isclose(found["Una and Ink: two and two make four."], 1 / 8)
    assert "She is alone." in "".join(found)
    assert port.rows("person")[0]["trade"] == "baker"  # as it was
    assert less.rows("person")[0]["trade"] == ""


def test_keep_wordings(port):
    plain = port.keep_wordings("story", 1)
    assert not any(" and " in x for x in all_told(plain, 500))
    was = PORT_TEXTS["Una rests at the mill."]
    assert math.isclose(
        math.exp(plain.log_prob("Una rests at the mill.")), was * 4 / 3
    )
    assert port.log_prob("Una and Ink: two and two make four.") > -math.inf


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"person": {"Ada": ["trade"]}}, r"person\.csv.*'Ada'"),
        ({"person": {"Una": ["job"]}}, r"person\.csv.*'job'.*'Una'"),
        ({"person": {"Una": ["name"]}}, r"'name'"),
        ({"people": {}}, r"people\.csv"),
    ],
)
def test_what_cannot_be_left_out(port, facts, says):
    with pytest.raises(WorldError, match=says):
        port.without(facts)


@pytest.mark.parametrize(
    ("rule", "n", "says"),
    [("tale", 1, "'tale'"), ("what", 4, r"4.*'what'.*3"), ("what", 0, "0")],
)
def test_wordings_that_cannot_be_kept(port, rule, n, says):
    with pytest.raises(WorldError, match=says):
        port.keep_wordings(rule, n)


# The same everywhere


def digest(world: World, seed: int) -> str:
    texts = "\n\n".join(story.text for story in world.corpus(seed, 50))
    return hashlib.sha256(texts.encode()).hexdigest()[:16]


def test_the_same_stories_on_every_machine(port):
    assert digest(port, 1) == digest(World.read(PORT), 1) == "40140c3075705f67"
    assert digest(port, 1) != digest(port, 2)


def test_a_corpus_ends_where_it_should(port):
    assert len(port.corpus(1, 7)) == 7
    sizes = [len(story.text) for story in port.corpus(1, n_characters=500)]
    assert sum(sizes) >= 500 > sum(sizes[:-1])
    assert port.corpus(1, 7)[:3] == port.corpus(1, 3)
    for wrong in ({}, {"n_stories": 2, "n_characters": 2}, {"n_stories": -1}):
        with pytest.raises(ValueError, match="expected one of them"):
            port.corpus(1, **wrong)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9))
def test_only_random_is_asked_of_the_generator(seed):
    class Plain:
        def __init__(self) -> None:
            self.random = random.Random(seed).random

    port = World.read(PORT)
    story = port.tell(Plain())  # type: ignore[arg-type]
    assert story == port.tell(random.Random(seed))


def test_log_sum():
    assert log_sum([]) == -math.inf == log_sum([-math.inf] * 2)
    assert math.isclose(log_sum([-1000, -1000]), -1000 + math.log(2))


# Errors name the file, the line and what was expected

FAULTS = {
    "person.csv": [
        ("trade!", "trade?", r"person\.csv, line 1.*column heads"),
        ("pilot,,quay", "pilot,quay", r"line 3: 4 cells, expected 5.*trade"),
        ("Maud,", "Una,", r"line 4: the name 'Una' is empty or taken"),
        ("Ink,mill", "Inky,mill", r"Una's pet is 'Inky', which pet\.csv"),
        ("pet:pet!", "pet:animal!", r"line 1: there is no animal\.csv"),
    ],
    "number.csv": [
        ("five,5\n", "", r"stories\.txt, line 5.*no row for 3 \+ 2 = 5"),
        ("six,6", "six,many", r"expected a number, got 'many'"),
    ],
    "stories.txt": [
        ("{p:person}", "{p:people}", r"line 4: there is no people\.csv"),
        ("{q:place.at}", "{q:place.in}", r"line 4: place\.csv has no .*'in'"),
        ("where pet}", "where cat}", r"line 5: person\.csv has no .*'cat'"),
        ("where pet}", "with pet}", r"line 5: 'with pet'.*'not' or 'where'"),
        ("where pet}", "not r}", r"line 5: nothing is bound to 'r'"),
        ("where pet}", "where trade=x}", r"line 5: no row of person\.csv"),
        ("<what(p)>", "<why(p)>", r"line 4: no rule 'why'"),
        ("<what(p)>", "<what>", r"line 4: 'what' with None.*\('p',\)"),
        ("<what(p)>", "<what(p, q)>", r"'what' with \('p', 'q'\), expected"),
        ("<what(p)>", "<what(x)>", r"line 4: nothing is bound to 'x'"),
        ("<what(p)>", "<(p)>", r"line 4: <\(p\)>: expected a rule"),
        ("[rests|", "rests|", r"line 4: '\|' closes or parts nothing"),
        ("sleeps]", "sleeps", r"line 4: '\[' has no partner"),
        ("{p.he}", "{p.he", r"line 4: '{' has no partner"),
        ("{p.he}", "{p he}", r"line 4: {p he}: expected p, p\.trade"),
        ("{p.he}", "{p.she}", r"line 4: person\.csv has no column 'she'; it"),
        ("{p.he}", "{p.home.at.x}", r"'at' names no row of a table"),
        ("{p.he}", "{p.pet}", r"line 4: person\.csv: Piet has no 'pet'"),
        ("{p.he}", "{p.he/verb}", r"line 4: kind 'verb', expected text"),
        ("2: sleeps", "0: sleeps", r"line 4: the weight.* is 0"),
        ("{if p.trade} a", "a {if p.trade}", r"must begin its alternative"),
        ("{if p.trade} a", "{if ?} a", r"line 8: '\?': expected a condition"),
        ("{if p.trade} a", "{if p.trade<3} a", r"line 7: expected a number"),
        ("what(p)\n", "what(1)\n", r"'1' is no variable's name"),
        ("what(p)\n", "what(p)\nwhat(p)\n", r"line 7: 'what\(p\)', expected"),
        ("what(p)\n", "story\n", r"line 7: a second rule 'story'"),
        ("  {if p.trade} a", " {if p.trade} a", r"line 8: indented by 1"),
        ("# a comment", "  first", r"line 2: indented by 2"),
        ("  {if p.trade} a", "  <what(p)> a", r"what begins with what"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [(file, *fault) for file, faults in FAULTS.items() for fault in faults],
)
def test_an_error_says_where_and_what(file, old, new, says):
    assert old in PORT[file]
    files = PORT | {file: PORT[file].replace(old, new, 1)}
    with pytest.raises(WorldError, match=says):
        World.read(files).corpus(1, 300)


def test_an_empty_page_has_no_rule():
    with pytest.raises(WorldError, match="there is no rule"):
        read_grammar({"stories.txt": "# nothing\n"})


def test_an_alternative_without_rows_is_shut():
    people = "name,trade!\nUna,baker\nPiet,pilot\n"
    world = grammar(
        "s\n  2  <cake>\n  [rain|<flight>]\ncake\n"
        "  {p:person where trade=baker} bakes.\nflight\n  [<fly>]\n"
        "fly\n  {p:person where trade=pilot} flies.\n",
        person=people,
    )
    assert math.isclose(world.log_prob("Una bakes."), math.log(2 / 3))
    less = world.without({"person": {"Una": ["trade"]}})
    assert all_told(less) == {"Rain", "Piet flies."}
    assert math.isclose(less.log_prob("Rain"), math.log(1 / 2))
    least = less.without({"person": {"Piet": ["trade"]}})
    assert least.log_prob("Rain") == 0.0


def test_a_guard_that_always_closes():
    world = grammar("s\n  {p:x} [{if p.y}a]\n", x="name,y\nA,\n")
    with pytest.raises(WorldError, match=r"line 2: nothing is possible in \["):
        world.corpus(1, 1)


def test_a_folder_is_read(tmp_path, port):
    for name, content in PORT.items():
        Path(tmp_path, name).write_text(content, encoding="utf-8")
    assert digest(World.load(tmp_path), 1) == digest(port, 1)


# Saltmarsh


def test_saltmarsh_is_found_from_anywhere(tmp_path, monkeypatch, town):
    monkeypatch.chdir(tmp_path)
    assert World.load().rows("person") == town.rows("person")


def test_saltmarsh_says_its_probability(town):
    """Ambiguity is rare, and does not move the floor by a thousandth."""
    stories = town.corpus(1, 200)
    gaps = [town.log_prob(s.text) - s.log_p for s in stories]
    assert min(gaps) > -1e-9
    assert sum(gap > 1e-9 for gap in gaps) <= 10
    assert sum(gaps) < -0.001 * sum(story.log_p for story in stories)


def test_saltmarsh_never_fails(town):
    for story in town.corpus(2, 3000):
        assert story.text.isascii() and "  " not in story.text
        assert story.spans[0][0] == 0
        assert story.spans[-1][1] == len(story.text)
        assert all(a[1] == b[0] for a, b in pairwise(story.spans))


def test_saltmarsh_prefixes(town):
    for story in town.corpus(3, 10):
        n = len(story.text)
        found = town.prefix_log_probs(story.text, range(n + 2))
        assert all(a >= b - 1e-9 for a, b in pairwise(found))
        assert math.isclose(found[-1], town.log_prob(story.text))


def test_saltmarsh_is_rich(town):
    stories = town.corpus(1, n_characters=1_000_000)
    text = "\n".join(story.text for story in stories)
    assert len(set(re.findall(r"[a-z']+", text.lower()))) >= 1500
    assert len({story.text for story in stories}) > 0.99 * len(stories)
    rules = town.grammar.rules
    assert len(rules[town.grammar.start].choice.alternatives) >= 60
    kinds = {kind for story in stories for _, _, kind in story.spans}
    assert kinds >= {"text", "wording", "new", "memory", "agreement", "fact",
                     "reckoning"}  # fmt: skip


def test_every_rule_of_saltmarsh_is_reachable(town):
    rules = town.grammar.rules
    reached: set[str] = set()
    todo = [town.grammar.start]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            nodes = inner_nodes(rules[name].choice)
            todo += [node.rule for node in nodes if isinstance(node, Call)]
    assert reached == rules.keys()


def test_every_fact_about_a_person_is_told(town):
    """Not only somewhere: in two stories or more of 1.5 MB."""
    table = town.grammar.tables["person"]
    facts = [c for c in table.columns if table.kinds[c] == "fact"]
    assert len(facts) >= 5
    stories = town.corpus(5, n_characters=1_500_000)
    told: Counter[tuple[str, str]] = Counter()
    names = {row["name"]: row for row in table.rows.values()}
    for story in stories:
        for word in set(re.findall(r"[A-Z]\w+", story.text)) & names.keys():
            for fact in facts:
                cell = names[word][fact]
                told[word, fact] += cell.lower() in story.text.lower()
    for name, row in names.items():
        for fact in facts:
            assert not row[fact] or told[name, fact] >= 2, (name, fact)


def test_facts_can_be_taken_out_of_saltmarsh(town):
    """Each fact of one person, and one fact of some people, at a time."""
    table = town.grammar.tables["person"]
    facts = [c for c in table.columns if table.kinds[c] == "fact"]
    names = [*table.rows]
    for fact in facts:
        gone = {name: [fact] for name in names[::5] if table.rows[name][fact]}
        town.without({"person": gone}).corpus(1, 400)  # still works
    alone = town.without({"person": {names[0]: facts}}).corpus(1, 500)
    assert any(names[0] in story.text for story in alone)
