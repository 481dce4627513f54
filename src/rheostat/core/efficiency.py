"""The efficiency metrics as formulas: pure arithmetic on what was measured.

The names are those of EfficientLLM (https://arxiv.org/abs/2505.13840). Where its definition and its tables
disagree, or a definition leaves room, the docstring of the formula says what is computed here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rheostat.core.errors import MeasurementError
from rheostat.core.traces import Trace

__all__ = [
    "PERCENTILES",
    "Energy",
    "Estimate",
    "MemoryUse",
    "average_latency",
    "compression",
    "compute_utilisation",
    "cost_per_million_tokens",
    "inference_throughput",
    "latency_percentiles",
    "memory_use",
    "percentile",
    "percentile_estimate",
    "sample_throughput",
    "training_throughput",
]

PERCENTILES: Final = (50, 90, 95, 99)
"""The percentiles of latency that are reported."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its 95 % interval, all in one unit."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """AMU: memory in use, in bytes.

    Attributes:
        mean: Time-weighted mean: the integral over time by the trapezoid rule, over the duration. A mean of the
            samples is something else where their spacing varies.
        peak: The most.
    """

    mean: float
    peak: float

    def share(self, capacity: float) -> tuple[float, float]:
        """Return mean and peak as shares of a capacity.

        Args:
            capacity: Bytes; above 0.

        Raises:
            MeasurementError: If the capacity is not above 0.
        """
        _check_positive("A capacity", "bytes", capacity)
        return self.mean / capacity, self.peak / capacity


@dataclass(frozen=True, slots=True)
class Energy:
    """AEC: the energy of a run.

    EfficientLLM's AEC is mean power in watts, not energy; here both are kept, each under its own name.

    Args:
        joules: Energy of the run, gross: that of the idle machine included; at least 0.
        seconds: How long it lasted; above 0.
        idle_watts: Power of the idle machine, at least 0; None where it was not measured.

    Raises:
        MeasurementError: If one is outside its range.

    Example:
        >>> run = Energy(joules=120.0, seconds=10.0, idle_watts=4.0)
        >>> run.mean_watts, run.net_joules, run.per(40)
        (12.0, 80.0, 3.0)
    """

    joules: float
    seconds: float
    idle_watts: float | None = None

    def __post_init__(self) -> None:
        _check_positive("A run", "seconds", self.seconds)
        for name, number in (("Energy", self.joules), ("Idle power", self.idle_watts)):
            if number is not None and not (math.isfinite(number) and number >= 0.0):
                raise MeasurementError(f"{name} is a finite number from 0 on.", given=number)

    @property
    def mean_watts(self) -> float:
        """Mean power, gross (AEC as published)."""
        return self.joules / self.seconds

    @property
    def net_joules(self) -> float | None:
        """Energy less the idle machine's over the same time; None where idle power is unknown.

        Below 0 where the machine drew less than when it was called idle: the noise of the instrument shows.
        """
        return None if self.idle_watts is None else self.joules - self.idle_watts * self.seconds

    @property
    def net_watts(self) -> float | None:
        """Mean power less idle power; None where idle power is unknown."""
        return None if self.idle_watts is None else self.mean_watts - self.idle_watts

    def per(self, count: int) -> float:
        """Return gross joules a token, or a sample.

        Args:
            count: Tokens or samples done in the run; at least 1.

        Raises:
            MeasurementError: If there are none.
        """
        return self.joules / _checked_count(count)

    def net_per(self, count: int) -> float | None:
        """Return net joules a token, or a sample; None where idle power is unknown.

        Args:
            count: Tokens or samples done in the run; at least 1.

        Raises:
            MeasurementError: If there are none.
        """
        count = _checked_count(count)
        return None if self.net_joules is None else self.net_joules / count


def memory_use(trace: Trace) -> MemoryUse:
    """Return AMU of a trace of memory in bytes.

    Its peak is the largest sample; a high-water mark of the system, where there is one, also sees what rose and
    fell between two samples.

    Example:
        >>> memory_use(Trace((0.0, 1.0, 4.0), (0.0, 2.0, 2.0)))
        MemoryUse(mean=1.75, peak=2.0)
    """
    return MemoryUse(mean=trace.mean(), peak=trace.peak())


