"""Values sampled over time, and what is true of all the time between the samples: pure arithmetic."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise

from rheostat.core.errors import MeasurementError

__all__ = ["Trace"]


@dataclass(frozen=True, slots=True)
class Trace:
    """A quantity sampled over time, taken to run straight from each sample to the next.

    Samples need not be evenly spaced: late ones get the weight of the time they stand for.

    Args:
        times: Seconds, strictly increasing; at least one.
        values: The quantity at those times, in one unit (bytes, watts ...).

    Raises:
        MeasurementError: If there are none, their counts differ, one is not finite, or time stands still or runs
            backwards.

    Example:
        >>> Trace((0.0, 1.0, 4.0), (0.0, 2.0, 2.0)).mean()
        1.75
    """

    times: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        # Lists are welcome, but a frozen trace holds what cannot change.
        object.__setattr__(self, "times", tuple(self.times))
        object.__setattr__(self, "values", tuple(self.values))
        if not self.times or len(self.times) != len(self.values):
            raise MeasurementError(
                "A trace has at least one time, and a value for each.",
                given=f"{len(self.times)} times, {len(self.values)} values",
            )
        if not all(map(math.isfinite, (*self.times, *self.values))):
            raise MeasurementError("The times and values of a trace are finite.", given="infinity or not a number")
        for earlier, later in pairwise(self.times):
            if later <= earlier:
                raise MeasurementError("The times of a trace increase.", given=f"{later} s after {earlier} s")

    def __len__(self) -> int:
        return len(self.times)

    @property
    def duration(self) -> float:
        """Seconds from the first sample to the last."""
        return self.times[-1] - self.times[0]

    def integral(self) -> float:
        """Return the area under the trace by the trapezoid rule: unit times seconds; 0 of one sample.

        Example:
            >>> Trace((0.0, 10.0), (3.0, 5.0)).integral()
            40.0
        """
        steps = zip(pairwise(self.times), pairwise(self.values), strict=True)
        return math.fsum((end - start) * (first / 2 + last / 2) for (start, end), (first, last) in steps)

    def mean(self) -> float:
        """Return the time-weighted mean: the integral over the duration; of one sample, its value."""
        return self.integral() / self.duration if len(self) > 1 else self.values[0]

    def peak(self) -> float:
        """Return the largest sample. What rose and fell between two samples is not seen."""
        return max(self.values)

    def at(self, time: float) -> float:
        """Return the value at a time, interpolated between the samples around it.

        Raises:
            MeasurementError: If the time lies outside the trace.
        """
        if not self.times[0] <= time <= self.times[-1]:
            raise MeasurementError(
                f"A trace knows the time from {self.times[0]} s to {self.times[-1]} s.", given=f"{time} s"
            )
        after = bisect_left(self.times, time)
        if self.times[after] == time:
            return self.values[after]
        start, end = self.times[after - 1], self.times[after]
        share = (time - start) / (end - start)
        return self.values[after - 1] * (1 - share) + self.values[after] * share

    def between(self, start: float, end: float) -> Trace:
        """Return the part from one time to another, with interpolated samples at both ends.

        Args:
            start: Seconds, within the trace.
            end: Seconds, within the trace and not before ``start``.

        Raises:
            MeasurementError: If the window lies outside the trace or ends before it starts.

        Example:
            >>> Trace((0.0, 10.0), (0.0, 10.0)).between(2.0, 4.0).values
            (2.0, 4.0)
        """
        if end < start:
            raise MeasurementError("A window ends after its start.", given=f"{start} s to {end} s")
        first, last = self.at(start), self.at(end)
        if start == end:
            return Trace((start,), (first,))
        inner = slice(bisect_right(self.times, start), bisect_left(self.times, end))
        return Trace((start, *self.times[inner], end), (first, *self.values[inner], last))

    def less(self, idle: float) -> Trace:
        """Return the trace with a constant taken off every value, such as an idle machine's watts.

        Args:
            idle: In the unit of the values.
        """
        return Trace(self.times, tuple(value - idle for value in self.values))

    def pairs(self) -> list[list[float]]:
        """Return ``[seconds, value]`` pairs, as records keep them, with time from the first sample on."""
        return [[time - self.times[0], value] for time, value in zip(self.times, self.values, strict=True)]
