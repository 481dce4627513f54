"""Wall-clock time of two ways to do the same work, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from rheostat.core.errors import MeasurementError
from rheostat.measure.intervals import median_interval

__all__ = ["PairedTiming", "paired"]


@dataclass(frozen=True, slots=True)
class PairedTiming:
    """Seconds of two ways to do the same work, pair by pair.

    Attributes:
        plain: Seconds of the reference in each pair.
        other: Seconds of the other way, in the same pairs.
    """

    plain: tuple[float, ...]
    other: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.plain or len(self.plain) != len(self.other):
            raise MeasurementError("A paired timing has as many seconds of either kind, and at least one pair.")
        if min(*self.plain, *self.other) <= 0.0:
            raise MeasurementError(
                "A run lasts longer than the clock's step.", given="0 s", mend="Time more work at once."
            )

    @property
    def pairs(self) -> int:
        """How many pairs were run."""
        return len(self.plain)

    @property
    def plain_seconds(self) -> float:
        """Median seconds of the reference."""
        return median(self.plain)

    @property
    def seconds(self) -> float:
        """Median seconds of the other way."""
        return median(self.other)

    @property
    def speedups(self) -> tuple[float, ...]:
        """Plain seconds / other seconds of each pair: above 1 where the other way is faster."""
        return tuple(plain / other for plain, other in zip(self.plain, self.other, strict=True))

    @property
    def speedup(self) -> float:
        """Median of `speedups`: what slows the machine for a while slows both halves of a pair."""
        return median(self.speedups)

    @property
    def speedup_interval(self) -> tuple[float, float]:
        """95 % interval of `speedup`."""
        return median_interval(self.speedups)

    @property
    def cost(self) -> float:
        """Median of other seconds / plain seconds: 1.02 is 2 % slower than the reference."""
        return median(1.0 / speedup for speedup in self.speedups)

    @property
    def cost_interval(self) -> tuple[float, float]:
        """95 % interval of `cost`."""
        return median_interval([1.0 / speedup for speedup in self.speedups])


def paired(
    plain: Callable[[], object],
    other: Callable[[], object],
    pairs: int,
    *,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
    synchronise: Callable[[], object] | None = None,
) -> PairedTiming:
    """Time two ways to do the same work in turn, the order swapped from pair to pair.

    Args:
        plain: Does the work the reference way.
        other: Does it the other way.
        pairs: How often each is timed; at least 1.
        warmup: How often each runs beforehand, untimed; at least 0.
        clock: Returns seconds.
        synchronise: Waits until the device is done, see `rheostat.measure.probes.synchroniser`; None on the
            CPU.

    Raises:
        MeasurementError: If ``pairs`` or ``warmup`` is too small, or a run takes no time by the clock.
    """
    if pairs < 1 or warmup < 0:
        raise MeasurementError("There is at least one pair, and no warm-up below 0.", given=f"{pairs}, {warmup}")
    for _ in range(warmup):
        plain()
        other()
    seconds: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs):
        # Whoever runs second finds warmer caches or a hotter chip: each is second half of the time.
        for which in (0, 1) if pair % 2 == 0 else (1, 0):
            seconds[which].append(_seconds((plain, other)[which], clock, synchronise))
    return PairedTiming(tuple(seconds[0]), tuple(seconds[1]))


def _seconds(work: Callable[[], object], clock: Callable[[], float], synchronise: Callable[[], object] | None) -> float:
    wait = synchronise or (lambda: None)
    wait()
    start = clock()
    work()
    wait()
    return clock() - start