def compute_utilisation(macs: float, seconds: float, peak: float) -> float:
    """Return PCU: achieved floating-point operations a second over the machine's own measured peak.

    EfficientLLM integrates the utilisation that the driver reports, which counts a processor as used however
    little it computes. Here the operations are counted: two a multiply-accumulate. Above 1 where the peak was
    measured on a busier machine, or in another precision.

    Args:
        macs: Multiply-accumulates done, see `rheostat.measure.macs`; at least 0.
        seconds: Time they took; above 0.
        peak: Floating-point operations a second, see `rheostat.measure.probes.machine_peak`; above 0.

    Raises:
        MeasurementError: If one is outside its range.

    Example:
        >>> compute_utilisation(macs=25e9, seconds=1.0, peak=100e9)
        0.5
    """
    _check_positive("A run", "seconds", seconds)
    _check_positive("A measured peak", "operations a second", peak)
    if not (math.isfinite(macs) and macs >= 0):
        raise MeasurementError("Counted work is a finite number from 0 on.", given=macs)
    return 2 * macs / seconds / peak


def average_latency(compute: Sequence[float], communication: Sequence[float] = ()) -> float:
    """Return AL: the mean seconds of a request or iteration, communication included.

    Args:
        compute: Seconds of each; at least one.
        communication: Seconds each waited for other devices; empty on one device.

    Raises:
        MeasurementError: If there are none, or the counts differ.
    """
    if not compute or (communication and len(communication) != len(compute)):
        raise MeasurementError(
            "A mean latency needs at least one request, and as many times of communication or none.",
            given=f"{len(compute)} and {len(communication)}",
        )
    return math.fsum((*compute, *communication)) / len(compute)


def percentile(values: Sequence[float], rank: float) -> float:
    """Return a percentile, interpolated in a straight line between the two values around it.

    Args:
        values: At least one.
        rank: From 0 to 100.

    Raises:
        MeasurementError: If there are no values, or the rank is outside its range.

    Example:
        >>> percentile([4.0, 1.0, 2.0, 3.0], 50)
        2.5
    """
    if not values or not 0 <= rank <= 100:
        raise MeasurementError(
            "A percentile needs values and a rank from 0 to 100.", given=f"{len(values)} values, rank {rank}"
        )
    ordered = sorted(values)
    below, share = _position(len(ordered), rank)
    return _mix(ordered[below], ordered[min(below + 1, len(ordered) - 1)], share)


def percentile_estimate(values: Sequence[float], rank: float, *, draws: int = 2000, seed: int = 0) -> Estimate:
    """Return a percentile with its 95 % percentile-bootstrap interval.

    No interval reaches beyond the largest value seen. With n values a share 0.99^n of all samples has none
    above the true p99: 37 % at n = 100, so there the upper end is a floor, not a bound.

    Args:
        values: Independent values; at least one.
        rank: From 0 to 100.
        draws: Resamples; at least 40.
        seed: Of the random numbers, so that the same values give the same interval.

    Raises:
        MeasurementError: If there are no values, too few draws, or the rank is outside its range.
    """
    if draws < 40:
        raise MeasurementError("A bootstrap needs 40 draws.", given=draws)
    value = percentile(values, rank)
    resampled = sorted(_resampled(sorted(values), rank, draws, random.Random(seed)))
    cut = int(0.025 * draws)
    return Estimate(value, min(value, resampled[cut]), max(value, resampled[draws - 1 - cut]))


def latency_percentiles(seconds: Sequence[float], *, draws: int = 2000, seed: int = 0) -> dict[int, Estimate]:
    """Return p50, p90, p95 and p99 of latency with 95 % intervals, see `percentile_estimate`.

    Args:
        seconds: Time of each request; at least one.
        draws: Resamples; at least 40.
        seed: Of the random numbers.

    Raises:
        MeasurementError: If there are no requests or too few draws.

    Example:
        >>> latency_percentiles([1.0, 2.0, 3.0])[50].value
        2.0
    """
    return {rank: percentile_estimate(seconds, rank, draws=draws, seed=seed + rank) for rank in PERCENTILES}


def training_throughput(tokens: Sequence[float], seconds: Sequence[float], *, parameters: int = 1) -> float:
    """Return TT: trained tokens over the time they took; a ratio of sums, not a mean of ratios.

    Args:
        tokens: Tokens of each step.
        seconds: Time of each step, in the same order.
        parameters: Of the model: gives tokens a parameter and second, EfficientLLM's unit. 1 gives tokens a
            second.

    Raises:
        MeasurementError: If there are no steps, the counts differ, or no time passed.
    """
    return _rate(tokens, seconds) / _checked_count(parameters)


def sample_throughput(samples: Sequence[float], seconds: Sequence[float], *, parameters: int = 1) -> float:
    """Return ST: samples over the time they took; a ratio of sums, not a mean of ratios.

    Args:
        samples: Rows of each step.
        seconds: Time of each step, in the same order.
        parameters: Of the model: gives samples a parameter and second, EfficientLLM's unit. 1 gives samples a
            second.

    Raises:
        MeasurementError: If there are no steps, the counts differ, or no time passed.
    """
    return _rate(samples, seconds) / _checked_count(parameters)


