"""The places at which a source can be broken, found in its syntax tree.

A point replaces one stretch of the text, so that everything else, line numbers included, stays as
it is. Left alone are annotations, docstrings, decorators, what only type checkers read, and what
goes to the log or to a trace of the steps, which changes nothing that the library promises.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.FloorDiv: "*",
    ast.BitOr: "&",
    ast.BitAnd: "|",
}
_LOGGING = frozenset({"debug", "info", "warning"})
_TRACING = "_report"  # the methods that tell the hook of a trace


@dataclass(frozen=True)
class Point:
    """One way to break a source.

    Attributes:
        module: Path of the source below the package, with slashes.
        line: Line number, from 1.
        start: Where the replaced text begins, in characters.
        end: Where it ends.
        old: The text.
        new: What replaces it.
    """

    module: str
    line: int
    start: int
    end: int
    old: str
    new: str

    def apply(self, source: str) -> str:
        """Return the broken source."""
        assert source[self.start : self.end] == self.old, f"{self} does not fit"
        return source[: self.start] + self.new + source[self.end :]

    @property
    def change(self) -> str:
        """What is replaced with what, shortened to one line."""
        old, new = (" ".join(text.split())[:70] for text in (self.old, self.new))
        return f"{old} -> {new}"

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.change}"


def of_package(package: Path) -> list[Point]:
    """Return the points of every source below a folder, in order."""
    found: list[Point] = []
    for path in sorted(package.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        found += of_source(source, path.relative_to(package).as_posix())
    return found


def of_source(source: str, module: str) -> list[Point]:
    """Return the points of one source, in order."""
    finder = _Finder(source, module)
    finder.visit(ast.parse(source))
    return sorted(finder.found, key=lambda point: (point.start, point.end, point.new))


class _Finder(ast.NodeVisitor):
    """Walks through a tree; what it does not descend into is left alone."""

    def __init__(self, source: str, module: str) -> None:
        self._source = source
        self._module = module
        self._lines = [0]
        for line in source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._text = source.splitlines()
        self.found: list[Point] = []

    # ------------------------------------------------------------------------------- statements

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name == _TRACING:
            return
        defaults = [default for default in node.args.kw_defaults if default is not None]
        for default in (*node.args.defaults, *defaults):
            self.visit(default)
        for statement in node.body:
            self.visit(statement)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        if names.isdisjoint({"__all__", "__slots__", "TYPE_CHECKING"}):
            self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.orelse:
                self.visit(statement)
            return
        if "_trace.hook" in self._segment(node.test):
            return
        self._negate(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring, or the body of a protocol
        if isinstance(node.value, ast.Call):
            function = node.value.func
            if isinstance(function, ast.Attribute) and function.attr in {*_LOGGING, _TRACING}:
                return
            # A method that mentions super() has a variable more, which no other code can stand for.
            self._replace(node, "super()" if "super()" in self._segment(node.value) else "pass")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._replace(node, "pass")

    def visit_Return(self, node: ast.Return) -> None:
        value = node.value
        if value is None:
            return
        if not isinstance(value, ast.Constant):  # False is as false as None
            self._replace(node, "return None")
        self.visit(value)

    def visit_Break(self, node: ast.Break) -> None:
        self._replace(node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._replace(node, "break")

    # ------------------------------------------------------------------------------ expressions

    def visit_Compare(self, node: ast.Compare) -> None:
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            other = _COMPARISONS.get(type(operator))
            if other is not None:
                self._between(left, right, other)
            left = right
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = "or" if isinstance(node.op, ast.And) else "and"
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, other)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._replace(node, f"bool({self._segment(node.operand)})")
        if ast.unparse(node) == "-1":  # mostly no descriptor; every other negative number is none
            self._replace(node, "0")
            return
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        other = _ARITHMETIC.get(type(node.op))
        is_text = any(
            isinstance(side, ast.JoinedStr)
            or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
            for side in (node.left, node.right)
        )
        if other is not None and not is_text:
            self._between(node.left, node.right, other)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._replace(node, str(not node.value))
        elif isinstance(node.value, int):
            self._replace(node, str(node.value + 1))

    def visit_JoinedStr(self, _node: ast.JoinedStr) -> None:
        """Leave texts alone: the positions inside them are not reliable before Python 3.12."""

    # ---------------------------------------------------------------------------------- helpers

    def _negate(self, test: ast.expr) -> None:
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return  # the point of the operator itself
        self._replace(test, f"(not ({self._segment(test)}))")

    def _replace(self, node: ast.stmt | ast.expr, new: str) -> None:
        self._add(node.lineno, *self._range(node), new)

    def _between(self, left: ast.expr, right: ast.expr, operator: str) -> None:
        """Replace the operator between two operands; parentheses around them stay."""
        start, end = self._range(left)[1], self._range(right)[0]
        text = self._source[start:end]
        if "#" in text:
            return  # a comment in between
        bare = text.strip(" ()\n\\")
        at = start + text.index(bare)
        self._add(right.lineno, at, at + len(bare), operator)

    def _add(self, line: int, start: int, end: int, new: str) -> None:
        old = self._source[start:end]
        if old != new:
            self.found.append(Point(self._module, line, start, end, old, new))

    def _range(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._position(node.lineno, node.col_offset),
            self._position(node.end_lineno, node.end_col_offset),
        )

    def _position(self, line: int, column: int) -> int:
        """Return a position in characters; the tree counts columns in bytes of UTF-8."""
        prefix = self._text[line - 1].encode()[:column].decode()
        return self._lines[line - 1] + len(prefix)

    def _segment(self, node: ast.expr) -> str:
        start, end = self._range(node)
        return self._source[start:end]


def check(points: list[Point], sources: dict[str, str]) -> Iterator[Point]:
    """Yield the points whose broken source still compiles."""
    for point in points:
        try:
            compile(point.apply(sources[point.module]), point.module, "exec")
        except SyntaxError:
            continue
        yield point
