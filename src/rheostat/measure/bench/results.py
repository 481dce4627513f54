"""From raw findings to metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Final

from rheostat.core.efficiency import PERCENTILES, Energy, compression, compute_utilisation, percentile
from rheostat.core.metrics import Metric, metric_kind, unavailable
from rheostat.core.prices import PriceTable
from rheostat.core.statistics import half_width, paired_ratio
from rheostat.core.traces import Trace
from rheostat.measure.bench.session import Found, joined
from rheostat.measure.intervals import bootstrap_interval

__all__ = ["Surroundings", "metrics_of"]

_CLOCK: Final = "perf_counter"
_DRAWS: Final = 400

Turn = Sequence[Sequence[Mapping[str, float]]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a party's findings are held against.

    Attributes:
        plain: Findings on the plain model; None where it cannot run, with the reason in ``plain_reason``.
        plain_reason: Why.
        peak_flops: The machine's measured peak, floating-point operations a second.
        cores: Processor cores of the machine.
        disk: Bytes of the weights on disk; None where unknown.
        plain_disk: The same of the plain model.
        idle_watts: Power of the idle machine; None where it cannot be read.
        energy_reason: Why there is no energy; empty where there is.
        energy_estimated: Whether energy is an estimate.
        prices: Prices of an hour.
        device: Names of the device, from the narrowest, for the price table.
        quality: Quality metrics of the party, and the plain model's, by name.
    """

    plain: Found | None
    plain_reason: str
    peak_flops: float
    cores: int
    disk: int | None = None
    plain_disk: int | None = None
    idle_watts: float | None = None
    energy_reason: str = ""
    energy_estimated: bool = False
    prices: PriceTable = field(default_factory=PriceTable)
    device: tuple[str, ...] = ("cpu",)
    quality: tuple[Mapping[str, Metric], Mapping[str, Metric]] = ({}, {})


def metrics_of(sittings: Sequence[Found], around: Surroundings) -> dict[str, Metric]:
    """Return every metric that the findings give, those that this machine cannot provide as unavailable.

    A value is that of all sittings together. Its interval is at least Student's of the mean of the sittings' values:
    what changes from process to process and from minute to minute does not show within one of them.
    """
    together = _metrics(joined(sittings), around)
    if len(sittings) == 1:
        return together
    each = [_metrics(one, around) for one in sittings]
    return {name: _widened(metric, [one[name] for one in each]) for name, metric in together.items()}


def _widened(metric: Metric, each: Sequence[Metric]) -> Metric:
    values = [one.value for one in each if one.value is not None]
    if metric.value is None or len(values) < len(each) or len(set(values)) == 1:
        return metric
    half = half_width(values)
    low, high = metric.value - half, metric.value + half
    if min(values) >= 0.0:
        low = max(low, 0.0)
    return replace(
        metric,
        low=low if metric.low is None else min(low, metric.low),
        high=high if metric.high is None else max(high, metric.high),
    )


def _metrics(found: Found, around: Surroundings) -> dict[str, Metric]:
    metrics = {
        **_times(found),
        **_throughputs(found),
        **_memory(found),
        **_work(found, around),
        **_energy(found, around),
        **_compression(found, around),
        **around.quality[0],
    }
    if found.ratios:
        ratio = paired_ratio(found.ratios)
        source = f"{len(found.ratios)} rounds in turn"
        metrics["speedup"] = Metric(1 / ratio.value, "1", 1 / ratio.high, 1 / ratio.low, source=source)
    else:
        metrics["speedup"] = unavailable("speedup", f"the plain model did not run: {around.plain_reason}")
    return metrics


