"""Fail where a function has more than 60 lines of code or a file more than 400 lines.

A line of code is one that is neither blank nor a comment nor part of a docstring.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

FUNCTION_LIMIT = 60
FILE_LIMIT = 400
_NOT_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


def complaints(source: str, name: str) -> Iterator[str]:
    """Yield one line for each function and file that is too long."""
    length = len(source.splitlines())
    if length > FILE_LIMIT:
        yield f"{name}: {length} lines; a file has at most {FILE_LIMIT}. Split it."
    tree = ast.parse(source)
    code = code_lines(source, tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = len(code & set(range(node.lineno, (node.end_lineno or node.lineno) + 1)))
            if size > FUNCTION_LIMIT:
                where = f"{name}:{node.lineno}: {node.name}"
                yield f"{where}: {size} lines of code; a function has at most {FUNCTION_LIMIT}. Split it."


def code_lines(source: str, tree: ast.Module) -> set[int]:
    """Return the numbers of the lines of code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for text in _docstrings(tree):
        lines.difference_update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return lines


def _docstrings(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield first.value


def main(folder: Path) -> int:
    """Check every Python file below a folder; return 1 if there is a complaint, else 0."""
    files = sorted(folder.rglob("*.py"))
    found = [line for file in files for line in complaints(file.read_text("utf-8"), file.as_posix())]
    for line in found:
        print(line)
    print(f"Sizes: {len(files)} files, {len(found)} complaints.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent.parent / "src"))
