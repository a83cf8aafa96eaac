"""The weaver: what it writes, and what it refuses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import modules
import weave

PURPOSE = '#| export alpha\n"""Alpha: a purpose."""\n'


def chapter(root: Path, stem: str, *cells: str) -> None:
    """Write a notebook that holds these code cells."""
    book = {
        "cells": [
            {"cell_type": "code", "source": cell.splitlines(keepends=True)}
            for cell in cells
        ]
    }
    (root / "chapters").mkdir(exist_ok=True)
    path = root / "chapters" / f"{stem}.ipynb"
    path.write_text(json.dumps(book), encoding="utf-8")


def woven(root: Path, until: str = "~") -> dict[str, str]:
    """Return the library's texts without their docstring and file ending."""
    texts = weave.weave(root / "chapters", until)
    return {
        name.removesuffix(".py"): text.split('"""\n', 1)[1].strip()
        for name, text in texts.items()
    }


def check_one(root: Path, cells: list[str], expected: str) -> None:
    """Check the text of alpha as woven from one chapter."""
    chapter(root, "03_a", PURPOSE, *cells)
    assert woven(root)["alpha"] == expected.strip()


# What is written


def test_a_module_reads_as_written_by_hand(tmp_path: Path) -> None:
    chapter(
        tmp_path,
        "03_a",
        "import numpy as np\nimport math, unused\nfrom os import path as way",
        PURPOSE + "from dataclasses import dataclass\n\nSIZE = 3\nOTHER = 4",
        "#| export alpha\ndef root(x: float) -> float:\n"
        "    return math.sqrt( x )",
        "root(2)  # a step",
        "#| export alpha\n@dataclass\nclass Point:\n    x: np.ndarray\n",
    )
    assert weave.weave(tmp_path / "chapters")["alpha.py"] == (
        '"""Alpha: a purpose.\n\n'
        "Woven from chapters/03_a.ipynb. Edit the chapter, then run "
        '`make lib`.\n"""\n\n'
        "import math\n"
        "from dataclasses import dataclass\n\n"
        "import numpy as np\n\n"
        "SIZE = 3\n"
        "OTHER = 4\n\n\n"
        "def root(x: float) -> float:\n"
        "    return math.sqrt(x)\n\n\n"
        "@dataclass\n"
        "class Point:\n"
        "    x: np.ndarray\n"
    )


def test_comments_are_kept(tmp_path: Path) -> None:
    cell = """#| export alpha
# above
import math  # beside an import
# between
def f():
    # inside
    return math.pi  # beside

# below
"""
    chapter(tmp_path, "03_a", PURPOSE, cell)
    text = woven(tmp_path)["alpha"]
    for comment in ("above", "between", "inside", "beside", "below"):
        assert f"# {comment}\n" in text + "\n"


def test_a_class_is_told_over_several_cells(tmp_path: Path) -> None:
    cells = [
        '#| export alpha\nclass A:\n    """An A."""\n\n    n = 1\n    # last',
        "#| export alpha\ndef helper():\n    return A()",
        "#| export alpha\nclass A(A):\n    # first\n"
        "    @property\n    def two(self):\n        return 2",
    ]
    check_one(
        tmp_path,
        cells,
        '''
class A:
    """An A."""

    n = 1

    # last
    # first
    @property
    def two(self):
        return 2


def helper():
    return A()''',
    )


def test_replace_gives_a_name_a_new_meaning(tmp_path: Path) -> None:
    cells = [
        "#| export alpha\ndef f():\n    return 1\n\n\nX = 1",
        "#| export alpha replace\ndef f():\n    return 2",
    ]
    check_one(tmp_path, cells, "X = 1\n\n\ndef f():\n    return 2")


def test_a_replaced_method_stays_in_its_place(tmp_path: Path) -> None:
    cells = [
        "#| export alpha\nclass A:\n    x = 1\n    y = 2",
        "#| export alpha replace\nclass A(A):\n    x = 3\n    z = 4",
    ]
    check_one(tmp_path, cells, "class A:\n    x = 3\n    y = 2\n    z = 4")


def test_what_import_needs_comes_first(tmp_path: Path) -> None:
    cells = [
        "#| export alpha\nclass A:\n    x = 1",
        "#| export alpha\ndef later():\n    return B",
        "#| export alpha\nclass B:\n    x = 2",
        "#| export alpha\nclass A(A):\n    def b(self) -> B:\n"
        "        return B()",
    ]
    chapter(tmp_path, "03_a", PURPOSE, *cells)
    text = woven(tmp_path)["alpha"]
    assert re.findall(r"(?:class|def) (\w)", text) == ["B", "A", "b", "l"]
    exec(text, {})