def _times(found: Found) -> dict[str, Metric]:
    metrics = {}
    for rank in PERCENTILES:
        metrics[f"latency_p{rank}"] = _timed(f"latency_p{rank}", found.turns, "latency", rank)
    for phase in ("ttft", "tpot"):
        if any(phase in one for turn in found.turns for requests in turn for one in requests):
            metrics[f"{phase}_p50"] = _timed(f"{phase}_p50", found.turns, phase, 50)
    metrics["load_time"] = Metric(found.loaded["load_time"], "s", source=_CLOCK)
    metrics["first_call"] = Metric(found.warmed["first_call"], "s", source=_CLOCK)
    return metrics


def _timed(name: str, turns: Sequence[Turn], phase: str, rank: int) -> Metric:
    """Return a percentile over all requests; its interval resamples whole rounds: neighbours resemble each other."""
    rounds = [[one[phase] for requests in turn for one in requests] for turn in turns]

    def statistic(chosen: Sequence[Sequence[float]]) -> float:
        return percentile([seconds for turn in chosen for seconds in turn], rank)

    return _resampled(name, rounds, statistic)


def _throughputs(found: Found) -> dict[str, Metric]:
    rows, tokens = (sum(found.described[what]) for what in ("rows", "tokens"))
    rounds = [[sum(one["latency"] for one in requests) for requests in turn] for turn in found.turns]

    def rate(work: int) -> Callable[[Sequence[Sequence[float]]], float]:
        return lambda chosen: work * sum(map(len, chosen)) / sum(map(sum, chosen))

    return {
        "throughput_samples": _resampled("throughput_samples", rounds, rate(rows)),
        "throughput_tokens": _resampled("throughput_tokens", rounds, rate(tokens)),
    }


def _resampled(name: str, rounds: Sequence[Any], statistic: Callable[[Sequence[Any]], float]) -> Metric:
    value = statistic(rounds)
    low, high = bootstrap_interval(rounds, statistic, draws=_DRAWS)
    return Metric(value, metric_kind(name).unit, min(low, value), max(high, value), source=_CLOCK)


def _memory(found: Found) -> dict[str, Metric]:
    peak, running = found.peaks
    resident = found.loaded["resident_after"]
    metrics = {
        "memory_mean_host": _mean(found.memory, "resident memory"),
        **_device_memory(found.device_memory),
        "memory_weights": Metric(found.described["weights"], "B", source="sizes of the tensors"),
    }
    metrics["memory_peak_host"] = _counted("memory_peak_host", peak, "VmHWM", "no mark kept here")
    metrics["memory_peak_running"] = _counted("memory_peak_running", running, "VmHWM", "the mark cannot be reset here")
    extra = None if running is None or resident is None else max(running - resident, 0.0)
    metrics["memory_activations"] = _counted("memory_activations", extra, "VmHWM", "the mark cannot be reset here")
    if found.described["cache"] is not None:
        metrics["memory_cache"] = Metric(found.described["cache"], "B", source="sizes of the tensors")
    return metrics


def _mean(traces: Sequence[Trace], what: str) -> Metric:
    """Return the mean over all turns, weighted by time; its ends are the least and the greatest mean of a turn."""
    means = [trace.mean() for trace in traces]
    average = sum(trace.integral() for trace in traces) / sum(trace.duration for trace in traces)
    return Metric(average, "B", min(average, *means), max(average, *means), "sampled", f"{what}; ends: rounds")


def _device_memory(traces: Sequence[Trace]) -> dict[str, Metric]:
    names = ("memory_peak_device", "memory_mean_device")
    if not traces:
        return {name: unavailable(name, "it runs on the processor") for name in names}
    peak = Metric(max(trace.peak() for trace in traces), "B", provenance="sampled", source="NVML")
    return {names[0]: peak, names[1]: _mean(traces, "NVML")}


