"""How pytest treats notebooks.

A notebook's kernel finds the library woven from the chapters before it, and
nothing later. The run ends with the time that each notebook took.
"""

import os
from collections import Counter
from collections.abc import Iterator

import pytest

import run

os.environ.update(run.FIXED)  # before any test imports torch


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Set the environment while nbval may start a notebook's kernel."""
    if item.path.suffix != ".ipynb":
        return (yield)
    before = dict(os.environ)
    os.environ.update(run.environment(item.path))
    try:
        return (yield)
    finally:
        os.environ.clear()
        os.environ.update(before)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the time that each notebook took."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            path = getattr(report, "nodeid", "").split("::")[0]
            if path.endswith(".ipynb"):
                seconds[path] += getattr(report, "duration", 0)
    if seconds:
        terminalreporter.section("time per notebook")
    for path, spent in sorted(seconds.items()):
        terminalreporter.line(f"{spent:7.1f} s  {path}")
    if seconds:
        terminalreporter.line(f"{seconds.total():7.1f} s  in all")