def test_main_comes_last(tmp_path: Path) -> None:
    cells = [
        '#| export alpha\nif __name__ == "__main__":\n    f()',
        "#| export alpha\ndef f():\n    return 1",
    ]
    main = 'if __name__ == "__main__":\n    f()'
    check_one(tmp_path, cells, f"def f():\n    return 1\n\n\n{main}")


def test_main_may_import_a_module_that_imports_its_own(tmp_path: Path) -> None:
    main = (
        'if __name__ == "__main__" and "__file__" in globals():  # a script\n'
        "    from lib.beta import main\n\n    sys.exit(main())"
    )
    chapter(
        tmp_path,
        "03_a",
        "import sys",
        PURPOSE + "def f():\n    return 1",
        f"#| export alpha\n{main}",
        '#| export beta\n"""Beta."""\ndef main():\n    return f()',
    )
    lib = woven(tmp_path)
    assert lib["alpha"] == (
        f"import sys\n\n\ndef f():\n    return 1\n\n\n{main}"
    )
    assert lib["beta"].startswith("from lib.alpha import f\n")
    exec(lib["alpha"], {"__name__": "__main__"})  # as a notebook's cell


def test_modules_import_each_other(tmp_path: Path) -> None:
    chapter(tmp_path, "03_a", PURPOSE + "def f():\n    return 1")
    chapter(
        tmp_path,
        "04_b",
        "from lib.alpha import f as first",
        '#| export beta\n"""Beta."""\nclass B:\n    value = first()',
        '#| export gamma\n"""Gamma."""\ndef g(x: "list[B]") -> int:\n'
        "    return f() + len(x)",
    )
    texts = woven(tmp_path)
    assert texts["beta"].startswith("from lib.alpha import f as first\n")
    assert texts["gamma"].startswith(
        "from lib.alpha import f\nfrom lib.beta import B\n"
    )


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(x: 'A | B') -> Literal['c']: ...", {"A", "B", "Literal"}),
        ("@a(b)\nclass C(D, metaclass=E):\n    x: F = g", set("abDEFg")),
        ("def f(x=a, *y: b):\n    z = x, y, c\n    return z", set("abc")),
        ("V = [i + a for i in b if (lambda k: k + c)(i)]", set("abc")),
        ("V = {k: [m for m in v] for k, v in b.items()}", {"b"}),
        ("def f():\n    def g():\n        return h, x\n    x = 1", {"h"}),
        ("class C:\n    a = b\n    c = a", {"b"}),
        (
            "def f():\n    try:\n        a\n    except B as c:\n        c",
            {*"aB"},
        ),
    ],
)
def test_used_names_know_scopes(source: str, names: set[str]) -> None:
    assert modules.used_names(source) == names


def test_magics_do_not_hide_imports(tmp_path: Path) -> None:
    chapter(
        tmp_path,
        "03_a",
        "%matplotlib inline\nimport math\n!ls",
        "%%bash\nimport nothing ((",
        "1 +",
        PURPOSE + "def f():\n    return math.pi",
    )
    assert woven(tmp_path)["alpha"].startswith("import math\n")


def test_lazy_annotations_are_kept(tmp_path: Path) -> None:
    cells = ["#| export alpha\ndef f(x: int) -> None: ..."]
    chapter(tmp_path, "03_a", "from __future__ import annotations")
    future = "from __future__ import annotations"
    chapter(tmp_path, "03_a", future, PURPOSE, *cells)
    assert woven(tmp_path)["alpha"].startswith(future)


def test_until_leaves_out_later_chapters(tmp_path: Path) -> None:
    f = "def f():\n    return 1"
    chapter(tmp_path, "03_a", PURPOSE + f)
    chapter(tmp_path, "04_b", f"#| export alpha replace\n{f} + 1")
    chapter(tmp_path, "appendix_a", '#| export late\n"""Late."""\nX = 1')
    assert woven(tmp_path, "03").keys() == {"__init__"}
    assert woven(tmp_path, "04_b")["alpha"] == f
    assert woven(tmp_path, "appendix_a")["alpha"] == f + " + 1"
    assert "late" in woven(tmp_path)


