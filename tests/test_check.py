"""The checker: one line, whatever the answer does."""

import linecache

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

import lib.check
from lib.check import Result, run_check

ANSWERS = """
def same(x):
    return x

def divide(x):
    return x / 0

def spoil(x):
    x[0] = 7
    return x

def stub(x):
    raise NotImplementedError("reread section 1.4")

def long(x):
    raise KeyError("one\\ntwo " + 500 * "x")
"""


def check(body: str, tries: int = 0) -> Result:
    names = {"__name__": "__main__", "np": np, "torch": torch}
    lines = ANSWERS.splitlines(True)
    linecache.cache["<answers>"] = (len(ANSWERS), None, lines, "<answers>")
    exec(compile(ANSWERS, "<answers>", "exec"), names)
    return run_check("it", body, names, tries)


def said(body: str, tries: int = 0) -> str:
    line = str(check(body, tries))
    assert line.startswith("✗ it: ") and "\n" not in line
    return line.removeprefix("✗ it: ")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "close(same(3), 3.0)",
        "close(3.0000001, 3)",
        "close([1.0, 2], (1, 2))",
        "close(np.float32(0.1), 0.1)",
        "close(torch.tensor([0.1]), np.array([0.1]), 1e-7)",
        "close(torch.ones(2, requires_grad=True), np.ones(2))",
        "close(torch.ones(2, dtype=torch.bfloat16), np.ones(2))",
        "close(np.array([np.nan, np.inf]), np.array([np.nan, np.inf]))",
        "close(np.zeros((0, 3)), np.zeros((0, 3)))",
        "equal(same([1, 'a', None, (2.5, {'b': True})]),"
        " [1, 'a', None, (2.5, {'b': True})])",
        "equal(np.int64(3), 3)",
        "equal(torch.arange(3), np.arange(3))",
        "equal(torch.float32, torch.float32)",
        "with unchanged([1], np.ones(2)): same(1)",
        "raises(ZeroDivisionError, lambda: divide(1), 'zero')",
        "hints('a', 'b')\nassert same(1)",
        "name = 3",
    ],
)
def test_right_answers_pass(body: str) -> None:
    assert str(check(body)) == "✓ it"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            "close(2.5, 2.0, 0.1, 'Why')",
            "2.5, expected 2: off by 5.0e-01. Why.",
        ),
        ("close(None, 1)", "None, expected a number: is a return missing?"),
        ("close('2', 2)", "type str, expected a number."),
        ("close([1], 1)", "shape (1,), expected ()."),
        (
            "close([1.0], np.ones(1))",
            "type list, expected an array of shape (1,).",
        ),
        (
            "close(np.ones((2, 3)), np.ones((3, 2)), 1, 'Not shown')",
            "shape (2, 3), expected (3, 2).",
        ),
        (
            "close(torch.ones(2).long(), np.ones(2))",
            "integers (int64), expected floats.",
        ),
        ("close(True, 1)", "booleans (bool), expected integers."),
        (
            "close(np.array([[1, 2.5]]), np.array([[1, 2.0]]), hint='H?')",
            "largest difference 5.0e-01 at [0, 1]: 2.5, expected 2. H?",
        ),
        (
            "close(np.array([1, np.nan]), np.ones(2))",
            "NaN at [1], expected 1.",
        ),
        ("close(np.array([np.inf]), np.ones(1))", "inf at [0], expected 1."),
        ("close(1.0, float('inf'))", "1, expected inf."),
        ("equal(1, 2, 'H')", "1, expected 2. H."),
        ("equal(2.0, 2)", "2.0 is of type float, expected int."),
        ("equal(True, 1)", "True is of type bool, expected int."),
        ("equal((1,), [1])", "(1,) is of type tuple, expected list."),
        ("equal([1, [2, 3]], [1, [2, 4]])", "at [1]: at [1]: 3, expected 4."),
        ("equal([1], [1, 2])", "length 1, expected 2."),
        ("equal({'a': 1}, {'b': 1})", "it should not have the key 'a'."),
        ("equal({}, {'b': 1})", "it lacks the key 'b'."),
        ("equal({'a': 1}, {'a': 2})", "at ['a']: 1, expected 2."),
        ("equal('same', 'sane')", "'same', expected 'sane'."),
        (
            "equal('x' * 50 + 'a', 'x' * 50 + 'b')",
            "from character 50 on: 'a', expected 'b'.",
        ),
        (
            "equal(torch.tensor([1, 2]), np.array([1, 3]))",
            "largest difference 1.0e+00 at [1]: 2, expected 3.",
        ),
        (
            "with unchanged(x := [1, 2]): spoil(x)",
            "the input was changed at [0]: at [0]: 7, expected 1. "
            "Work on a copy.",
        ),
        (
            "raises(ValueError, lambda: same(3))",
            "expected a ValueError, but got 3.",
        ),
        (
            "raises(ZeroDivisionError, lambda: divide(3), 'three')",
            "ZeroDivisionError says division by zero, without 'three'.",
        ),
        ("assert same(0), 'Look again'", "Look again."),
        ("assert same(0) == 1", "this does not hold: assert same(0) == 1."),
        ("stub(1)", "not answered yet; reread section 1.4"),
        (
            "divide(1)",
            "ZeroDivisionError: division by zero, in line 6 of your cell: "
            "`return x / 0`.",
        ),
        (
            "nothing(1)",
            "NameError: name 'nothing' is not defined. Run the cell with your "
            "answer first.",
        ),
        (
            "same(None).shape",
            "AttributeError: 'NoneType' object has no attribute 'shape', when "
            "the check came to `same(None).shape`.",
        ),
        (
            "raise KeyboardInterrupt",
            "interrupted: is there a loop that never ends?",
        ),
        ("raise SystemExit", "SystemExit, when the check came to `raise Sy"),
        ("def f(:", "SyntaxError: invalid syntax (<check it>, line 1)"),
        ("long(1)", "KeyError: 'one\\ntwo xxx"),
        ("equal(object(), 1)", "<object object at 0x...> is of type object"),
    ],
)
def test_wrong_answers_get_one_line(body: str, line: str) -> None:
    assert said(body).startswith(line)
    if line[-1] in ".?":
        assert said(body) == line


