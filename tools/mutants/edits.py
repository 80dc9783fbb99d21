"""All single changes of a Python file that a test should notice: another operator, constant, order, branch or statement.

A change is made in the text, not in the tree: everything else in the file stays as it is, so a survivor can be shown as a diff.
Left alone: docstrings, annotations, imports, text, the arguments of `raise` (messages), and a kind's `example`, which is any
small instance of it.
"""

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass

COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}  # fmt: skip
NAMES = {
    "minimum": "maximum", "min": "max", "floor": "ceil", "any": "all", "argmin": "argmax", "zeros": "ones",
    "zeros_like": "ones_like", "expm1": "exp", "log1p": "log", "betainc": "betaincc", "gammaincinv": "gammainccinv",
}  # fmt: skip
NAMES |= {other: name for name, other in NAMES.items()}
JOIN = " ;; "
"""What stands between lines of code in the lists."""
Place = ast.stmt | ast.expr
"""A part of a file that knows where it stands."""
SYMMETRIC = {"minimum", "maximum", "min", "max", "logaddexp", "array_equal", "gcd"}
"""Calls whose arguments may change places."""


@dataclass(frozen=True)
class Edit:
    """One change: `kind` of change, the character range of the file that it replaces, and the new text. `lines`: first and
    last line of the statement it lies in; `early`: whether that runs when the file is imported."""

    kind: str
    start: int
    stop: int
    text: str
    lines: tuple[int, int]
    early: bool

    def applied(self, source: str) -> str:
        """The changed file."""
        return source[: self.start] + self.text + source[self.stop :]


def changed_lines(old: str, new: str) -> tuple[str, str]:
    """The lines that differ, without indentation, each side joined by `JOIN`: how a change is named in the lists."""
    removed, added = [], []
    for line in difflib.ndiff(old.splitlines(), new.splitlines()):
        if line[:2] in ("- ", "+ "):
            (removed if line[0] == "-" else added).append(line[2:].strip())
    return JOIN.join(removed), JOIN.join(added)


def edits_of(source: str) -> list[Edit]:
    """Every edit of a file that still compiles, each text once, in the file's order."""
    found, seen = [], {source}
    for edit in _Walk(source).edits():
        text = edit.applied(source)
        if text not in seen and _compiles(text):
            seen.add(text)
            found.append(edit)
    return found