def test_an_appendix_may_stand_among_the_chapters(tmp_path: Path) -> None:
    world = '#| export world\n"""World."""\nimport math\nPI = math.pi'
    chapter(tmp_path, "appendix_j", "#| after 02_a\nimport math", world)
    chapter(tmp_path, "02_a", PURPOSE + "X = 1")
    chapter(tmp_path, "03_b", "from lib.world import PI")
    assert woven(tmp_path, "02_a").keys() == {"__init__"}
    assert woven(tmp_path, "appendix_j").keys() == {"__init__", "alpha"}
    text = weave.weave(tmp_path / "chapters", "03_b")["world.py"]
    assert "Woven from chapters/appendix_j.ipynb" in text
    chapter(tmp_path, "02_a", "from lib.world import PI")
    with pytest.raises(weave.WeaveError, match=r"02_a.*defined no earlier"):
        woven(tmp_path)
    chapter(tmp_path, "appendix_j", "#| after 07_z", world)
    with pytest.raises(weave.WeaveError, match="there is no chapters/07_z"):
        woven(tmp_path)


def test_an_appendix_may_stand_after_another(tmp_path: Path) -> None:
    world = '#| export world\n"""World."""\nfrom lib.alpha import X\nY = X + 1'
    late = '#| export late\n"""Late."""\nfrom lib.world import Y\nZ = Y + 1'
    chapter(tmp_path, "02_a", PURPOSE + "X = 1")
    chapter(tmp_path, "appendix_k", "#| after 02_a\nimport math", world)
    chapter(tmp_path, "appendix_d", "#| after appendix_k\nimport math", late)
    chapter(tmp_path, "03_b", "from lib.late import Z")
    assert woven(tmp_path, "appendix_k").keys() == {"__init__", "alpha"}
    assert "late" not in woven(tmp_path, "appendix_d")
    assert woven(tmp_path).keys() == {"__init__", "alpha", "late", "world"}
    text = weave.weave(tmp_path / "chapters")["late.py"]
    assert "Woven from chapters/appendix_d.ipynb" in text
    chapter(tmp_path, "appendix_k", "#| after appendix_d\nimport math", world)
    with pytest.raises(weave.WeaveError, match="stands after this one"):
        woven(tmp_path)


# What is refused


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("#| export alpha beta\nX = 1", "#| export MODULE"),
        ("#| exprot alpha\nX = 1", "#| export MODULE"),
        ("X = 1\n#| export alpha", "on the cell's first line"),
        ("#| export alpha\nprint(1)", "print(1)"),
        ("#| export alpha\nX = 1\nX += 1", "X += 1"),
        ("#| export alpha\nfor x in range(3):\n    pass", "for x in"),
        ("#| export alpha\na.b = 1", "a.b = 1"),
        ("#| export alpha\n%time X = 1", "invalid syntax"),
        ("#| export alpha\ndef known():\n    return 2", "[1]"),
        ("#| export alpha replace\nX = 1", "replaces nothing"),
        ('#| export alpha\n"""Again."""', "defines __doc__ a second"),
        ('#| export alpha\nX = 1\n"""Late."""', "Late."),
        ("#| export beta\nX = 1", "the module's purpose"),
        ("#| export alpha\nclass D(D):\n    x = 1", "re-opens D"),
        ("#| export alpha\nclass C(C):\n    x = 1", "[1]"),
        ("#| export alpha\nclass C(C, int):\n    y = 1", "may add only"),
        ('#| export alpha\nclass C(C):\n    """C."""', "may add only"),
        (
            "#| export alpha\nclass C(C):\n    def y(self):\n"
            "        return super().y()",
            "may add only",
        ),
        ("#| export alpha\ndef f():\n    return missing", "uses missing"),
        ("#| export alpha\ndef f(x: 'missing'): ...", "uses missing"),
        ("#| export alpha\ndef f():\n    return display(1)", "display"),
        (
            "import math as m\n#| export alpha",
            "on the cell's first line",
        ),
        ("from lib.alpha import known", "defined no earlier than"),
        ("from lib.alpha import nothing", "no cell exports that"),
    ],
)
def test_a_faulty_cell_is_named(
    tmp_path: Path, cell: str, message: str
) -> None:
    known = "def known():\n    return 1\n\nclass C:\n    x = 1"
    chapter(tmp_path, "03_a", PURPOSE + known, cell)
    with pytest.raises(weave.WeaveError, match=re.escape(message)) as error:
        woven(tmp_path)
    assert "03_a.ipynb" in str(error.value)


def test_a_name_imported_in_two_ways_is_refused(tmp_path: Path) -> None:
    chapter(
        tmp_path,
        "03_a",
        "from torch.nn import functional as F\nimport math as F",
        PURPOSE + "def f():\n    return F.relu",
    )
    with pytest.raises(weave.WeaveError, match="F is imported in two ways"):
        woven(tmp_path)


