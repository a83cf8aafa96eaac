"""Checks that answer in one line: `%%check name` over plain Python.

Woven from chapters/01_orientation.ipynb. Edit the chapter, then run `make
lib`.
"""

import linecache
import re
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np


def join(*sentences: str) -> str:
    """Make one line of the sentences that are not empty."""
    ended = [s if s[-1] in ".!?:" else f"{s}." for s in sentences if s]
    return " ".join(" ".join(ended).split())


def cut(text: object, width: int = 60) -> str:
    """Put a text on one line of at most this width, without addresses."""
    line = re.sub(r"\b0x[0-9a-f]{4,}", "0x...", " ".join(str(text).split()))
    return line if len(line) <= width else line[: width - 3] + "..."


class Wrong(AssertionError):
    """An answer is wrong: what was found, what was expected, one hint."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(join(what, hint))


def as_array(x: Any) -> np.ndarray:
    """Read a number, a list, an array or a tensor as a NumPy array."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.double() if x.is_floating_point() else x
    return np.asarray(x)


KINDS = {"b": "booleans", "i": "integers", "u": "integers", "f": "floats"}


def wrong_form(actual: Any, expected: Any) -> str:
    """Say how type, shape or kind of number differ, or nothing."""
    want = as_array(expected)
    form = f"an array of shape {want.shape}" if want.shape else "a number"
    if actual is None:
        return f"None, expected {form}: is a return missing?"
    name = type(actual).__name__
    if hasattr(expected, "shape") > hasattr(actual, "shape"):
        return f"type {name}, expected {form}"
    got = as_array(actual)
    if got.dtype.kind not in KINDS:
        return f"type {name}, expected {form}"
    if got.shape != want.shape:
        return f"shape {got.shape}, expected {want.shape}"
    kinds = KINDS[got.dtype.kind], KINDS[want.dtype.kind]
    strict = want.shape and hasattr(expected, "shape")
    if kinds[0] != kinds[1] and (strict or "booleans" in kinds):
        return f"{kinds[0]} ({got.dtype}), expected {kinds[1]}"
    return ""


def wrong_value(got: np.ndarray, want: np.ndarray, tol: float) -> str:
    """Say where two arrays differ most, or nothing where they agree."""
    with np.errstate(all="ignore"):
        off = np.abs(np.subtract(got, want, dtype=float))
        near = np.isfinite(want) & (off <= tol * (1 + np.abs(want)))
    bad = ~(near | (got == want) | (np.isnan(got) & np.isnan(want)))
    if not bad.any():
        return ""
    where = np.unravel_index(np.argmax(np.where(bad, off, -1)), off.shape)
    found, wanted = (f"{float(x[where]):.6g}" for x in (got, want))
    at = f" at {[int(i) for i in where]}" if where else ""
    what = f"{found}, expected {wanted}"
    if not np.isfinite(off[where]):
        return f"{found.replace('nan', 'NaN')}{at}, expected {wanted}"
    if not where:
        return f"{what}: off by {off[where]:.1e}"
    return f"largest difference {off[where]:.1e}{at}: {what}"


def close(
    actual: Any, expected: Any, tol: float = 1e-6, hint: str = ""
) -> None:
    """Compare numbers: off by at most tol * (1 + |expected|), or Wrong."""
    if what := wrong_form(actual, expected):
        raise Wrong(what)
    if what := wrong_value(as_array(actual), as_array(expected), tol):
        raise Wrong(what, hint)


def apart(actual: Any, expected: Any) -> str:
    """Show two different values; long texts from where they part."""
    where = ""
    if isinstance(expected, str) and len(expected) > 40:
        pairs = enumerate(zip(actual, expected))
        least = min(len(actual), len(expected))
        start = next((i for i, (a, e) in pairs if a != e), least)
        actual, expected = actual[start:], expected[start:]
        where = f"from character {start} on: "
    return f"{where}{cut(repr(actual))}, expected {cut(repr(expected))}"


