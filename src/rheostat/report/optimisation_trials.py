"""All trials of a search as a sortable table, every number with its source, and what was excluded and why."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from rheostat.core.trial import Trial
from rheostat.report.cells import MARK_WORDS, Column, empty_cell, head_cell, metric_cell, simple_row
from rheostat.report.leaderboard_details import facts_html, numbers_html
from rheostat.report.leaderboard_groups import BASELINE_NAMES, configuration_text, knob_text, status_text
from rheostat.report.leaderboard_summary import condition_facts, warnings_of
from rheostat.report.optimisation_sentences import limit_words, simple_values
from rheostat.report.optimisation_study import STANDINGS, Point, StudyData
from rheostat.report.scales import direction_text

__all__ = ["exclusions_html", "trials_html"]

_MAIN = 4
_CHIPS = {"recommended": "front", "front": "front", "baseline": "", "infeasible": "slow", "failed": "broken"}


def trials_html(study: StudyData) -> str:
    """Return the table of all trials, what its marks mean, and a foldable block a trial."""
    columns = _columns(study)
    heads = "".join(head_cell(column, text=not place) for place, column in enumerate(columns))
    rows = "".join(_row(study, trial, columns) for trial in study.trials)
    simple = "".join(
        simple_row(
            BASELINE_NAMES.get(name, name),
            simple_values(values),
            columns,
            lambda metric: (study.group.kind(metric), study.scale(metric)),
        )
        for name, values in study.result.cheap_baselines.items()
    )
    simple = f'<tbody class="simple">{simple}</tbody>' if simple else ""
    more = sum(column.mark == "more" for column in columns)
    tick = (
        f'<label class="pick"><input type="checkbox"> Show {more} more column{"s" * (more > 1)}</label>' if more else ""
    )
    return (
        f'<section class="group"><h2>All trials</h2>{tick}<div class="scroll" tabindex="0" role="region" '
        f'aria-label="All trials, table"><table class="board trials"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody>{simple}</table></div>{_legend(study)}{_details(study)}</section>"
    )


def exclusions_html(study: StudyData) -> str:
    """Return what is not in the space, what does not go together, and what failed, each with its reason."""
    parts = [f"<h2>What was excluded, and why</h2><p>{escape(_counts(study))}</p>"]
    left_out = [
        (one.name.replace("_", " "), "all of it" if one.value is None else knob_text(one.value), one.reason)
        for one in study.space.exclusions
    ]
    parts.append(_table("Left out of the space", ("choice", "value", "why"), left_out))
    conflicts = [(_conditions(one.parts), one.reason) for one in study.space.conflicts]
    parts.append(_table("Does not go together", ("what", "why"), conflicts))
    parts.append(_table("Failed", ("why", "trials"), _failures(study)))
    broken = [
        (limit_words(study, limit), str(count), _only(study, limit_number))
        for limit_number, limit in enumerate(study.goals.limits)
        if (count := sum(not study.verdicts(point.metrics)[limit_number].kept for point in study.measured))
    ]
    heads = ("limit", "configurations that break it", "that break no other")
    parts.append(_table("Measured, but beyond a limit", heads, broken))
    return "".join(parts)


def _counts(study: StudyData) -> str:
    ok = sum(trial.ok for trial in study.trials)
    kept = sum(point.feasible for point in study.measured)
    partial = f", {len(study.partial)} of them with a part of the training or of the data" if study.partial else ""
    return (
        f"The space holds {study.space.size:,} configurations; {len(study.trials)} trials were made{partial}; {ok} "
        f"worked; {len(study.measured)} configurations were measured in full, and {kept} of these keep every limit."
    )


def _failures(study: StudyData) -> list[tuple[str, str]]:
    found: dict[str, list[str]] = {}
    for trial in study.trials:
        if not trial.ok:
            name = f"#{trial.number} {configuration_text(trial.configuration)}"
            found.setdefault(status_text(trial.measurement), []).append(name)
    return [(reason, "; ".join(names)) for reason, names in found.items()]


def _only(study: StudyData, number: int) -> str:
    verdicts = [study.verdicts(point.metrics) for point in study.measured]
    return str(sum(not each[number].kept and sum(not one.kept for one in each) == 1 for each in verdicts))


def _conditions(parts: Sequence[tuple[str, Sequence[Any]]]) -> str:
    return " with ".join(f"{name.replace('_', ' ')} {' or '.join(map(knob_text, values))}" for name, values in parts)


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<h3>{escape(title)}</h3><div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">'
        f'<table class="reasons"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _columns(study: StudyData) -> list[Column[Trial]]:
    standings = {point.trial.number: point for point in study.points}
    columns = [
        Column[Trial]("trial", lambda trial: _name_cell(trial, standings.get(trial.number))),
        *(_knob_column(axis.name, study) for axis in study.space.axes if _differs(study, axis.name)),
        Column[Trial]("status", _status_cell, numeric=False, mark="status"),
        *(_metric_column(study, name) for name in study.metrics),
    ]
    if study.goals.limits:
        columns.append(Column[Trial]("beyond limits", lambda trial: _excess_cell(study, trial)))
    return [*columns, _plain_column("part", lambda trial: trial.fidelity), _seconds_column(), _strategy_column()]


def _differs(study: StudyData, name: str) -> bool:
    return len({trial.configuration.get(name) for trial in study.trials}) > 1


def _name_cell(trial: Trial, point: Point | None) -> str:
    chip, status, name = "", "", escape(configuration_text(trial.configuration))
    if point is not None and point.standing in _CHIPS and trial.ok:
        words = STANDINGS[point.standing].partition(":")[0]
        chip = f' <span class="chip {_CHIPS[point.standing]}">{words}</span>'
    if trial.fidelity < 1:
        chip = f' <span class="chip">{_part(trial.fidelity)} of it</span>'
    if not trial.ok:
        status = f'<span class="narrow"><span class="chip broken">{escape(_short_status(trial))}</span></span>'
    return (
        f'<th scope="row" id="trial-{trial.number}" data-v="{trial.number}"><a href="#details-{trial.number}">'
        f'#{trial.number}<span class="narrow">{name}</span></a>{chip}{status}</th>'
    )


def _knob_column(name: str, study: StudyData) -> Column[Trial]:
    values = study.space.axis(name).values
    numeric = all(isinstance(value, int | float) for value in values)

    def cell(trial: Trial) -> str:
        if name not in trial.configuration:
            return empty_cell("means nothing here", "knob")
        value = trial.configuration[name]
        raw = float(value) if numeric else knob_text(value)
        return (
            f'<td class="knob{"" if numeric else " text"}" data-v="{escape(str(raw))}">{escape(knob_text(value))}</td>'
        )

    return Column(name.replace("_", " "), cell, numeric=numeric, mark="knob")


def _status_cell(trial: Trial) -> str:
    if trial.ok:
        return '<td class="text status" data-v="ok">ok</td>'
    reason = trial.measurement.reason
    below = f'<span class="reason">{escape(reason)}</span>' if reason else ""
    status = escape(_short_status(trial))
    return f'<td class="text status" data-v="{status}"><span class="chip broken">{status}</span>{below}</td>'


def _short_status(trial: Trial) -> str:
    return trial.measurement.status.replace("-", " ")


def _metric_column(study: StudyData, name: str) -> Column[Trial]:
    kind, scale = study.group.kind(name), study.scale(name)
    main = {*study.objectives, *(limit.metric for limit in study.goals.limits)}
    mark = "" if name in main or len(study.metrics) <= _MAIN else "more"
    known = {point.trial.number: point.metrics for point in study.points}

    def cell(trial: Trial) -> str:
        metric = known.get(trial.number, trial.measurement.metrics).get(name)
        if metric is None:
            return empty_cell("not measured" if trial.ok else f"not measured: {_short_status(trial)}", mark)
        return metric_cell(metric, kind, scale, mark)

    below = f"<small>{direction_text(kind)}</small>" if direction_text(kind) else ""
    first = "descending" if kind.better == "higher" else "ascending"
    return Column(study.title_of(name), cell, below, first=first, metric=name, mark=mark)


def _excess_cell(study: StudyData, trial: Trial) -> str:
    if not trial.ok:
        return empty_cell("not measured")
    excess = study.goals.excess(trial.measurement.metrics, study.baseline_metrics)
    if excess == float("inf"):
        return empty_cell("a metric that a limit is set on is missing")
    words = "kept" if excess == 0 else f"{excess * 100:.3g}\N{NO-BREAK SPACE}%"
    return f'<td data-v="{excess!r}">{words}</td>'


def _plain_column(title: str, value: Any) -> Column[Trial]:
    return Column(title, lambda trial: f'<td data-v="{value(trial)!r}">{_part(value(trial))}</td>')


def _part(share: float) -> str:
    return "all" if share == 1 else f"{share * 100:.0f}\N{NO-BREAK SPACE}%"


def _seconds_column() -> Column[Trial]:
    return Column("took", lambda trial: f'<td data-v="{trial.seconds!r}">{trial.seconds:.1f}\N{NO-BREAK SPACE}s</td>')


def _strategy_column() -> Column[Trial]:
    return Column(
        "proposed by",
        lambda trial: f'<td class="text" data-v="{escape(trial.strategy)}">{escape(trial.strategy)}</td>',
        numeric=False,
    )


def _row(study: StudyData, trial: Trial, columns: Sequence[Column[Trial]]) -> str:
    plain = study.baseline is not None and study.baseline.trial.number == trial.number
    mark = ' class="plain"' if plain else ""
    return f"<tr{mark}>{''.join(column.cell(trial) for column in columns)}</tr>"


def _legend(study: StudyData) -> str:
    used = {metric.provenance for point in study.measured for metric in point.metrics.values()}
    marks = "".join(f"<sup>{each[0]}</sup> {words}. " for each, words in MARK_WORDS.items() if each in used)
    return (
        f'<p class="soft small">A click on a head sorts. Below a value: its 95 % interval. {marks}Part: how much of '
        "the training and of the data went in; only all of it is a verdict. Beyond limits: by how much of what is "
        "asked all limits together are broken. The name of a trial leads to every number with its source.</p>"
    )


def _details(study: StudyData) -> str:
    rows = "".join(_trial_details(study, trial) for trial in study.trials)
    return (
        f'<details class="all"><summary>Every number with its source ({len(study.trials)} trials)</summary>{rows}'
        "</details>"
    )


def _trial_details(study: StudyData, trial: Trial) -> str:
    measured = trial.measurement
    facts = [("status", status_text(measured)), *(("note", note) for note in warnings_of(measured))]
    facts += [(name.replace("_", " "), knob_text(value)) for name, value in trial.configuration.items()]
    facts += [("part of training and data", _part(trial.fidelity)), ("took", f"{trial.seconds:.1f} s")]
    facts += [("proposed by", trial.strategy)] if trial.strategy else []
    facts += condition_facts(measured)
    facts.append(("key of the record", measured.key))
    numbers = numbers_html(study.group, measured) if measured.metrics else ""
    return (
        f"<details><summary>#{trial.number} {escape(configuration_text(trial.configuration))}</summary>"
        f'<div id="details-{trial.number}">{numbers}{facts_html("How it was measured", facts)}</div></details>'
    )
