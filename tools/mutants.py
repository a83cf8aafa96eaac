#!/usr/bin/env python3
"""Make mutants of an answer: the same program with one small slip.

A mutant differs from the answer in one place: another operator, a number one
off, a condition turned round, a statement or an argument forgotten. Nobody
chooses them, which is their use: a check that lets one pass has either missed
a mistake, or the change makes no difference.
"""

import ast
import copy
from collections.abc import Container, Iterator
from dataclasses import dataclass

ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
COMPARISON: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
BOOLEAN: dict[type[ast.boolop], type[ast.boolop]] = {
    ast.And: ast.Or,
    ast.Or: ast.And,
}
DROPPED = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Raise)


@dataclass(frozen=True)
class Mutant:
    """A source with one slip, and what was changed in which line."""

    line: int
    was: str
    now: str
    source: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.was}  ->  {self.now}"


def slips(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what a node could have been by a slip."""
    other = copy.deepcopy(node)
    match other:
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in ARITHMETIC:
            other.op = ARITHMETIC[type(op)]()
            yield other
        case ast.BoolOp(op=op):
            other.op = BOOLEAN[type(op)]()
            yield other
        case ast.Compare(ops=ops, left=left, comparators=right):
            for n, sign in enumerate(ops):
                signs = [*ops[:n], COMPARISON[type(sign)](), *ops[n + 1 :]]
                yield ast.Compare(left, signs, right)
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
    yield from forgotten(node)


def forgotten(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node without one of its parts, or nothing in its place."""
    if isinstance(node, DROPPED):
        yield ast.Pass()
    if isinstance(node, ast.Call):
        for n in range(len(node.keywords)):
            call = copy.deepcopy(node)
            del call.keywords[n]
            yield call
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        turned = copy.deepcopy(node)
        turned.test = ast.UnaryOp(ast.Not(), turned.test)
        yield turned


@dataclass
class Place:
    """A node in a tree: where it hangs, and the statement it is part of."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None
    statement: ast.stmt | None

    def put(self, node: ast.AST) -> None:
        """Hang another node there."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def places(
    parent: ast.AST, statement: ast.stmt | None = None
) -> Iterator[Place]:
    """Yield all nodes below a node, but no annotations and docstrings."""
    for name, value in ast.iter_fields(parent):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        listed = isinstance(value, list)
        for n, node in enumerate(value if listed else [value]):
            if not isinstance(node, ast.AST) or is_text(node):
                continue
            inner = node if isinstance(node, ast.stmt) else statement
            yield Place(node, parent, name, n if listed else None, inner)
            yield from places(node, inner)


def is_text(node: ast.AST) -> bool:
    """Tell whether a statement is a docstring."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def head(node: ast.AST) -> str:
    """Return the first line of a node's source."""
    return ast.unparse(node).splitlines()[0]


def mutants(
    source: str, lines: Container[int] | None = None
) -> Iterator[Mutant]:
    """Yield all mutants of a source, once each; only in some of its lines."""
    tree = ast.parse(source)
    seen = {ast.unparse(tree)}
    for place in [*places(tree)]:
        line, statement = getattr(place.node, "lineno", 0), place.statement
        if statement is None or (lines is not None and line not in lines):
            continue
        was = head(statement)
        for other in slips(place.node):
            place.put(other)
            gone = isinstance(other, ast.Pass)
            changed = other if place.node is statement else statement
            now = "(left out)" if gone else head(changed)
            text = ast.unparse(tree)
            place.put(place.node)
            if text not in seen:
                seen.add(text)
                yield Mutant(line, was, now, text)
