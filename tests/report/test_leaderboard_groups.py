from __future__ import annotations

import pytest

from rheostat.core.metrics import Metric
from rheostat.report.leaderboard_groups import (
    baselines_of,
    configuration_text,
    front_of,
    grouped,
    is_plain,
    knobs_of,
    metrics_of,
    plain_of,
    quality_of,
    speed_verdict,
    status_text,
)
from tests.report.measured import MACHINE, classifier, classifiers, everything, generators, row


def test_a_group_is_a_model_a_workload_and_a_machine() -> None:
    elsewhere = row({}, machine={**MACHINE, "cpu": "Other"})

    assert [len(group.rows) for group in grouped([*everything(), elsewhere])] == [8, 3, 1, 1]


def test_rows_come_fastest_first_and_failed_ones_last() -> None:
    group = grouped(classifiers())[0]

    assert [row.configuration["precision"] for row in group.rows[:5]] == ["int8", "int8", "fp32", "fp32", "bf16"]
    assert [row.status for row in group.rows[5:]] == ["out-of-memory", "timed-out", "failed"]


@pytest.mark.parametrize(
    ("verdict", "speedup"),
    [
        ("", (2.0, 1.9, 2.1)),
        ("slower than plain", (0.5, 0.4, 0.6)),
        ("tied with plain", (1.1, 0.9, 1.3)),
        ("tied with plain", (1.005, 1.002, 1.008)),
        ("tied with plain", (3.0, None, None)),
    ],
)
def test_the_interval_decides_on_faster_slower_or_tied(
    verdict: str, speedup: tuple[float, float | None, float | None]
) -> None:
    value, low, high = speedup

    assert speed_verdict(row({}, metrics={"speedup": Metric(value, "1", low, high)})) == verdict


def test_the_plain_model_is_the_one_that_all_are_measured_against() -> None:
    group = grouped(classifiers())[0]
    plain = plain_of(group)

    assert plain is not None
    assert plain.configuration == {"precision": "fp32", "tokens": 1.0}
    assert [is_plain(row) for row in group.rows].count(True) == 1
    assert speed_verdict(plain) == ""


def test_a_record_can_say_that_it_is_the_plain_model() -> None:
    noisy = {"speedup": Metric(1.003, "1", 0.99, 1.01)}
    same = {"speedup": Metric(1.0, "1", 1.0, 1.0)}

    assert is_plain(row({}, metrics=noisy, conditions={"plain": True}))
    assert not is_plain(row({}, metrics=same, conditions={"plain": False}))
    assert not is_plain(row({}, "failed", conditions={"plain": True}))
    assert not is_plain(row({}, metrics=noisy))


def test_the_front_is_what_nothing_beats_in_both() -> None:
    front = front_of(grouped(classifiers())[0])

    assert [configuration_text(row.configuration) for row in front] == [
        "fp32, tokens 1",
        "int8, tokens 0.8",
        "int8, tokens 0.5",
    ]


def test_a_lower_perplexity_is_better() -> None:
    group = grouped(generators())[0]

    assert quality_of(group) == "perplexity"
    assert [row.configuration["precision"] for row in front_of(group)] == ["fp32", "int8"]


def test_columns_are_what_some_row_has_and_the_rest_says_why() -> None:
    there, missing = metrics_of(grouped(classifiers())[0])

    assert there[:2] == ["speedup", "accuracy"]
    assert "energy_per_sample" in there
    assert missing == {"energy_per_token": "no energy counter"}
    assert knobs_of(grouped(classifiers())[0]) == ["precision", "tokens"]


def test_simple_models_come_from_the_conditions() -> None:
    found = baselines_of(grouped([classifier("fp32", 1.0, 1.0, 0.9)])[0])

    assert {name: metrics["accuracy"].value for name, metrics in found.items()} == {"majority": 0.5, "linear": 0.875}


def test_a_status_has_its_reason() -> None:
    assert status_text(row({}, "out-of-memory", reason="needs 3.1 GiB")) == "out of memory: needs 3.1 GiB"
    assert configuration_text({}) == "as it is"
    assert configuration_text({"layers_kept": [1, 2], "early": True}) == "layers kept [1, 2], early True"