def mismatch(actual: Any, expected: Any) -> str:
    """Say where two values first differ, or nothing if they are equal."""
    if hasattr(expected, "dtype") and hasattr(expected, "shape"):
        return wrong_form(actual, expected) or wrong_value(
            as_array(actual), as_array(expected), tol=0
        )
    if isinstance(actual, np.generic):
        actual = actual.item()
    got, want = type(actual), type(expected)
    if not isinstance(actual, want) or (got is bool) != (want is bool):
        form = f"of type {got.__name__}, expected {want.__name__}"
        return f"{cut(repr(actual))} is {form}"
    pairs: Iterable[tuple[Any, Any, Any]] = ()
    if isinstance(expected, dict):
        for key in sorted(actual.keys() ^ expected.keys(), key=repr):
            verb = "lacks" if key in expected else "should not have"
            return f"it {verb} the key {key!r}"
        pairs = ((k, actual[k], expected[k]) for k in expected)
    elif isinstance(expected, (list, tuple)):
        if len(actual) != len(expected):
            return f"length {len(actual)}, expected {len(expected)}"
        pairs = zip(range(len(expected)), actual, expected)
    elif actual != expected:
        return apart(actual, expected)
    found = ((key, mismatch(a, e)) for key, a, e in pairs)
    return next((f"at [{key!r}]: {what}" for key, what in found if what), "")


def equal(actual: Any, expected: Any, hint: str = "") -> None:
    """Compare exactly: type, then shape or length, then each value."""
    if what := mismatch(actual, expected):
        raise Wrong(what, hint)


@contextmanager
def unchanged(*inputs: Any) -> Iterator[None]:
    """Raise Wrong if the block changes one of the inputs."""
    before = deepcopy(inputs)
    yield
    if what := mismatch(inputs, before):
        raise Wrong(f"the input was changed {what}", "Work on a copy.")


def raises(
    kind: type[Exception], call: Callable[[], object], *says: object
) -> None:
    """Expect a call to raise an error whose message names some things."""
    try:
        result = call()
    except kind as error:
        for word in map(str, says):
            if word not in str(error):
                raise Wrong(
                    f"{kind.__name__} says {cut(error)}, without {word!r}"
                ) from None
        return
    raise Wrong(f"expected a {kind.__name__}, but got {cut(repr(result))}")


VOCABULARY = {f.__name__: f for f in (close, equal, unchanged, raises)}


@dataclass(frozen=True)
class Result:
    """What a check found. Status: "passed", "failed" or "open"."""

    name: str
    status: str
    message: str = ""

    def __str__(self) -> str:
        if self.status == "passed":
            return f"✓ {self.name}"
        return f"✗ {self.name}: {self.message}"


def explain(error: BaseException, file: str) -> str:
    """Say in one line what stopped a check, and in which line of whom."""
    if isinstance(error, Wrong):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted: is there a loop that never ends?"
    lines = [
        (frame.f_code.co_filename, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") == "__main__"
    ]
    if isinstance(error, AssertionError) and lines[-1][0] == file:
        line = linecache.getline(*lines[-1]).strip()
        return cut(error, 300) or f"this does not hold: {cut(line)}"
    what = cut(f"{type(error).__name__}: {error}", 150).rstrip(".: ")
    if yours := [place for place in lines if place[0] != file]:
        line = linecache.getline(*yours[-1]).strip()
        return f"{what}, in line {yours[-1][1]} of your cell: `{cut(line)}`"
    if isinstance(error, NameError):
        return join(what, "Run the cell with your answer first")
    line = linecache.getline(*lines[-1]).strip() if lines else "?"
    return f"{what}, when the check came to `{cut(line)}`"


def run_check(
    name: str, body: str, names: dict[str, Any], tries: int = 0
) -> Result:
    """Run a check on a copy of the reader's names; never raise."""
    file = f"<check {name}>"
    linecache.cache[file] = (len(body), None, body.splitlines(True), file)
    more: list[str] = []
    scope = names | VOCABULARY | {"hints": lambda *texts: more.extend(texts)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(body, file, "exec", dont_inherit=True), scope)
    except BaseException as error:
        if isinstance(error, NotImplementedError) and "reread" in str(error):
            return Result(name, "open", f"not answered yet; {error}")
        level = min(tries, len(more))
        hint = f"Hint {level + 1}: {more[level - 1]}" if level else ""
        return Result(name, "failed", join(explain(error, file), hint))
    return Result(name, "passed")


def load_ipython_extension(shell: Any) -> None:
    """Give a notebook the magic `%%check`, which counts failed tries."""
    tries: Counter[str] = Counter()

    def check(line: str, cell: str) -> None:
        """Run the cell as the check that its first line names."""
        result = run_check(line.strip(), cell, shell.user_ns, tries[line])
        tries[line] += result.status == "failed"
        print(result)

    shell.register_magic_function(check, "cell")
