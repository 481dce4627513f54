"""The efficiency metrics as formulas: pure arithmetic on what was measured.

The names are those of EfficientLLM (https://arxiv.org/abs/2505.13840). Where its definition and its tables
disagree, or a definition leaves room, the docstring of the formula says what is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rheostat.core.errors import MeasurementError
from rheostat.core.percentiles import PERCENTILES, Estimate, latency_percentiles, percentile, percentile_estimate
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


def _check_positive(what: str, unit: str, number: float) -> None:
    if not (math.isfinite(number) and number > 0):
        raise MeasurementError(f"{what} is above 0{f' {unit}' if unit else ''}.", given=number)


def _checked_count(count: int) -> int:
    if count < 1:
        raise MeasurementError("A ratio needs at least one to divide by.", given=count)
    return count