def statement_at(source: str, line: int) -> tuple[tuple[int, int], bool]:
    """First and last line of the innermost statement at a line (of its head where it has a body), and whether it runs when the
    file is imported."""
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    inside = [node for node in statements if node.lineno <= line <= _end(node)[0]]
    functions = [node for node in inside if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    innermost = max(inside, key=lambda node: node.lineno)
    early = not any(node.body[0].lineno <= line for node in functions)
    return (innermost.lineno, _header_end(innermost)), early


def function_at(source: str, line: int) -> tuple[int, int]:
    """First and last line of the body of the innermost function at a line; of the file, outside of functions."""
    found = (1, len(source.splitlines()))
    for node in ast.walk(ast.parse(source)):  # outer ones first
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.body[0].lineno <= line <= _end(node)[0]:
            found = node.body[0].lineno, _end(node)[0]
    return found


def _header_end(node: ast.stmt) -> int:
    """Last line of a statement, or of its head where it has a body."""
    body = getattr(node, "body", None)
    return max(node.lineno, body[0].lineno - 1) if isinstance(body, list) and body else _end(node)[0]


def _end(node: Place) -> tuple[int, int]:
    """Line and column at which a part of a parsed file ends."""
    if node.end_lineno is None or node.end_col_offset is None:
        raise ValueError("only trees that were parsed from text have places")
    return node.end_lineno, node.end_col_offset


def _compiles(text: str) -> bool:
    try:
        compile(text, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


class _Walk:
    """One pass over a file's tree."""

    def __init__(self, source: str):
        self.source, self.tree = source, ast.parse(source)
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.rows = source.splitlines()

    def edits(self) -> Iterator[Edit]:
        yield from self._block(self.tree.body, early=True)

    def _block(self, body: list[ast.stmt], early: bool) -> Iterator[Edit]:
        for node in body:
            silent = _is_docstring(node) or _is_for_checkers(node) or _is_example(node)
            if silent or isinstance(node, ast.Import | ast.ImportFrom):
                continue
            yield from self._statement(node, early)
            inside = early and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for name in ("body", "orelse", "finalbody"):
                inner = getattr(node, name, [])
                if isinstance(inner, list) and not isinstance(node, ast.Expr):
                    yield from self._block(inner, inside)
            for handler in getattr(node, "handlers", []):
                yield from self._block(handler.body, inside)

    def _statement(self, node: ast.stmt, early: bool) -> Iterator[Edit]:
        lines = (node.lineno, _header_end(node))
        for kind, target, text in (*self._whole(node), *self._parts(node)):
            yield Edit(kind, *self._range(target), text, lines, early)

    def _whole(self, node: ast.stmt) -> Iterator[tuple[str, Place, str]]:
        """Changes of a statement as a whole."""
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield "statement", node, "pass"
        elif isinstance(node, ast.AugAssign | ast.Raise | ast.Break | ast.Continue):
            yield "statement", node, "pass"
        elif isinstance(node, ast.Assign) and all(isinstance(target, ast.Subscript) for target in node.targets):
            yield "statement", node, "pass"
        elif isinstance(node, ast.Return) and node.value is not None:
            yield "return", node, "return None"
        if isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
            changed = ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
            yield "arithmetic", node, ast.unparse(changed)
        if isinstance(node, ast.If | ast.While):
            yield "branch", node.test, f"not ({self._text(node.test)})"

    def _parts(self, node: ast.stmt) -> Iterator[tuple[str, Place, str]]:
        """Changes of the expressions of a statement (of its head where it has a body)."""
        for part in _expressions(node):
            if isinstance(part, ast.Constant):
                yield from (("constant", part, text) for text in _constants(part.value))
            elif isinstance(part, ast.Compare):
                yield from self._compare(part)
            elif isinstance(part, ast.BinOp) and type(part.op) in ARITHMETIC:
                changed = ast.BinOp(part.left, ARITHMETIC[type(part.op)](), part.right)
                yield "arithmetic", part, f"({ast.unparse(changed)})"
            elif isinstance(part, ast.BoolOp):
                yield from self._boolean(part)
            elif isinstance(part, ast.UnaryOp) and not isinstance(part.operand, ast.Constant):
                yield "negation", part, f"({self._text(part.operand)})"
            elif isinstance(part, ast.IfExp):
                yield "branch", part, f"({self._text(part.body)})"
                yield "branch", part, f"({self._text(part.orelse)})"
            elif isinstance(part, ast.Call):
                yield from self._call(part)
            elif isinstance(part, ast.Attribute | ast.Name) and _name(part) in NAMES:
                yield "boundary", part, _renamed(part, self._text(part))

    def _compare(self, node: ast.Compare) -> Iterator[tuple[str, Place, str]]:
        for place, operator in enumerate(node.ops):
            for other in COMPARE[type(operator)]:
                operators = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield "compare", node, f"({ast.unparse(ast.Compare(node.left, operators, node.comparators))})"

    def _boolean(self, node: ast.BoolOp) -> Iterator[tuple[str, Place, str]]:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "boolean", node, f"({ast.unparse(ast.BoolOp(other, node.values))})"
        for place in range(len(node.values)):
            rest = [value for number, value in enumerate(node.values) if number != place]
            yield "boolean", node, f"({ast.unparse(ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0])})"

    def _call(self, node: ast.Call) -> Iterator[tuple[str, Place, str]]:
        symmetric = isinstance(node.func, ast.Attribute | ast.Name) and _name(node.func) in SYMMETRIC
        for place in range(0 if symmetric else len(node.args) - 1):
            if not any(isinstance(argument, ast.Starred) for argument in node.args[place : place + 2]):
                swapped = [*node.args]
                swapped[place], swapped[place + 1] = swapped[place + 1], swapped[place]
                yield "swap", node, ast.unparse(ast.Call(node.func, swapped, node.keywords))
        for keyword in node.keywords:
            rest = [other for other in node.keywords if other is not keyword]
            yield "keyword", node, ast.unparse(ast.Call(node.func, node.args, rest))

    def _range(self, node: Place) -> tuple[int, int]:
        return self._place(node.lineno, node.col_offset), self._place(*_end(node))

    def _place(self, line: int, column: int) -> int:
        """The character at a line and a column, which counts bytes."""
        return self.starts[line - 1] + len(self.rows[line - 1].encode()[:column].decode())

    def _text(self, node: Place) -> str:
        start, stop = self._range(node)
        return self.source[start:stop]


def _expressions(node: ast.stmt) -> Iterator[ast.AST]:
    """Every expression below a statement, but for annotations, decorators, formatted text, and what is raised."""
    if isinstance(node, ast.Raise):
        return
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        todo: list[ast.AST] = [*node.args.defaults, *(value for value in node.args.kw_defaults if value is not None)]
    elif isinstance(node, ast.ClassDef):
        todo = []
    else:
        skipped = ("body", "orelse", "finalbody", "handlers", "annotation", "type_comment")
        fields = [value for name, value in ast.iter_fields(node) if name not in skipped]
        todo = [item for value in fields for item in (value if isinstance(value, list) else [value])]
    while todo:
        part = todo.pop()
        if isinstance(part, ast.JoinedStr) or not isinstance(part, ast.AST):
            continue
        yield part
        todo.extend(ast.iter_child_nodes(part))


def _constants(value: object) -> list[str]:
    if isinstance(value, bool):
        return [str(not value)]
    if isinstance(value, int):
        return [str(value + 1), *([f"({value - 1})"] if value > 0 else [])]
    if isinstance(value, float):
        return ["1.0"] if value == 0 else [f"({value!r} * 1.25)", f"({value!r} / 2)"]
    return []


def _name(node: ast.Attribute | ast.Name) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id


def _renamed(node: ast.Attribute | ast.Name, text: str) -> str:
    name = _name(node)
    return text[: len(text) - len(name)] + NAMES[name]


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_example(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "example"


def _is_for_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
