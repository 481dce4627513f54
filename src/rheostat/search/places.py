"""YAML that remembers where everything stands, so that errors can point at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rheostat.core.errors import SettingError
from rheostat.core.extras import require

__all__ = ["Places", "read_yaml"]

Path = tuple[str | int, ...]


@dataclass(frozen=True, eq=False)
class Places:
    """Where the parts of a document stand.

    All are equal: the same content is the same, wherever it was written.

    Attributes:
        name: The file's name; empty where there is none.
        marks: Keys and numbers that lead to a part, to its line and column, both from 1.
    """

    name: str = ""
    marks: Mapping[Path, tuple[int, int]] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Places)

    def __hash__(self) -> int:
        return 0

    def of(self, *path: str | int) -> str:
        """Say where a part stands, or the nearest part around it; empty where nothing is known.

        Example:
            >>> Places("a.yaml", {("seed",): (3, 7)}).of("seed", 0)
            'a.yaml, line 3, column 7'
        """
        for length in range(len(path), 0, -1):
            if path[:length] in self.marks:
                line, column = self.marks[path[:length]]
                return f"{self.name}, line {line}, column {column}"
        return self.name


def read_yaml(text: str, name: str) -> tuple[Any, Places]:
    """Parse YAML.

    Args:
        text: The document.
        name: What errors call it.

    Returns:
        The data, and where its parts stand: a key for what it holds, the value itself in lists.

    Raises:
        SettingError: If it is no YAML, or names a key twice; with line and column.
    """
    yaml: Any = require("yaml", extra="search")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = name if mark is None else f"{name}, line {mark.line + 1}, column {mark.column + 1}"
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise SettingError(
            "A scenario is a YAML file.", given=f"{where}: {problem}", mend="Write one with: rheostat init"
        ) from error
    marks: dict[Path, tuple[int, int]] = {}
    for path, mark in _Marks(name).of(node, ()):
        marks[path] = mark.line + 1, mark.column + 1
    return data, Places(name, marks)


class _Marks:
    """Walks a document's nodes, each once: an alias may lead to one of them again, or to itself."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen: set[int] = set()

    def of(self, node: Any, path: Path) -> Iterator[tuple[Path, Any]]:
        if node is None or id(node) in self._seen:
            return
        self._seen.add(id(node))
        if node.id == "mapping":
            yield from self._of_mapping(node, path)
        elif node.id == "sequence":
            for number, value in enumerate(node.value):
                yield (*path, number), value.start_mark
                yield from self.of(value, (*path, number))

    def _of_mapping(self, node: Any, path: Path) -> Iterator[tuple[Path, Any]]:
        lines: dict[str, int] = {}
        for key, value in node.value:
            called, mark = str(key.value), key.start_mark
            if called in lines:
                raise SettingError(
                    "A key stands once.",
                    given=f"{self._name}, line {mark.line + 1}, column {mark.column + 1}: '{called}', "
                    f"which is in line {lines[called]}, too",
                    mend="Leave one of them out.",
                )
            lines[called] = mark.line + 1
            yield (*path, called), mark
            yield from self.of(value, (*path, called))