def test_a_public_name_of_two_modules_is_ambiguous(tmp_path: Path) -> None:
    chapter(tmp_path, "03_a", PURPOSE + "X = 1")
    chapter(tmp_path, "04_b", '#| export beta\n"""Beta."""\nX = 2')
    gamma = '#| export gamma\n"""Gamma."""\ndef g():\n    return X'
    assert woven(tmp_path)["beta"] == "X = 2"
    chapter(tmp_path, "05_c", gamma)
    with pytest.raises(weave.WeaveError, match=r"lib\.alpha and lib\.beta"):
        woven(tmp_path)
    chapter(tmp_path, "05_c", "from lib.beta import X", gamma)
    assert woven(tmp_path)["gamma"].startswith("from lib.beta import X\n")


@pytest.mark.parametrize("how", ["", "from lib.beta import g"])
def test_a_later_chapters_name_is_refused(tmp_path: Path, how: str) -> None:
    chapter(tmp_path, "03_a", how, PURPOSE + "def f():\n    return g()")
    chapter(tmp_path, "04_b", '#| export beta\n"""B."""\ndef g():\n    pass')
    with pytest.raises(weave.WeaveError, match=r"03_a.*04_b"):
        woven(tmp_path)


def test_a_later_part_of_the_same_module_is_refused(tmp_path: Path) -> None:
    chapter(tmp_path, "03_a", PURPOSE + "def f():\n    return g()")
    chapter(tmp_path, "04_b", "#| export alpha\ndef g():\n    pass")
    with pytest.raises(weave.WeaveError, match=r"03_a.*04_b"):
        woven(tmp_path)


def test_circular_imports_are_refused(tmp_path: Path) -> None:
    beta = '#| export beta\n"""B."""\ndef g():\n    return f()'
    chapter(tmp_path, "03_a", PURPOSE + "def f():\n    return g()", beta)
    with pytest.raises(weave.WeaveError, match=r"lib\.\w+ imports lib\.\w+"):
        woven(tmp_path)


# Writing and checking


def run_weave(root: Path, *arguments: str) -> int:
    return weave.main([*arguments], root)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    chapter(tmp_path, "03_a", PURPOSE + "def f():\n    return 1")
    assert run_weave(tmp_path) == 0
    assert run_weave(tmp_path, "--check") == 0
    return tmp_path


def test_writing_again_touches_nothing(book: Path) -> None:
    before = (book / "lib/alpha.py").stat()
    assert run_weave(book) == 0
    assert (book / "lib/alpha.py").stat() == before


def test_drift_fails_the_check(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = book / "lib/alpha.py"
    path.write_text(path.read_text().replace("    return 1\n", ""))
    assert run_weave(book, "--check") == 1
    assert "lib/alpha.py line 8" in capsys.readouterr().out
    assert run_weave(book) == 0
    assert "return 1" in path.read_text()


def test_a_missing_file_fails_the_check(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (book / "lib/__init__.py").unlink()
    assert run_weave(book, "--check") == 1
    assert "lib/__init__.py is missing" in capsys.readouterr().out


def test_a_stale_file_fails_the_check(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chapter(book, "03_a", '#| export beta\n"""Beta."""\nX = 1')
    assert run_weave(book, "--check") == 1
    assert "lib/alpha.py is stale" in capsys.readouterr().out
    assert run_weave(book) == 0
    assert not (book / "lib/alpha.py").exists()


def test_a_hand_written_file_is_left_alone(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (book / "lib/mine.py").write_text("X = 1\n")
    assert run_weave(book, "--check") == 1
    assert run_weave(book) == 1
    assert "lib/mine.py" in capsys.readouterr().err
    assert (book / "lib/mine.py").exists()


def test_an_error_writes_nothing(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (book / "lib/alpha.py").read_text()
    cells = ["#| export alpha\ndef f():\n    return 2"]
    chapter(book, "03_a", PURPOSE, *cells, "#| export alpha\nprint(1)")
    assert run_weave(book) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert (book / "lib/alpha.py").read_text() == before


def test_until_writes_elsewhere(book: Path) -> None:
    assert run_weave(book, "--until", "03", "--into", str(book / "x")) == 0
    assert [p.name for p in (book / "x/lib").iterdir()] == ["__init__.py"]
    with pytest.raises(SystemExit):
        run_weave(book, "--until", "03")


def test_the_book_is_woven() -> None:
    tool = Path(weave.__file__)
    done = subprocess.run([sys.executable, tool, "--check"])
    assert done.returncode == 0
