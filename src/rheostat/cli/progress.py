"""Progress on stderr, with the time that is left: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rheostat.cli.output import error_console

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Step", "duration_words", "progress_bar"]

_SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True, slots=True)
class Step:
    """How far some work is.

    Attributes:
        done: Steps done.
        total: Steps in all.
        seconds_left: Estimate of what is left; None where unknown.
        remark: A few words on the latest step.
    """

    done: int
    total: int
    seconds_left: float | None = None
    remark: str = ""


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[Step], None]]:
    """Show progress while the block runs; call what it yields with each `Step`."""
    console = error_console()
    if not console.is_terminal:
        yield _line_printer(console, title)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[remark]}", markup=False, style="dim", table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None, left="", remark="")
        yield lambda step: bar.update(
            task, completed=step.done, total=step.total, left=_left_words(step), remark=step.remark
        )


def duration_words(seconds: float) -> str:
    """Return a duration for people.

    Example:
        >>> duration_words(42), duration_words(150), duration_words(5400)
        ('42 s', '2 min 30 s', '1 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _left_words(step: Step) -> str:
    return "" if step.seconds_left is None or step.done >= step.total else f"{duration_words(step.seconds_left)} left"


def _line_printer(console: Console, title: str) -> Callable[[Step], None]:
    last = float("-inf")

    def show(step: Step) -> None:
        nonlocal last
        if step.done < step.total and time.monotonic() - last < _SECONDS_BETWEEN_LINES:
            return
        last = time.monotonic()
        parts = (f"{title} {step.done}/{step.total}", step.remark, _left_words(step))
        console.print(
            ", ".join(part for part in parts if part), markup=False, emoji=False, highlight=False, soft_wrap=True
        )

    return show