def test_hints_grow_clearer() -> None:
    body = "hints('second', 'third')\nequal(1, 2, 'first')"
    lines = [said(body, tries) for tries in range(4)]
    assert lines[0] == "1, expected 2. first."
    assert lines[1] == "1, expected 2. first. Hint 2: second."
    assert lines[2] == lines[3] == "1, expected 2. first. Hint 3: third."


def test_a_tolerance_is_absolute_near_zero_and_relative_far_out() -> None:
    assert check("close(1e-7, 0, 1e-6)").status == "passed"
    assert check("close(1e6 + 0.5, 1e6, 1e-6)").status == "passed"
    assert check("close(3e-6, 0, 1e-6)").status == "failed"
    assert check("close(1e6 + 2, 1e6, 1e-6)").status == "failed"


def test_names_of_a_check_do_not_leak_and_own_names_are_seen() -> None:
    names = {"x": 1, "close": None}
    assert (
        run_check("it", "x = 2\ny = 3\nclose(x, 2)", names).status == "passed"
    )
    assert names == {"x": 1, "close": None}


def test_warnings_do_not_show(recwarn: pytest.WarningsRecorder) -> None:
    check("import warnings; warnings.warn('loud')")
    check("np.log(np.zeros(2))")
    assert not recwarn.list


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> InteractiveShell:
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)  # another may be active
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "lib.check")
    return shell


def test_the_magic(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints one line, counts failed tries and never raises."""
    shell.run_cell("def f(x): raise NotImplementedError('reread 1.2')")
    cell = "%%check twice\nhints('Second.')\nequal(f(2), 4, 'First.')"
    for _ in range(2):
        assert shell.run_cell(cell).success
    shell.run_cell("def f(x):\n    return x + 3")
    for _ in range(2):
        assert shell.run_cell(cell).success
    shell.run_cell("def f(x):\n    return len(x)")
    shell.run_cell(cell)
    shell.run_cell("def f(x): return 2 * x")
    shell.run_cell(cell)
    assert capsys.readouterr().out.splitlines() == [
        "✗ twice: not answered yet; reread 1.2",
        "✗ twice: not answered yet; reread 1.2",
        "✗ twice: 5, expected 4. First.",
        "✗ twice: 5, expected 4. First. Hint 2: Second.",
        "✗ twice: TypeError: object of type 'int' has no len(), in line 2 of "
        "your cell: `return len(x)`. Hint 2: Second.",
        "✓ twice",
    ]


def test_a_reader_may_use_the_names_of_the_checker(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell("close = equal = hints = None")
    shell.run_cell("%%check it\nhints('a')\nequal(1, 1)\nclose(1, 1)")
    assert capsys.readouterr().out == "✓ it\n"
    assert shell.user_ns["close"] is None


def test_the_module_is_small() -> None:
    assert lib.check.__file__
    with open(lib.check.__file__, encoding="utf-8") as file:
        assert len(file.readlines()) <= 260
