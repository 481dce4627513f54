"""What a search shows while it runs: trials done, the front so far, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rheostat.cli.output import error_console, table
from rheostat.cli.progress import duration_words
from rheostat.core.quantities import configuration_words, quantity_text
from rheostat.core.result import Finding

if TYPE_CHECKING:
    from rich.console import Console, Group

    from rheostat.search.loop import Progress

__all__ = ["front_columns", "front_rows", "search_display"]

_SECONDS_BETWEEN_LINES = 10.0
_ROWS = 6
_PHASES = {"baseline": "measuring the default", "search": "searching", "confirmation": "confirming"}


@contextmanager
def search_display(objectives: Sequence[str], title: str) -> Iterator[Callable[[Progress], None]]:
    """Show progress on stderr while the block runs; call what it yields with each `Progress`.

    Args:
        objectives: The metrics to show.
        title: What is searched, for people.
    """
    console = error_console()
    if not console.is_terminal:
        yield _line_printer(console)
        return
    from rich.live import Live
    from rich.text import Text

    with Live(Text(title), console=console, refresh_per_second=4, transient=True) as live:
        yield lambda progress: live.update(_panel(progress, objectives, title))


def front_columns(objectives: Sequence[str]) -> list[str]:
    """Return the heads of a table of a front."""
    return [">trial", *(f">{name}" for name in objectives), ">gain", "configuration"]


def front_rows(front: Sequence[Finding], objectives: Sequence[str]) -> list[list[str]]:
    """Return the rows of a table of a front."""
    return [
        [
            str(one.number),
            *(_value(one, name) for name in objectives),
            "" if one.preference is None else f"{one.preference:.2f}x",
            configuration_words(one.configuration) + (" *" if one.confirmed else ""),
        ]
        for one in front
    ]


def progress_words(progress: Progress) -> str:
    """Return progress in a line."""
    words = [_PHASES[progress.phase], f"{progress.trials} trials", f"front of {len(progress.front)}"]
    if progress.front and progress.front[0].preference is not None:
        words.append(f"best {progress.front[0].preference:.2f}x")
    return ", ".join([*words, f"{duration_words(progress.seconds_left)} left"])


def _value(one: Finding, name: str) -> str:
    found = one.metrics.get(name)
    return "" if found is None or found.value is None else quantity_text(name, found.value)


def _panel(progress: Progress, objectives: Sequence[str], title: str) -> Group:
    from rich.console import Group
    from rich.text import Text

    rows = front_rows(progress.front[:_ROWS], objectives)
    more = len(progress.front) - len(rows)
    heading = f"{title}\n{progress_words(progress)}"
    shown = [Text(heading), table("", front_columns(objectives), rows)] if rows else [Text(heading)]
    latest = progress.latest
    if latest is not None:
        failed = "" if latest.ok else f": {latest.measurement.status}"
        shown.append(Text(f"latest: {configuration_words(latest.configuration)}{failed}", style="dim"))
    return Group(*shown, *([Text(f"and {more} more", style="dim")] if more > 0 else []))


def _line_printer(console: Console) -> Callable[[Progress], None]:
    last = float("-inf")

    def show(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last < _SECONDS_BETWEEN_LINES:
            return
        last = time.monotonic()
        console.print(progress_words(progress), markup=False, emoji=False, highlight=False, soft_wrap=True)

    return show
