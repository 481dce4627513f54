"""What stands below a leaderboard's tables: every number with its source, and what each metric means."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rheostat.core.comparison import MARGIN
from rheostat.core.measurement import Measurement
from rheostat.core.metrics import Metric
from rheostat.report.leaderboard_groups import Group, configuration_text, metrics_of, speed_verdict, status_text
from rheostat.report.leaderboard_summary import condition_facts, warnings_of
from rheostat.report.leaderboard_table import row_anchor
from rheostat.report.scales import direction_text, provenance_text
from rheostat.report.wording import flat_facts

__all__ = ["definitions_html", "details_html", "facts_html", "numbers_html", "terms_html"]

_PROVENANCE_WORDS = (
    ("counter", "Read off a counter or a clock: the processor's, the operating system's, or an exact count."),
    ("sampled (s)", "Sampled while requests ran, and summed over time."),
    ("estimated (e)", "Computed from a model of the machine, not measured on it."),
    ("unavailable", "This machine or this workload cannot provide it; the reason stands beside it. Never 0."),
)


def details_html(group: Group, number: int) -> str:
    """Return one foldable block a row: every number, its interval, provenance and instrument, and the conditions.

    Args:
        group: What was measured.
        number: The group's place on the page, for anchors.
    """
    rows = "".join(_row_details(group, row, number) for row in group.rows)
    count = len(group.rows)
    return (
        f'<details class="all"><summary>Every number with its source ({count} '
        f"configuration{'' if count == 1 else 's'})</summary>{rows}</details>"
    )


def definitions_html(groups: Sequence[Group]) -> str:
    """Return the section that defines each metric shown and says where values come from."""
    return (
        f"{terms_html(groups)}"
        "<p>Intervals are 95 % intervals. A speed-up is paired: configuration and plain model take turns in one run. "
        "A configuration is <em>tied with plain</em> where the interval of its speed-up contains 1, or the speed-up is "
        f"within {MARGIN * 100:g} % of 1; it is on the "
        "<em>front</em> where no other one is at least as good in speed-up and quality and better in one.</p>"
    )


def terms_html(groups: Sequence[Group]) -> str:
    """Return what each metric shown means, with its instruments here, and what the words for sources mean."""
    kinds = {name: group.kind(name) for group in groups for name in _all_metrics(group)}
    terms = "".join(
        f"<dt>{escape(kind.title)}</dt><dd>{escape(' '.join(filter(None, (kind.meaning, _sentence(name, groups)))))}"
        f'{_direction(direction_text(kind))} <span class="soft">({escape(name)})</span></dd>'
        for name, kind in kinds.items()
    )
    sources = "".join(f"<dt>{name}</dt><dd>{words}</dd>" for name, words in _PROVENANCE_WORDS)
    return (
        f'<h2>What the metrics mean</h2><dl class="terms">{terms}</dl>'
        f'<h2>Where values come from</h2><dl class="terms">{sources}</dl>'
    )


def facts_html(heading: str, facts: Sequence[tuple[str, str]]) -> str:
    """Return known facts as a list under a small heading; empty where there are none."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return f'<h3>{escape(heading)}</h3><dl class="facts">{rows}</dl>' if rows else ""


def _all_metrics(group: Group) -> list[str]:
    there, missing = metrics_of(group)
    return [*there, *missing]


def _row_details(group: Group, row: Measurement, number: int) -> str:
    verdict = speed_verdict(row)
    marks = f' <span class="soft">{escape(verdict or row.status.replace("-", " "))}</span>'
    facts = [("status", status_text(row)), *(("note", note) for note in warnings_of(row))]
    facts += flat_facts(row.configuration)
    facts += condition_facts(row)
    facts.append(("key of the record", row.key))
    table = numbers_html(group, row) if row.metrics else ""
    return (
        f"<details><summary>{escape(configuration_text(row.configuration))}{marks}</summary>"
        f'<div id="{row_anchor(number, row)}">{table}{facts_html("How it was measured", facts)}</div></details>'
    )


def numbers_html(group: Group, row: Measurement) -> str:
    """Return a table of every number of a row with its interval and instrument."""
    rows = "".join(
        f'<tr><th scope="row">{escape(group.kind(name).title)}</th>{_number_cells(group, name, row.metrics[name])}</tr>'
        for name in _all_metrics(group)
        if name in row.metrics
    )
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("metric", "value", "95 % interval", "source"))
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="All numbers of this configuration">'
        f'<table class="numbers"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _number_cells(group: Group, name: str, metric: Metric) -> str:
    scale = group.scale(name)
    value, ends = scale.text(metric) or "unavailable", scale.ends(metric) or "none"
    return f"<td>{escape(value)}</td><td>{escape(ends)}</td><td>{escape(provenance_text(metric))}</td>"


def _direction(words: str) -> str:
    return f" {words.capitalize()}." if words else ""


def _sentence(name: str, groups: Sequence[Group]) -> str:
    """Say which instruments gave the values of a metric."""
    found = [row.metrics[name] for group in groups for row in group.rows if name in row.metrics]
    words = dict.fromkeys(f"{one.provenance} ({one.source})" if one.source else one.provenance for one in found)
    return f"Here: {'; '.join(words)}."
