"""Put modules together from the parts of cells, and find their imports."""

import ast
import builtins
import graphlib
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass, field

from cells import Cell, Imports, Part, WeaveError, file_of, read_parts

# A process that has imported IPython counts its names among the builtins.
BUILTINS = {*dir(builtins), "__file__"} - {"display", "get_ipython"}
FROM_LIB = re.compile(r"from lib\.(\w+) import (\w+)")


@dataclass
class Module:
    """A module on its way into lib/."""

    name: str
    parts: list[Part] = field(default_factory=list)
    chapters: list[str] = field(default_factory=list)

    @property
    def names(self) -> dict[str, Part]:
        """The part that defines each name."""
        return {name: part for part in self.parts for name in part.names}

    def add(self, cell: Cell, replace: bool) -> None:
        """Add what an exported cell defines."""
        replaced = False
        for part in read_parts(cell):
            step = self.extend if part.reopens else self.define
            replaced |= step(part, replace)
        if replace and not replaced:
            raise WeaveError(f"{cell}: replaces nothing in lib/{self.name}.py")
        if "__doc__" not in self.names:
            raise WeaveError(
                f"{cell}: the first cell of lib/{self.name}.py should begin "
                "with a string, the module's purpose"
            )
        if cell.chapter not in self.chapters:
            self.chapters.append(cell.chapter)

    def define(self, part: Part, replace: bool) -> bool:
        """Add a definition; tell whether it replaces an earlier one."""
        known = self.names
        earlier = {known[name]: name for name in part.names if name in known}
        for old, name in earlier.items():
            if not replace:
                raise twice(name, part, old)
            part.since = old.since
            self.parts.remove(old)
        self.parts.append(part)
        return bool(earlier)

    def extend(self, part: Part, replace: bool) -> bool:
        """Add to a class's body; tell whether that replaces a member."""
        name, cell = part.names[0], part.cells[0]
        old = self.names.get(name)
        if not old:
            raise WeaveError(
                f"{cell}: re-opens {name}, not defined in lib/{self.name}.py"
            )
        known = old.body.keys() & part.body.keys()
        if known and not replace:
            raise twice(min(known), part, old)
        old.body.update(part.body)
        old.cells.append(cell)
        return bool(known)

    def in_order(self) -> list[Part]:
        """Return the parts as told, after those that their import needs."""
        ordered: list[Part] = []
        begun: set[Part] = set()

        def put(part: Part) -> None:
            if part in begun:
                return
            begun.add(part)
            needs = used_names(part.text, on_import=True)
            for other in self.parts:
                if needs & {*other.names}:
                    put(other)
            ordered.append(part)

        for part in self.parts:
            put(part)
        return ordered


def twice(name: str, part: Part, old: Part) -> WeaveError:
    """Report a second definition."""
    return WeaveError(
        f"{part.cells[0]}: defines {name} a second time, after "
        f"{old.user_of(name)}; if it should replace it, say 'replace'"
    )


def used_names(source: str, on_import: bool = False) -> set[str]:
    """Return the global names that a source uses, or uses on import."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for place in {"annotation", "returns"} & {*node._fields}:
            if (note := getattr(node, place)) and not on_import:
                setattr(node, place, Unquoted().visit(note))
    now = ("listcomp", "setcomp", "dictcomp", "genexpr")

    def visit(table: symtable.SymbolTable) -> Iterator[str]:
        for symbol in table.get_symbols():
            own = symbol.is_assigned() or symbol.is_imported()
            known = own or not symbol.is_global()
            if symbol.is_referenced() and not known:
                yield symbol.get_name()
        for inner in table.get_children():
            later = inner.get_type() == "function"
            if not (on_import and later and inner.get_name() not in now):
                yield from visit(inner)

    return {*visit(symtable.symtable(ast.unparse(tree), "lib", "exec"))}


class Unquoted(ast.NodeTransformer):
    """Turns quoted annotations into code, so that their names count."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Leave the strings of Literal alone."""
        literal = ast.unparse(node.value).endswith("Literal")
        return node if literal else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Parse a string."""
        if isinstance(node.value, str):
            return ast.parse(node.value, mode="eval").body
        return node


def check_chapters(
    modules: dict[str, Module], imports: dict[str, Imports]
) -> None:
    """See that each chapter takes from lib only what stands before it."""
    for chapter, bound in imports.items():
        for line in sorted(line for lines in bound.values() for line in lines):
            if not (match := FROM_LIB.match(line)):
                continue
            module = modules.get(match[1])
            part = module and module.names.get(match[2])
            if not part:
                raise WeaveError(
                    f"{file_of(chapter)}: {line}: no cell exports that"
                )
            if part.since >= chapter:
                raise WeaveError(
                    f"{file_of(chapter)}: {line}: defined no earlier "
                    f"than in {part.cells[0]}"
                )


def find_imports(
    module: Module, modules: dict[str, Module], imports: dict[str, Imports]
) -> set[str]:
    """Return the import lines that a module needs."""
    bound: Imports = {}
    for part in module.parts:
        chapters = {cell.chapter for cell in part.cells}
        for name in used_names(part.text):
            user = part.user_of(name)
            if own := module.names.get(name):
                check_order(name, user, own)
                continue
            said = [imports[chapter].get(name, set()) for chapter in chapters]
            lines = set().union(*said) or borrow(name, user, modules)
            bound.setdefault(name, set()).update(lines)
    check_one_way(module, bound)
    future = [imports[c].get("annotations", set()) for c in module.chapters]
    return set().union(*bound.values(), *future)


def check_one_way(module: Module, bound: Imports) -> None:
    """Refuse a name that two cells import from different places."""
    for name, lines in bound.items():
        plain = re.compile(rf"import {name}(\.\w+)*")
        if len(lines) > 1 and not all(map(plain.fullmatch, lines)):
            ways = " and ".join(sorted(lines))
            raise WeaveError(
                f"lib/{module.name}.py: {name} is imported in two ways: {ways}"
            )


def borrow(name: str, user: Cell, modules: dict[str, Module]) -> set[str]:
    """Import a name from the one other module that defines it."""
    if name in BUILTINS:
        return set()
    owners = [m for m in modules.values() if name in m.names]
    if len(owners) != 1:
        many = " and ".join(f"lib.{owner.name}" for owner in owners)
        where = f"{many}: import it from one" if many else "no exported cell"
        raise WeaveError(f"{user}: uses {name}, defined in {where}")
    check_order(name, user, owners[0].names[name])
    return {f"from lib.{owners[0].name} import {name}"}


def check_order(name: str, user: Cell, part: Part) -> None:
    """Refuse a name that only a later chapter defines."""
    if part.since > user.chapter:
        raise WeaveError(
            f"{user}: uses {name}, defined later, in {part.cells[0]}"
        )


def check_circles(lines: dict[str, set[str]]) -> None:
    """Refuse modules that import each other; lines: what each imports."""
    needs = {
        name: {match[1] for line in found if (match := FROM_LIB.match(line))}
        for name, found in lines.items()
    }
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        circle = " imports ".join(
            f"lib.{name}" for name in error.args[1][::-1]
        )
        raise WeaveError(f"circular imports: {circle}") from None
