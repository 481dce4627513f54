"""What commands print: tables for people, one JSON document for machines, errors as one message."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import TYPE_CHECKING, Any

from rheostat.core.errors import RheostatError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = [
    "Reply",
    "error_console",
    "print_error",
    "print_json",
    "print_note",
    "print_reply",
    "table",
]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command found out.

    Attributes:
        data: All of it, for ``--json``: plain data, dataclasses and paths.
        shown: What people see, one renderable after the other.
        code: The exit code.
    """

    data: Mapping[str, Any]
    shown: Sequence[RenderableType] = field(default_factory=tuple)
    code: int = 0


def print_reply(reply: Reply) -> None:
    """Print what people see on stdout."""
    console = _console()
    for renderable in reply.shown:
        # A path or a label may look like markup; soft wrapping keeps commands whole, so that they can be copied.
        plain_text = isinstance(renderable, str)
        console.print(renderable, markup=False, emoji=False, highlight=False, soft_wrap=plain_text)


def print_json(data: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout; numbers that JSON cannot hold become null."""
    sys.stdout.write(json.dumps(plain(data), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def print_error(kind: str, error: RheostatError, *, as_json: bool) -> None:
    """Print an error: on stderr for people, as ``{"error": {...}}`` on stdout for machines."""
    if as_json:
        given = None if error.given is None else str(error.given)
        detail = {"type": kind, "message": str(error), "rule": error.rule, "given": given, "mend": error.mend}
        print_json({"error": detail})
    else:
        _say("Error:" if kind != "Interrupted" else "", "bold red", str(error))


def print_note(text: str) -> None:
    """Print a remark on stderr."""
    _say("Note:", "bold yellow", text)


def error_console() -> Console:
    """Return a console on stderr, where everything goes that is not the result."""
    from rich.console import Console

    return Console(stderr=True)


def table(title: str, columns: Iterable[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table; text from outside is never read as markup.

    Args:
        title: The heading; empty for none.
        columns: Heads; one that starts with ``>`` stands at the right, for numbers.
        rows: The cells.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        made.add_column(Text(column.removeprefix(">")), justify="right" if right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def plain(value: Any) -> Any:
    """Return a value as plain JSON data."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _console() -> Console:
    from rich.console import Console

    return Console()


def _say(label: str, style: str, text: str) -> None:
    from rich.text import Text

    # Soft wrapping keeps paths and commands whole, so that they can be copied.
    error_console().print(Text.assemble((f"{label} " if label else "", style), text), soft_wrap=True)
