"""The same numbers for a terminal: heads and rows of words, for whoever draws the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rheostat.core.comparison import Verdict
from rheostat.core.measurement import Measurement
from rheostat.report.leaderboard_groups import (
    BASELINE_NAMES,
    Group,
    baselines_of,
    configuration_text,
    grouped,
    is_plain,
    metrics_of,
    quality_of,
    speed_verdict,
    status_text,
)
from rheostat.report.scales import kind_of, scale_for

__all__ = ["Rows", "leaderboard_rows", "missing_text", "verdict_rows"]

_TIMES = (("ttft_p50", "tpot_p50"), ("latency_p50", "latency_p95"))
_REST = ("memory_peak_device", "memory_peak_host", "energy_per_token", "energy_per_sample")
"""What a terminal has room for beside speed-up and quality: the first times that are there, two of the rest."""


class Rows(NamedTuple):
    """A table in words.

    Attributes:
        title: Its heading.
        columns: Heads; one that starts with ``>`` stands at the right, for numbers.
        rows: The cells, as many in a row as there are heads; an interval stands on a second line.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]


def leaderboard_rows(measurements: Sequence[Measurement]) -> list[Rows]:
    """Return a table for each model, workload and machine: the main metrics, as the page writes them.

    Args:
        measurements: What was measured.
    """
    return [_group_rows(group) for group in grouped(measurements)]


def verdict_rows(verdicts: Sequence[Verdict]) -> Rows:
    """Return a table of what is better, worse or tied.

    Args:
        verdicts: One a metric, of B beside A, as `rheostat.core.comparison.compare` returns them.
    """
    rows = [_verdict_row(verdict) for verdict in verdicts if not _missing(verdict)]
    return Rows("", ["metric", ">A", ">B", ">B / A", "B is"], rows)


def missing_text(verdicts: Sequence[Verdict]) -> list[str]:
    """Return which metrics are in neither or only one of two measurements, and why: a sentence for each reason.

    Args:
        verdicts: As `verdict_rows` takes them; it leaves these out.
    """
    reasons: dict[str, list[str]] = {}
    for verdict in filter(_missing, verdicts):
        gone = [(name, metric) for name, metric in (("A", verdict.a), ("B", verdict.b)) if metric.value is None]
        of = "" if len(gone) == 2 else f" of {gone[0][0]}"
        title = kind_of(verdict.metric, verdict.a.unit).title
        reasons.setdefault(gone[0][1].source, []).append(f"{title}{of}")
    return [f"Not measured ({reason}): {', '.join(titles)}." for reason, titles in reasons.items()]


def _missing(verdict: Verdict) -> bool:
    return verdict.a.value is None or verdict.b.value is None


def _group_rows(group: Group) -> Rows:
    names = _main_metrics(group)
    columns = ["configuration", *(f">{group.kind(name).title}" for name in names), "remark"]
    rows = [
        [configuration_text(row.configuration), *(_cell(group, row, name) for name in names), _remark(row)]
        for row in group.rows
    ]
    for simple, values in baselines_of(group).items():
        cells = [group.scale(name).text(values[name]) if name in values else "-" for name in names]
        rows.append([BASELINE_NAMES.get(simple, simple), *cells, "simple model"])
    return Rows(group.title, columns, rows)


def _main_metrics(group: Group) -> list[str]:
    there, _ = metrics_of(group)
    times = next((pair for pair in _TIMES if pair[0] in there), ())
    rest = [name for name in _REST if name in there][:2]
    return [name for name in ("speedup", quality_of(group), *times, *rest) if name in there]


def _cell(group: Group, row: Measurement, name: str) -> str:
    metric = row.metrics.get(name)
    if metric is None:
        return "-"
    if metric.value is None:
        return "unavailable"
    scale = group.scale(name)
    if name not in ("speedup", quality_of(group)):
        return scale.text(metric)
    # The interval has a line of its own, as on the page: side by side they would be folded anywhere.
    return "\n".join(filter(None, (scale.text(metric), scale.ends(metric))))


def _remark(row: Measurement) -> str:
    if row.status != "ok":
        return status_text(row)
    return "plain model" if is_plain(row) else speed_verdict(row)


def _verdict_row(verdict: Verdict) -> list[str]:
    kind = kind_of(verdict.metric, verdict.a.unit)
    scale = scale_for(kind, (verdict.a, verdict.b))
    # Intervals have lines of their own: five columns side by side do not fit into 80 characters.
    values = ["\n".join(filter(None, (scale.text(one), scale.ends(one)))) for one in (verdict.a, verdict.b)]
    return [kind.title, *values, _ratio(verdict), verdict.verdict]


def _ratio(verdict: Verdict) -> str:
    if verdict.ratio is None:
        return "-"
    ends = "" if verdict.low is None or verdict.high is None else f"\n({verdict.low:.3f} to {verdict.high:.3f})"
    return f"{verdict.ratio:.3f}{', paired' if verdict.paired else ''}{ends}"
