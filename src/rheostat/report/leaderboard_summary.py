"""A leaderboard's head: the results that matter, when and how it was measured, and what a reader must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rheostat.core.measurement import Measurement
from rheostat.report.leaderboard_groups import (
    BASELINE_NAMES,
    Group,
    baselines_of,
    configuration_text,
    is_plain,
    plain_of,
    quality_of,
    speed_verdict,
    value_of,
)
from rheostat.report.wording import allowance_text, loss_text, nearly_as_good

__all__ = ["cards_of", "condition_facts", "conditions_of", "dates_of", "remarks_of", "warnings_of"]

_TIMES = ("started", "finished")
_ELSEWHERE = (*_TIMES, "plain")
_MOST_VALUES = 4
_LABELS = {
    "others": "processors used by other programs",
    "stolen": "processors used by other virtual machines",
    "warmup": "warm-up requests",
    "warmup requests": "warm-up requests",
    "passes": "passes over the requests in a round",
    "lost ticks": "samples lost",
    "load before": "load average before",
    "load after": "load average after",
    "seconds": "duration",
    "round seconds": "duration of a turn, at least",
    "time limit": "limit of time",
    "memory limit": "limit of memory",
    "threads: within": "threads within an operation",
    "threads: between": "threads between operations",
}


def cards_of(group: Group) -> list[tuple[str, str, str]]:
    """Return the results that matter as (label, value, remark)."""
    plain, quality = plain_of(group), quality_of(group)
    cards = []
    best = _fastest([row for row in _faster(group) if plain is not None and _good(group, row, plain)])
    if best is not None and plain is not None:
        cards.append((f"fastest within {allowance_text(quality)}", _speed(group, best), _remark(group, best, plain)))
    fastest = _fastest(_faster(group))
    if fastest is not None:
        cards.append(("fastest measured", _speed(group, fastest), _remark(group, fastest, plain)))
    cards += _least_memory(group)
    if plain is not None and value_of(plain, quality) is not None:
        text = group.scale(quality).text(plain.metrics[quality])
        cards.append((f"plain model, {group.kind(quality).title}", text, configuration_text(plain.configuration)))
    return cards


def remarks_of(group: Group) -> list[str]:
    """Return what a reader must know of a group: failures, losses against plain, simple models that do as well."""
    slower = [row for row in group.rows if speed_verdict(row) == "slower than plain"]
    remarks = []
    if slower:
        names = "; ".join(configuration_text(row.configuration) for row in slower[:_MOST_VALUES])
        more = f" and {len(slower) - _MOST_VALUES} more" if len(slower) > _MOST_VALUES else ""
        remarks.append(f"Slower than the plain model on this machine: {names}{more}.")
    if not any(is_plain(row) for row in group.rows):
        remarks.append("The plain model was not measured here.")
    return [*remarks, *_simple_models(group)]


def conditions_of(measurements: Sequence[Measurement]) -> list[tuple[str, str]]:
    """Return how all of it was measured: a value where all agree, a range of numbers, or a few values."""
    found: dict[str, list[Any]] = {}
    for one in measurements:
        for name, value in _flat(one.conditions):
            found.setdefault(name, []).append(value)
    return [(name, text) for name, values in found.items() if (text := _summed_up(name, values))]


def condition_facts(measurement: Measurement) -> list[tuple[str, str]]:
    """Return how one measurement was made, as pairs of name and text."""
    return [(name, text) for name, value in _flat(measurement.conditions) if (text := _summed_up(name, [value]))]


def warnings_of(measurement: Measurement) -> list[str]:
    """Return what its reader must know, each once: its notes, and the warning among its conditions."""
    own = [str(value) for name, value in _flat(measurement.conditions, warnings=True)]
    return list(dict.fromkeys([*measurement.notes, *own]))


def dates_of(measurements: Sequence[Measurement]) -> str:
    """Return the first and the last day of measuring, from ``started`` and ``finished`` of the conditions."""
    times = [str(one.conditions[name])[:10] for one in measurements for name in _TIMES if name in one.conditions]
    if not times:
        return ""
    return min(times) if min(times) == max(times) else f"{min(times)} to {max(times)}"


def _faster(group: Group) -> list[Measurement]:
    return [row for row in group.rows if not is_plain(row) and not speed_verdict(row) and _has_speed(row)]


def _has_speed(row: Measurement) -> bool:
    return value_of(row, "speedup") is not None


def _fastest(rows: Sequence[Measurement]) -> Measurement | None:
    return max(rows, key=lambda row: value_of(row, "speedup") or 0.0, default=None)


def _good(group: Group, row: Measurement, plain: Measurement) -> bool:
    quality = quality_of(group)
    value, reference = value_of(row, quality), value_of(plain, quality)
    return value is not None and reference is not None and nearly_as_good(quality, value, reference)


def _speed(group: Group, row: Measurement) -> str:
    return group.scale("speedup").text(row.metrics["speedup"])


def _remark(group: Group, row: Measurement, plain: Measurement | None) -> str:
    quality, name = quality_of(group), configuration_text(row.configuration)
    value = value_of(row, quality)
    if value is None:
        return name
    text = f"{name}: {group.kind(quality).title} {group.scale(quality).text(row.metrics[quality])}"
    reference = None if plain is None else value_of(plain, quality)
    return text if reference is None else f"{text} ({loss_text(quality, value, reference)})"


def _least_memory(group: Group) -> list[tuple[str, str, str]]:
    name = next((n for n in ("memory_peak_device", "memory_peak_host") if any(value_of(r, n) for r in group.rows)), "")
    rows = [row for row in group.rows if value_of(row, name) is not None]
    if len({value_of(row, name) for row in rows}) < 2:
        return []
    least = min(rows, key=lambda row: value_of(row, name) or 0.0)
    text = group.scale(name).text(least.metrics[name])
    return [(f"least {group.kind(name).title}", text, configuration_text(least.configuration))]


def _simple_models(group: Group) -> list[str]:
    plain, quality = plain_of(group), quality_of(group)
    reference = None if plain is None else value_of(plain, quality)
    if plain is None or reference is None:
        return []
    scale = group.scale(quality)
    as_good = [
        f"{BASELINE_NAMES.get(name, name)} reaches {scale.text(values[quality])}"
        for name, values in baselines_of(group).items()
        if quality in values and (values[quality].value or 0.0) >= reference
    ]
    if not as_good:
        return []
    own = scale.text(plain.metrics[quality])
    return [f"A simple model does as well here: {' and '.join(as_good)}, the plain model {own}."]


def _flat(facts: Mapping[str, Any], before: str = "", *, warnings: bool = False) -> list[tuple[str, Any]]:
    """Known plain values with their names; either the warnings or all the others."""
    rows: list[tuple[str, Any]] = []
    for name, value in facts.items():
        label = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, Mapping) and name != "baselines":
            rows += _flat(value, f"{label}: ", warnings=warnings)
        elif isinstance(value, str | int | float) and name not in _ELSEWHERE and (name == "warning") == warnings:
            rows.append((_LABELS.get(label, label), value))
    return rows


def _summed_up(name: str, values: Sequence[Any]) -> str:
    unique = list(dict.fromkeys(values))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in unique):
        low, high = _number(name, min(unique)), _number(name, max(unique))
        return low if low == high else f"{low} to {high}"
    texts = [str(value) for value in unique]
    return ", ".join(texts) if len(texts) <= _MOST_VALUES else f"{len(texts)} different values"


def _number(name: str, value: float) -> str:
    if name.startswith("clock") and value > 1e6:
        return f"{value / 1e9:.2f} GHz"
    if name.startswith("processors used") or name == "samples lost":
        return f"{value * 100:.1f} %"
    if name.startswith("duration") or name == "limit of time":
        return f"{value:.4g} s"
    if name.endswith("bytes") or name == "limit of memory":
        return f"{value / 2**30:.1f} GiB"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
