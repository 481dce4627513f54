from __future__ import annotations

from rheostat.report.leaderboard_groups import grouped
from rheostat.report.leaderboard_summary import (
    cards_of,
    condition_facts,
    conditions_of,
    dates_of,
    remarks_of,
    warnings_of,
)
from tests.report.measured import BUSY, classifiers, generators, metric, row


def test_conditions_are_a_value_a_range_or_a_few_values() -> None:
    found = dict(
        conditions_of(
            [
                row({}, conditions={"rounds": 10, "load_before": 0.25, "backend": "torch", "flag": True}),
                row({}, conditions={"rounds": 10, "load_before": 1.5, "backend": "onnx", "threads": {"within": 2}}),
            ]
        )
    )

    assert found == {
        "rounds": "10",
        "load average before": "0.25 to 1.5",
        "backend": "torch, onnx",
        "flag": "True",
        "threads within an operation": "2",
    }


def test_conditions_have_units_and_leave_out_what_is_shown_elsewhere() -> None:
    conditions = {
        "clock_before": 2.45e9,
        "others": 0.071,
        "seconds": 61.234,
        "memory_limit": 2**31,
        "stolen": None,
        "warning": BUSY,
        "baselines": {"linear": {"accuracy": 0.9}},
        "started": "2026-11-20T09:00:00",
    }
    measured = row({}, conditions=conditions, notes=("A note.",))

    assert dict(condition_facts(measured)) == {
        "clock before": "2.45 GHz",
        "processors used by other programs": "7.1 %",
        "duration": "61.23 s",
        "limit of memory": "2.0 GiB",
    }
    assert warnings_of(measured) == ["A note.", BUSY]


def test_dates_span_from_the_first_start_to_the_last_end() -> None:
    first = row({}, conditions={"started": "2026-11-20T23:00:00", "finished": "2026-11-21T01:00:00"})

    assert dates_of([first]) == "2026-11-20 to 2026-11-21"
    assert dates_of([row({}, conditions={"started": "2026-11-20T23:00:00"})]) == "2026-11-20"
    assert dates_of([row({})]) == ""


def test_cards_name_the_fastest_that_is_nearly_as_good() -> None:
    cards = {label: (value, remark) for label, value, remark in cards_of(grouped(generators())[0])}

    assert cards["fastest within 5 %"] == ("1.50x", "int8: perplexity 20.5 (2 % higher)")
    assert cards["plain model, perplexity"] == ("20.0", "fp32")


def test_the_least_memory_is_a_result_only_where_it_differs() -> None:
    rows = classifiers()
    rows[2].metrics["memory_peak_host"] = metric("memory_peak_host", 5e8)

    assert ("least peak memory", "477\N{NO-BREAK SPACE}MiB", "int8, tokens 0.8") in cards_of(grouped(rows)[0])
    assert "least peak memory" not in [label for label, _, _ in cards_of(grouped(classifiers())[0])]


def test_without_a_plain_model_nothing_is_said_to_be_nearly_as_good() -> None:
    group = grouped(classifiers()[1:])[0]

    assert [label for label, _, _ in cards_of(group)] == ["fastest measured"]
    assert "The plain model was not measured here." in remarks_of(group)
