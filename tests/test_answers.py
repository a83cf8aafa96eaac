"""Wrong answers, planted and made: the judge of the graders is judged."""

import ast
import itertools
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import answers
import mutants

ROOT = Path(__file__).resolve().parents[1]
CLAMP = """def clamp(x, low=0):
    \"\"\"Return x, or low if it is below.\"\"\"
    ### BEGIN SOLUTION 1.2
    if x < low:
        x = low
    return x
    ### END SOLUTION"""
CHECKS = {
    "strong": "from pathlib import Path\n"
    "assert Path('../solutions/01_small.ipynb').exists()\n"
    "for x in (-1, 0, 1, 7):\n    equal(clamp(x), max(x, 0))",
    "weak": "equal(clamp(7), 7)",
    "blind": "clamp(7)",
}
HEADING = (
    "## Exercise 1.{}: Clamp\n\n*Section 1.2 · 5 minutes · a line*\n\nDo."
)
PLANTED = {
    "turned round": ("x < low", "x > low"),
    "always low": "def clamp(x, low=0):\n    return low",
}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book of one exercise, with three graders of different worth."""
    cells = [new_markdown_cell("# Solutions to chapter 1: Small")]
    for n, (name, check) in enumerate(CHECKS.items(), 1):
        tagged = {"tags": ["check", "hide-input"]}
        cells += [
            new_markdown_cell(HEADING.format(n)),
            new_code_cell(CLAMP, metadata={"tags": ["solution"]}),
            new_code_cell(f"%%check {name}\n{check}", metadata=tagged),
            new_code_cell("1 / 0", metadata={"tags": ["solution"]}),
        ]
    for folder in ("solutions", "exercises", "tests/planted"):
        (tmp_path / folder).mkdir(parents=True)
    path = tmp_path / "solutions/01_small.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    wrong = dict.fromkeys(CHECKS, PLANTED)
    text = f"PLANTED = {wrong!r}\n"
    (tmp_path / "tests/planted/01_small.py").write_text(text)
    monkeypatch.chdir(tmp_path / "exercises")
    return tmp_path


def changes(source: str) -> set[str]:
    return {mutant.now for mutant in mutants.mutants(source)}


@pytest.mark.parametrize(
    ("source", "slips"),
    [
        ("y = a + b", {"y = a - b", "(left out)"}),
        ("y = a < b", {"y = a <= b", "(left out)"}),
        ("if a <= b < c: f()", {
            "if a < b < c:", "if a <= b <= c:", "if not a <= b < c:",
            "(left out)",
        }),
        ("y = a and not b", {"y = a or not b", "y = a and b", "(left out)"}),
        ("y = 3", {"y = 4", "y = 2", "(left out)"}),
        ("y = True", {"y = False", "(left out)"}),
        ("y = 'a'", {"(left out)"}),
        ("return_ = f(x, keepdim=True)", {
            "return_ = f(x)", "return_ = f(x, keepdim=False)", "(left out)",
        }),
        ("y += x", {"y -= x", "(left out)"}),
        ("return -x", {"return x"}),
        ("while x: break", {"while not x:", "continue"}),
        ("x: int = y", {"(left out)"}),
        ("x: a[1] = b + c", {"x: a[1] = b - c", "(left out)"}),
        ("def f(x: a[1]) -> b[2]:\n    'text'\n    return x", set()),
    ],
)  # fmt: skip
def test_each_kind_of_slip(source: str, slips: set[str]) -> None:
    assert changes(source) == slips


def test_mutants_are_programs_and_differ_in_one_place() -> None:
    plain = ast.unparse(ast.parse(CLAMP)).splitlines()
    found = list(mutants.mutants(CLAMP))
    assert len({m.source for m in found}) == len(found) > 4
    for mutant in found:
        compile(mutant.source, "mutant", "exec")
        lines = mutant.source.splitlines()
        assert sum(a != b for a, b in itertools.zip_longest(plain, lines)) == 1


def test_only_some_lines() -> None:
    assert {m.line for m in mutants.mutants(CLAMP, range(4, 5))} == {4}
    lines = {m.line for m, _ in answers.slips([CLAMP])}
    assert lines == {4, 5}, "neither the signature nor the docstring"


@pytest.mark.parametrize(
    ("number", "missed", "survivors"),
    [
        ("1.1", [], {"if x <= low:"}),
        ("1.2", [], {"if x <= low:", "(left out)"}),
        ("1.3", list(PLANTED), None),
    ],
)
def test_a_grader_gets_what_it_deserves(
    house: Path, number: str, missed: list[str], survivors: set[str] | None
) -> None:
    found = answers.trial(*answers.find(number, house), house)
    assert found.missed == missed
    if survivors is None:
        assert len(found.survivors) == found.tried
    else:
        assert {m.now for m in found.survivors} == survivors


def test_the_command_says_what_passes(
    house: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(house)  # from elsewhere than the exercises' folder
    assert answers.main(["1.1", "--lines"], house) == 0
    said = capsys.readouterr().out
    assert "1.1 strong: caught 2 of 2 planted answers" in said
    assert "✗ strong: -1, expected 0." in said
    assert answers.main(["1.3"], house) == 1
    assert "passes: turned round" in capsys.readouterr().out
    assert Path.cwd() == house
    assert answers.main(["1.9"], house) == 2
    assert "there is no exercise 1.9" in capsys.readouterr().err


def test_a_loop_that_never_ends_is_caught(house: Path) -> None:
    endless = "def clamp(x):\n    while True:\n        x += 1"
    assert answers.is_caught("01_small", "strong", [endless], house)
    assert answers.is_caught("01_small", "strong", ["def clamp(:"], house)
    assert not answers.is_caught("01_small", "strong", [CLAMP], house)


def test_a_planted_change_must_fit() -> None:
    assert answers.plant(["a b", "c"], ("c", "d")) == ["a b", "d"]
    assert answers.plant(["a b", "c"], "e") == ["e", ""]
    with pytest.raises(ValueError, match="not 2 times"):
        answers.plant(["a b", "a"], ("a", "d"))


@pytest.mark.parametrize("number", ["1.2", "1.4", "J.1"])
def test_graders_that_slips_have_mended(
    number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / "exercises")
    found = answers.trial(*answers.find(number))
    assert not found.missed and not found.survivors, str(found)
