"""Training in several processes, as ``accelerate launch`` and ``torchrun`` start them; alone, all of this does nothing.

What a clock or a key press decides is decided by the main process, or the others would wait for it for ever.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import distributed

from rheostat.core.extras import require

__all__ = ["from_main", "is_main", "join", "mean_over_processes", "on_main", "processes", "wait"]

_Value = TypeVar("_Value")


def join() -> None:
    """Join the other processes, if a launcher has started some, until this one ends.

    A process that ends without leaving its group sometimes aborts: a thread of Gloo still holds Python objects while
    the interpreter goes down (https://github.com/pytorch/pytorch/pull/179291). So it leaves before that.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not _together():
        require("accelerate", extra="train").PartialState()
        atexit.register(_leave)


def processes() -> int:
    """Return how many processes train together, at least 1."""
    return distributed.get_world_size() if _together() else 1


def is_main() -> bool:
    """Say whether this is the process that writes and prints."""
    return not _together() or distributed.get_rank() == 0


def wait() -> None:
    """Wait until every process is here."""
    if _together():
        distributed.barrier()


def from_main(value: _Value) -> _Value:
    """Return the main process's value, in every process."""
    if not _together():
        return value
    values: list[Any] = [value]
    distributed.broadcast_object_list(values, src=0)
    result: _Value = values[0]
    return result


def on_main(act: Callable[[], _Value]) -> _Value:
    """Call something in the main process alone, and return its result, or raise its error, in every process."""
    if not _together():
        return act()
    outcome: tuple[Any, Exception | None] = (None, None)
    if is_main():
        try:
            outcome = (act(), None)
        except Exception as error:  # noqa: BLE001 - it is raised below, in every process
            outcome = (None, error)
    result, failed = from_main(outcome)
    if failed is not None:
        raise failed
    done: _Value = result
    return done


def mean_over_processes(values: Sequence[float]) -> list[float]:
    """Return the mean of each number over the processes; the same in all of them, to the last bit."""
    if not _together():
        return [*values]
    gathered: list[Any] = [None] * processes()
    distributed.all_gather_object(gathered, [*values])
    return [sum(column) / len(column) for column in zip(*gathered, strict=True)]


def _leave() -> None:
    if _together():
        distributed.destroy_process_group()


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
