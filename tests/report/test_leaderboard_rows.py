from __future__ import annotations

from rheostat.core.comparison import Verdict, compare
from rheostat.core.metrics import unavailable
from rheostat.report.leaderboard import leaderboard_html
from rheostat.report.leaderboard_rows import leaderboard_rows, missing_text, verdict_rows
from tests.report.measured import classifiers, everything, metric


def test_there_is_a_table_a_group_and_rows_are_as_long_as_heads() -> None:
    tables = leaderboard_rows(everything())

    assert [table.title for table in tables][:2] == ["MiniLM: classify", "Gemma: generate"]
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)


def test_terminal_and_page_say_the_same() -> None:
    table, page = leaderboard_rows(classifiers())[0], leaderboard_html(classifiers(), title="T")

    for row in table.rows[:5]:
        assert row[0] in page
        for cell in row[1:-1]:
            assert all(line in page for line in cell.splitlines())
    assert table.rows[0][:3] == ["int8, tokens 0.5", "4.00x\n3.92 to 4.08", "86.00\N{NO-BREAK SPACE}%\n84.28 to 87.72"]


def test_remarks_tell_ties_losses_and_failures() -> None:
    table = leaderboard_rows(classifiers())[0]
    remarks = {row[0]: row[-1] for row in table.rows}

    assert table.columns[:3] == ["configuration", ">speed-up", ">accuracy"]
    assert remarks["fp32, tokens 1"] == "plain model"
    assert remarks["fp32, tokens 0.9"] == "tied with plain"
    assert remarks["bf16, tokens 1"] == "slower than plain"
    assert remarks["int4, tokens 1"] == "out of memory: needs 3.1 GiB"
    assert remarks["linear model on TF-IDF"] == "simple model"


def test_verdicts_show_both_values_and_the_ratio() -> None:
    plain, fast = classifiers()[0], classifiers()[1]
    verdicts = compare(plain, fast)
    rows = {row[0]: row for row in verdict_rows(verdicts).rows}

    assert rows["latency, p50"][3].startswith("0.250\n(")
    assert rows["latency, p50"][4] == "better"
    assert "energy a token" not in rows
    assert any("energy a token" in text and "(no energy counter)" in text for text in missing_text(verdicts))


def test_a_metric_that_one_side_lacks_is_told_below() -> None:
    a, b = metric("latency_p50", 0.4), unavailable("latency_p50", "no clock")

    verdicts = [Verdict("latency_p50", a, b, None, None, None, "unknown")]
    assert verdict_rows(verdicts).rows == []
    assert missing_text(verdicts) == ["Not measured (no clock): latency, p50 of B."]


def test_a_ratio_has_its_interval() -> None:
    a, b = metric("latency_p50", 0.4), metric("latency_p50", 0.2)

    assert (
        verdict_rows([Verdict("latency_p50", a, b, 0.5, 0.48, 0.52, "better")]).rows[0][3] == "0.500\n(0.480 to 0.520)"
    )


def test_a_paired_ratio_says_so() -> None:
    a, b = metric("latency_p50", 0.4), metric("latency_p50", 0.2)
    row = verdict_rows([Verdict("latency_p50", a, b, 0.5, None, None, "better", paired=True)]).rows[0]

    assert row == [
        "latency, p50",
        "400\N{NO-BREAK SPACE}ms\n392 to 408",
        "200\N{NO-BREAK SPACE}ms\n196 to 204",
        "0.500, paired",
        "better",
    ]
