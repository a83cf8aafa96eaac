"""Every grader is tested: a stub, the solution and planted wrong answers.

Exercises are found in solutions/, wrong answers in tests/planted/ under the
same name. All runs in this process, with no kernel, in the folder of the
exercises.
"""

import builtins
import re
import symtable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

import strip
from answers import exercises, plant, planted, solution, solutions, try_answer
from lib.check import VOCABULARY

ROOT = Path(__file__).resolve().parents[1]
AT_LEAST = 3  # planted wrong answers for each exercise
STEMS = [path.stem for path in sorted((ROOT / "solutions").glob("*.ipynb"))]


@pytest.fixture(autouse=True)
def _in_the_folder_of_the_exercises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "exercises")


EXERCISES = [(stem, name) for stem in STEMS for name in exercises(stem)]
PLANTED = [
    pytest.param(stem, name, title, id=f"{stem}-{name}-{title}")
    for stem, name in EXERCISES
    for title in planted(stem).get(name, {})
]
each_exercise = pytest.mark.parametrize(("stem", "name"), EXERCISES)


@each_exercise
def test_solution_passes(stem: str, name: str) -> None:
    cells = solution(stem, name)
    assert str(try_answer(stem, name, cells)) == f"✓ {name}"


@each_exercise
def test_stub_says_what_to_reread(stem: str, name: str) -> None:
    exercise = exercises(stem)[name]
    stubs = [strip.strip_source(cell.source) for cell in exercise.answers]
    result = try_answer(stem, name, stubs)
    section = re.search(r"reread section (\w+)\.(\d+)", result.message)
    assert result.status == "open" and section, str(result)
    assert f"{section[1]}.{section[2]}" in exercise.section
    chapter = nbformat.read(ROOT / "chapters" / f"{stem}.ipynb", as_version=4)
    prose = [c.source for c in chapter.cells if c.cell_type == "markdown"]
    headings = re.findall(r"^## .+", "\n".join(prose), re.MULTILINE)
    appendix = re.match(r"appendix_(\w)_", stem)
    number = appendix[1].upper() if appendix else stem[:2].lstrip("0")
    assert section[1] == number
    assert 1 <= int(section[2]) <= len(headings), "no such section"


@each_exercise
def test_enough_wrong_answers_are_planted(stem: str, name: str) -> None:
    assert len(planted(stem).get(name, {})) >= AT_LEAST


@pytest.mark.parametrize(("stem", "name", "title"), PLANTED)
def test_wrong_answer_fails_with_a_hint(
    stem: str, name: str, title: str
) -> None:
    answer = plant(solution(stem, name), planted(stem)[name][title])
    result = try_answer(stem, name, answer)
    assert result.status == "failed", "a wrong answer passes"
    line = str(result)
    assert line.startswith(f"✗ {name}: ") and len(result.message) >= 15
    assert "\n" not in line and "Traceback" not in line
    mistyped = "NameError", "SyntaxError", "IndentationError", "ImportError"
    assert not result.message.startswith(mistyped), f"mistyped: {line}"


@pytest.mark.parametrize("stem", STEMS)
def test_no_wrong_answer_is_planted_for_nothing(stem: str) -> None:
    assert planted(stem).keys() <= exercises(stem).keys()


@pytest.mark.parametrize("stem", STEMS)
def test_exercises_are_numbered(stem: str) -> None:
    numbers = [e.number.split(".") for e in exercises(stem).values()]
    assert [int(n) for _, n in numbers] == [*range(1, len(numbers) + 1)]
    assert len({chapter for chapter, _ in numbers}) == 1


@each_exercise
def test_check_stands_alone(stem: str, name: str) -> None:
    """A check imports what it uses: the reader may overwrite anything."""
    own = {name for cell in solutions(stem).cells for name in defined(cell)}
    table = symtable.symtable(exercises(stem)[name].body, name, "exec")
    used = {
        symbol.get_name()
        for scope in scopes(table)
        for symbol in scope.get_symbols()
        if symbol.is_global() and symbol.is_referenced()
    }
    used |= {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_referenced() and not symbol.is_assigned()
    }
    made = {
        s.get_name()
        for s in table.get_symbols()
        if s.is_assigned() or s.is_imported()
    }
    known = own | made | VOCABULARY.keys() | {"hints", *dir(builtins)}
    assert used <= known, f"the check should import or define {used - known}"


def scopes(table: symtable.SymbolTable) -> list[symtable.SymbolTable]:
    return [table, *(s for c in table.get_children() for s in scopes(c))]


def defined(cell: NotebookNode) -> set[str]:
    """Return what a cell defines at its top level, without imports."""
    if cell.cell_type != "code" or strip.CHECK.match(cell.source):
        return set()
    source = re.sub(r"^%.*$", "", cell.source, flags=re.MULTILINE)
    table = symtable.symtable(source, "cell", "exec")
    return {
        s.get_name()
        for s in table.get_symbols()
        if (s.is_assigned() or s.is_namespace()) and not s.is_imported()
    }
