"""Small changes to a program that its tests should notice."""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
# Fields of nodes that only describe: types, and what is printed with an error.
UNTESTED = {"annotation", "returns", "exc", "msg", "decorator_list"}


@dataclass(frozen=True)
class Mutant:
    """One change of a source text.

    Attributes:
        line: where it is, from 1.
        before: the code that is replaced, on one line.
        after: what replaces it.
        start: the first byte of the code that is replaced.
        end: the byte after its last one.
    """

    line: int
    before: str
    after: str
    start: int
    end: int

    def apply(self, source: bytes) -> bytes:
        """Return the source with this change, and every line where it was."""
        removed = source[self.start : self.end].count(b"\n")
        # The line breaks go inside parentheses, after which nothing needs them.
        filler = "\n" * removed
        text = f"({self.after}{filler})" if self.after != "pass" else f"pass{filler}"
        return source[: self.start] + text.encode() + source[self.end :]


def mutants_of(source: bytes) -> list[Mutant]:
    """Return all mutants of a module, in the order of their places."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node in _tested_nodes(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        before = " ".join(source[start:end].decode().split())
        for after in _replacements(node):
            found.append(Mutant(node.lineno, before, after, start, end))
    return sorted(found, key=lambda mutant: (mutant.start, -mutant.end, mutant.after))


def _tested_nodes(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Yield the expressions and statements whose meaning a test can notice."""
    for name, value in ast.iter_fields(node):
        if name in UNTESTED:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.JoinedStr) or not isinstance(child, ast.AST):
                continue  # texts, inside of which positions are not those of the source
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, (ast.expr, ast.stmt)):
                yield child
            yield from _tested_nodes(child)


def _replacements(node: ast.expr | ast.stmt) -> Iterator[str]:
    """Yield the code that a node could be replaced with."""
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not _is_text(node):
        yield _changed(node, lambda new: setattr(new, "op", ARITHMETIC[type(node.op)]()))
    elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        yield "pass"
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield _changed(node, lambda new: setattr(new, "ops", [COMPARISONS[type(node.ops[0])]()]))
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield _changed(node, lambda new: setattr(new, "op", other))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield ast.unparse(node.operand)
    elif isinstance(node, ast.IfExp):
        yield ast.unparse(node.body)
        yield ast.unparse(node.orelse)
    elif isinstance(node, ast.Constant):
        yield from _other_constants(node.value)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "pass"


def _other_constants(value: object) -> Iterator[str]:
    if isinstance(value, bool):
        yield str(not value)
    elif isinstance(value, int):
        yield str(value + 1)
    elif isinstance(value, float):
        yield str(2 * value if value else 1.0)


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in sides
    )


def _changed(node: ast.expr, change: Callable[[ast.expr], None]) -> str:
    new = copy.deepcopy(node)
    change(new)
    return ast.unparse(new)