def _work(found: Found, around: Surroundings) -> dict[str, Metric]:
    macs = found.described["macs"]
    rates = []
    for turn in found.turns:
        seconds = median(sum(one["latency"] for one in requests) for requests in turn)
        rates.append(compute_utilisation(sum(macs), seconds, around.peak_flops))
    busy = found.busy_seconds / (sum(found.turn_seconds) * around.cores)
    return {
        "macs": Metric(sum(macs) / len(macs), "1", source="counted from the states that entered each block"),
        "compute_utilisation": Metric(
            median(rates), "1", min(rates), max(rates), source="counted MACs over the measured peak; ends: rounds"
        ),
        "processor_utilisation": Metric(busy, "1", source="processor time of the process"),
    }


def _energy(found: Found, around: Surroundings) -> dict[str, Metric]:
    names = ("power_mean", "energy_per_sample", "energy_per_token", "energy_per_sample_net", "energy_per_token_net")
    metrics: dict[str, Metric] = {}
    if found.energy is None:
        metrics = {name: unavailable(name, around.energy_reason) for name in names}
    else:
        used = Energy(found.energy.joules, found.energy.seconds, around.idle_watts)
        # The untimed request at the start of each turn uses energy, too.
        rows, tokens = (
            _done(found, what) + extra for what, extra in zip(("rows", "tokens"), found.touched, strict=True)
        )
        values = (used.mean_watts, used.per(rows), used.per(tokens), used.net_per(rows), used.net_per(tokens))
        for name, value in zip(names, values, strict=True):
            metrics[name] = (
                unavailable(name, "idle power is unknown")
                if value is None
                else Metric(
                    value, metric_kind(name).unit, provenance="estimated" if around.energy_estimated else "counter"
                )
            )
    price = around.prices.hour(*around.device)
    rate = _throughputs(found)["throughput_tokens"].value
    if price is None or not rate:
        metrics["cost_per_million_tokens"] = unavailable("cost_per_million_tokens", "no price was given")
    else:
        metrics["cost_per_million_tokens"] = Metric(
            price * 1e6 / (3600 * rate), around.prices.currency, source=f"{price:g} an hour"
        )
    return metrics


def _done(found: Found, what: str) -> int:
    return int(sum(found.described[what]) * sum(len(turn) for turn in found.turns))


def _compression(found: Found, around: Surroundings) -> dict[str, Metric]:
    plain = around.plain
    if plain is None:
        names = ("compression_nominal", "compression_memory", "compression_disk")
        return {name: unavailable(name, f"the plain model did not run: {around.plain_reason}") for name in names}
    sizes: dict[str, tuple[float | None, float | None]] = {
        "nominal": (plain.described["bits"], found.described["bits"]),
        "memory": (_growth(plain), _growth(found)),
        "disk": (around.plain_disk, around.disk),
    }
    metrics = {}
    for name, (before, after) in sizes.items():
        kind = f"compression_{name}"
        if not before or not after:
            metrics[kind] = unavailable(kind, "a size is unknown")
            continue
        source = "bits of a weight" if name == "nominal" else "resident memory" if name == "memory" else "files"
        metrics[kind] = Metric(compression(before, after), "1", source=source)
        quality = _quality_pair(around)
        if quality is not None:
            mine, theirs, lower = quality
            times = compression(before, after, theirs, mine, lower=lower)
            metrics[f"{kind}_quality"] = Metric(times, "1", source=source)
    return metrics


def _growth(found: Found) -> float | None:
    before, after = found.loaded["resident_before"], found.loaded["resident_after"]
    return None if before is None or after is None or after <= before else float(after - before)


def _quality_pair(around: Surroundings) -> tuple[float, float, bool] | None:
    """Return quality here, the plain model's, and whether lower is better, by the first measure that both have."""
    mine, theirs = around.quality
    for name in ("accuracy", "perplexity"):
        here, there = mine.get(name), theirs.get(name)
        if here is not None and there is not None and here.value is not None and there.value:
            return here.value, there.value, name == "perplexity"
    return None


def _counted(name: str, value: float | None, source: str, reason: str) -> Metric:
    return unavailable(name, reason) if value is None else Metric(value, metric_kind(name).unit, source=source)
