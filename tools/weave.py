#!/usr/bin/env python3
"""Weave the finished cells of the chapters into the modules of lib/.

A code cell whose first line is `#| export NAME` goes to lib/NAME.py. It
holds only definitions, constants and imports; the first such cell of a
module begins with a string, the module's purpose. `#| export NAME replace`
lets a cell define names anew. `class X(X):` adds its body to class X.

    tools/weave.py                      write lib/
    tools/weave.py --check              fail if lib/ is not what is woven
    tools/weave.py --until 04 --into D  write D/lib from chapters before 04
"""

import argparse
import ast
import os
import subprocess
import sys
import tempfile
import textwrap
from itertools import zip_longest
from pathlib import Path

from cells import (
    Imports,
    WeaveError,
    file_of,
    place_of,
    read_cells,
    read_directive,
    read_imports,
)
from modules import Module, check_chapters, check_circles, find_imports

ROOT = Path(__file__).resolve().parents[1]
WOVEN = "Woven from chapters/"
PACKAGE = f'''"""The library of the book *Every Token Counts*.

{WOVEN}. Edit a chapter, then run `make lib`.
"""
'''


def weave(chapters: Path, until: str = "~") -> dict[str, str]:
    """Return the text of each file of lib/, from chapters before `until`."""
    modules: dict[str, Module] = {}
    imports: dict[str, Imports] = {}
    places = {place_of(path): path for path in chapters.glob("*.ipynb")}
    if (last := chapters / f"{until}.ipynb").exists():
        until = place_of(last)
    for place in sorted(place for place in places if place < until):
        cells = read_cells(places[place])
        imports[place] = read_imports(cells)
        for cell in cells:
            if directive := read_directive(cell):
                name, replace = directive
                module = modules.setdefault(name, Module(name))
                module.add(cell, replace)
    check_chapters(modules, imports)
    lines = {
        name: find_imports(module, modules, imports)
        for name, module in modules.items()
    }
    check_circles(lines)
    texts = {f"{n}.py": compose(modules[n], lines[n]) for n in modules}
    return tidy(texts | {"__init__.py": PACKAGE})


def compose(module: Module, lines: set[str]) -> str:
    """Return a module's text, not yet tidy."""
    purpose = ast.literal_eval(module.names["__doc__"].text.strip()).strip()
    origin = " and ".join(map(file_of, module.chapters))
    note = textwrap.fill(
        f"Woven from {origin}. Edit the chapter, then run `make lib`.",
        width=79,
        break_on_hyphens=False,
    )
    quote = 'r"""' if "\\" in purpose else '"""'
    parts = [p for p in module.in_order() if p.names != ["__doc__"]]
    parts.sort(key=lambda part: part.names == ["__main__"])
    text = "".join(part.text for part in parts)
    return "\n".join(
        [f'{quote}{purpose}\n\n{note}\n"""\n', *sorted(lines), text]
    )


def tidy(texts: dict[str, str]) -> dict[str, str]:
    """Sort imports and format, with ruff."""
    config = ["--no-cache", "--quiet", f"--config={ROOT / 'pyproject.toml'}"]
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder, name) for name in texts}
        for name, path in paths.items():
            path.write_text(texts[name], encoding="utf-8")
        for verb in (["check", "--fix", "--select=I"], ["format"]):
            done = subprocess.run(
                [sys.executable, "-m", "ruff", *verb, *config, folder],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise WeaveError(f"ruff: {done.stderr or done.stdout}")
        return {n: p.read_text(encoding="utf-8") for n, p in paths.items()}


def write(texts: dict[str, str], lib: Path) -> list[str]:
    """Write what changed and remove what is stale; say which."""
    stale = [p for p in sorted(lib.glob("*.py")) if p.name not in texts]
    for path in stale:
        if WOVEN not in path.read_text(encoding="utf-8"):
            raise WeaveError(f"lib/{path.name} is hand-written: move it out")
    lib.mkdir(parents=True, exist_ok=True)
    said = []
    for name, text in sorted(texts.items()):
        path = lib / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            replace_file(path, text)
            said.append(f"wrote lib/{name}")
    for path in stale:
        path.unlink()
        said.append(f"removed lib/{path.name}")
    return said


def replace_file(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)


def compare(texts: dict[str, str], lib: Path) -> list[str]:
    """Say how lib/ differs from what would be woven."""
    said = []
    for name in sorted(texts.keys() | {p.name for p in lib.glob("*.py")}):
        if name not in texts:
            said.append(f"lib/{name} is stale: no chapter weaves it")
        elif not (lib / name).exists():
            said.append(f"lib/{name} is missing")
        else:
            found = (lib / name).read_text(encoding="utf-8").split("\n")
            woven = texts[name].split("\n")
            for n, (old, new) in enumerate(zip_longest(found, woven), 1):
                if old != new:
                    said.append(
                        f"lib/{name} line {n} is {old!r}, woven is {new!r}"
                    )
                    break
    return said


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Weave lib/ from chapters/.")
    parser.add_argument("--check", action="store_true", help="only compare")
    parser.add_argument("--until", metavar="NN", help="chapters before NN")
    parser.add_argument(
        "--into", metavar="DIR", type=Path, help="write DIR/lib"
    )
    args = parser.parse_args(argv)
    if args.until and not args.into:
        parser.error("--until needs --into: lib/ is woven from all chapters")
    act = compare if args.check else write
    try:
        texts = weave(root / "chapters", args.until or "~")
        said = act(texts, (args.into or root) / "lib")
    except WeaveError as error:
        print(f"weave: {error}", file=sys.stderr)
        return 1
    print("\n".join(said) or "lib/ is up to date")
    if args.check and said:
        print("Edit the chapter, then run `make lib`.", file=sys.stderr)
    return int(args.check and bool(said))


if __name__ == "__main__":
    sys.exit(main())