def inference_throughput(generated: Sequence[float], seconds: Sequence[float]) -> float:
    """Return IT: generated tokens a second; those of the prompt do not count.

    Args:
        generated: Tokens that each request generated.
        seconds: Time of each request, in the same order, its prompt included.

    Raises:
        MeasurementError: If there are no requests, the counts differ, or no time passed.

    Example:
        >>> inference_throughput([10, 30], [1.0, 3.0])
        10.0
    """
    return _rate(generated, seconds)


def compression(
    size_plain: float, size_here: float, quality_plain: float = 1.0, quality_here: float = 1.0, *, lower: bool = False
) -> float:
    """Return MCR: how many times smaller, times how much of the quality is left.

    EfficientLLM's tables use the nominal size (bits of a weight); bytes in memory and on disk give other
    numbers. Which one this is depends on the sizes given.

    Args:
        size_plain: Of the plain model; above 0.
        size_here: Of this one, in the same unit; above 0.
        quality_plain: Of the plain model; above 0. Leave both qualities out for the ratio of sizes alone.
        quality_here: Of this one, by the same measure; at least 0.
        lower: Whether lower quality numbers are better, as with perplexity: the ratio is turned over.

    Raises:
        MeasurementError: If one is outside its range.

    Example:
        >>> round(compression(4, 1, 0.5523, 0.5095), 3)
        3.69
    """
    for what, number in (("plain size", size_plain), ("size", size_here), ("plain quality", quality_plain)):
        _check_positive(f"The {what}", "", number)
    if lower:
        _check_positive("A quality of which lower is better", "", quality_here)
    elif not (math.isfinite(quality_here) and quality_here >= 0):
        raise MeasurementError("Quality is a finite number from 0 on.", given=quality_here)
    left = quality_plain / quality_here if lower else quality_here / quality_plain
    return size_plain / size_here * left


def cost_per_million_tokens(price: float, tokens_a_second: float) -> float:
    """Return what a million tokens cost, in the currency of the price.

    Args:
        price: Of an hour of the machine, see `rheostat.core.prices`; at least 0.
        tokens_a_second: Above 0.

    Raises:
        MeasurementError: If one is outside its range.

    Example:
        >>> cost_per_million_tokens(price=0.36, tokens_a_second=100.0)
        1.0
    """
    _check_positive("A throughput", "tokens a second", tokens_a_second)
    if not (math.isfinite(price) and price >= 0):
        raise MeasurementError("A price is a finite number from 0 on.", given=price)
    return price * 1e6 / (3600 * tokens_a_second)


def _rate(counts: Sequence[float], seconds: Sequence[float]) -> float:
    if not counts or len(counts) != len(seconds):
        raise MeasurementError(
            "A throughput needs at least one count, and a time for each.",
            given=f"{len(counts)} counts, {len(seconds)} times",
        )
    total = math.fsum(seconds)
    _check_positive("A throughput", "seconds", total)
    return math.fsum(counts) / total


def _position(count: int, rank: float) -> tuple[int, float]:
    place = rank / 100 * (count - 1)
    below = min(int(place), count - 1)
    return below, place - below


def _mix(low: float, high: float, share: float) -> float:
    # Exactly `low` where both are alike, which the weighted sum is not.
    return low + (high - low) * share


def _resampled(ordered: Sequence[float], rank: float, draws: int, generator: random.Random) -> Iterator[float]:
    """Yield the percentile of resamples without making them, at a cost that does not grow with the values.

    The k-th smallest of n uniform numbers is beta-distributed with k and n - k + 1, and the next one above it
    is the least of the n - k left, uniform between it and 1. A uniform number u picks the value at
    floor(n u): the two order statistics around the percentile are those of a true resample.
    """
    count = len(ordered)
    below, share = _position(count, rank)
    for _ in range(draws):
        first = generator.betavariate(below + 1, count - below)
        left = count - below - 1
        second = 1 - (1 - first) * generator.random() ** (1 / left) if left else first
        low, high = (ordered[min(int(count * uniform), count - 1)] for uniform in (first, second))
        yield _mix(low, high, share)


def _check_positive(what: str, unit: str, number: float) -> None:
    if not (math.isfinite(number) and number > 0):
        raise MeasurementError(f"{what} is above 0{f' {unit}' if unit else ''}.", given=number)


def _checked_count(count: int) -> int:
    if count < 1:
        raise MeasurementError("A ratio needs at least one to divide by.", given=count)
    return count
