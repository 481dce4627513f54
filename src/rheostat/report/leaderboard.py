"""A leaderboard of measurements as one self-contained page: no network, no other files, no script to read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rheostat.core.errors import MeasurementError
from rheostat.core.files import write_atomically
from rheostat.core.machine import machine_text
from rheostat.core.measurement import Measurement
from rheostat.report.document import Charts, document, rerun_section
from rheostat.report.leaderboard_charts import metrics_chart, metrics_words, trade_off_chart, trade_off_words
from rheostat.report.leaderboard_details import definitions_html, details_html, facts_html
from rheostat.report.leaderboard_groups import Group, grouped
from rheostat.report.leaderboard_style import SCRIPT
from rheostat.report.leaderboard_style import STYLE as BOARD_STYLE
from rheostat.report.leaderboard_summary import cards_of, conditions_of, dates_of, remarks_of, warnings_of
from rheostat.report.leaderboard_table import table_html
from rheostat.report.page_style import STYLE
from rheostat.report.wording import flat_facts

__all__ = ["leaderboard_html", "write_leaderboard"]


def write_leaderboard(
    path: Path, measurements: Sequence[Measurement], *, title: str, rerun: Sequence[str] = ()
) -> None:
    """Write the leaderboard as one HTML file of about 5 MB (Plotly's script is inside), whole or not at all.

    Args:
        path: Where the page goes.
        measurements: What it shows, at least one; one table for each model, workload and machine.
        title: The heading.
        rerun: The commands that make these numbers again.

    Raises:
        MeasurementError: If there is no measurement.
        RheostatError: If plotly is not installed or the file cannot be written.
    """
    write_atomically(Path(path), leaderboard_html(measurements, title=title, rerun=rerun))


def leaderboard_html(measurements: Sequence[Measurement], *, title: str, rerun: Sequence[str] = ()) -> str:
    """Return the page as text; every word from outside is escaped.

    Args:
        measurements: What it shows, at least one.
        title: The heading.
        rerun: The commands that make these numbers again.

    Raises:
        MeasurementError: If there is no measurement.
        RheostatError: If plotly is not installed.
    """
    if not measurements:
        raise MeasurementError("A leaderboard shows at least one measurement.", given="none", mend="Measure something.")
    groups, charts = grouped(measurements), Charts()
    parts = [f"<h1>{escape(title)}</h1>", _head(measurements, groups), *_warnings(measurements)]
    parts += [_section(group, number, charts) for number, group in enumerate(groups, start=1)]
    parts += [definitions_html(groups), _machines(groups), rerun_section(rerun), f"<script>{SCRIPT}</script>"]
    return document(title, STYLE + BOARD_STYLE, "\n".join(filter(None, parts)))


def _head(measurements: Sequence[Measurement], groups: Sequence[Group]) -> str:
    machines = _unique(_machine_line(group.machine) for group in groups)
    facts = [("machine", machine) for machine in machines]
    facts += [("measured", dates)] if (dates := dates_of(measurements)) else []
    facts += [("workload", workload) for workload in _unique(_workload_line(group.workload) for group in groups)]
    facts.append(("results", _statuses(measurements)))
    conditions = "; ".join(f"{name} {text}" for name, text in conditions_of(measurements))
    facts += [("how", conditions)] if conditions else []
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return f'<dl class="facts">{rows}</dl><noscript><p class="note">{_NO_SCRIPT}</p></noscript>'


def _warnings(measurements: Sequence[Measurement]) -> list[str]:
    counts = Counter(note for one in measurements for note in warnings_of(one))
    whole = len(measurements)
    return [
        f'<p class="note">{escape(note)} <span class="soft">({count} of {whole} measurements)</span></p>'
        for note, count in counts.items()
    ]


def _section(group: Group, number: int, charts: Charts) -> str:
    parts = [f'<section class="group" id="group-{number}"><h2>{escape(group.title)}</h2>']
    parts.append(f'<p class="soft small">{escape(_workload_line(group.workload))} on {escape(_machine(group))}</p>')
    parts += [_cards(group), *(f'<p class="note">{escape(remark)}</p>' for remark in remarks_of(group))]
    trade_off, metrics = trade_off_chart(group), metrics_chart(group)
    if trade_off is not None:
        parts += ["<h3>Quality and speed</h3>", charts.add(trade_off, trade_off_words(group), _TRADE_OFF)]
    parts += ["<h3>All configurations</h3>", table_html(group, number), details_html(group, number)]
    if metrics is not None:
        parts += ["<h3>The main metrics side by side</h3>", charts.add(metrics, metrics_words(group), _SIDE_BY_SIDE)]
    return "\n".join([*parts, "</section>"])


def _cards(group: Group) -> str:
    cards = "".join(
        f"<div><dt>{escape(label)}</dt><dd><strong>{escape(value)}</strong>{escape(more)}</dd></div>"
        for label, value, more in cards_of(group)
    )
    return f'<dl class="cards">{cards}</dl>' if cards else ""


def _machines(groups: Sequence[Group]) -> str:
    parts = ["<h2>Machines, models and workloads in full</h2>"]
    for heading, tables in (
        ("Machine", [group.machine for group in groups]),
        ("Model", [group.model for group in groups]),
        ("Workload", [group.workload for group in groups]),
    ):
        unique = _unique(tuple(flat_facts(table)) for table in tables)
        parts += [facts_html(f"{heading} {n}" if len(unique) > 1 else heading, f) for n, f in enumerate(unique, 1)]
    return "".join(parts)


def _machine_line(machine: Mapping[str, Any]) -> str:
    parts = [machine_text(machine)]
    parts += [f"{name} {machine[name]}" for name in ("transformers", "python") if machine.get(name)]
    libraries = machine.get("libraries")
    if isinstance(libraries, Mapping):
        parts += [f"{name} {version}" for name, version in libraries.items() if version]
    return ", ".join(parts)


def _machine(group: Group) -> str:
    return machine_text(group.machine)


def _workload_line(workload: Mapping[str, Any]) -> str:
    facts = [f"{name} {text}" for name, text in flat_facts(workload) if name != "name" and "sha256" not in name]
    return ", ".join([str(workload.get("name", "unnamed workload")), *facts])


def _statuses(measurements: Sequence[Measurement]) -> str:
    counts = Counter(one.status.replace("-", " ") for one in measurements)
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _unique(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))


_NO_SCRIPT = "Charts and sorting need JavaScript; the tables hold the same numbers."
_TRADE_OFF = (
    "Each point is one configuration, bars are 95 % intervals, rings and the dotted line mark the front. "
    "Right of 1 is faster than the plain model. Point at one for its name; a click in the legend hides a series."
)
_SIDE_BY_SIDE = (
    "Each line is one configuration; on every axis the worst value stands at the left and the best at the right "
    "(\N{DOWNWARDS ARROW} lower is better, \N{UPWARDS ARROW} higher is better; wide ranges are logarithmic). "
    "Strong lines are on the front, the dashed one is the plain model."
)
