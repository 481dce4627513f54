from __future__ import annotations

from rheostat.core.metrics import METRICS, Metric, unavailable
from rheostat.report.cells import Column, empty_cell, head_cell, metric_cell
from rheostat.report.scales import scale_for

KIND = METRICS["latency_p95"]


def test_a_value_has_its_unit_spread_source_and_something_to_sort_by() -> None:
    metric = Metric(0.012, "s", 0.0118, 0.0122, "estimated", "<guess>")
    cell = metric_cell(metric, KIND, scale_for(KIND, [metric]))

    assert 'data-v="0.012"' in cell
    assert "12.0\N{NO-BREAK SPACE}ms<sup>e</sup><small>11.8 to 12.2</small>" in cell
    assert "estimated (&lt;guess&gt;)" in cell


def test_what_is_missing_says_why_and_sorts_last() -> None:
    missing = metric_cell(unavailable("latency_p95", "no <clock>"), KIND, scale_for(KIND, []))

    assert "unavailable" in missing
    assert "no &lt;clock&gt;" in missing
    assert "data-v" not in missing
    assert empty_cell('a "reason"', "knob") == '<td class="none knob" title="a &quot;reason&quot;">&ndash;</td>'


def test_a_head_sorts_as_its_column_says() -> None:
    column: Column[int] = Column("a <b>", str, first="descending", mark="more")

    assert head_cell(column, now="ascending") == (
        '<th scope="col" class="more" data-kind="number" data-first="descending" aria-sort="ascending">'
        '<button type="button">a &lt;b&gt;</button></th>'
    )
    assert 'class="text more"' in head_cell(column, text=True)
