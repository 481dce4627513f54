"""Exit rules: decisions, and thresholds for a wanted mean depth."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.errors import SettingError
from rheostat.core.exits import NEVER, ExitRule, calibrated_rule

DEPTHS, BLOCKS = [2, 3, 5], 6
rows = st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=40)
level = st.floats(-1, 1.5)


@given(rows, level, level)
def test_a_lower_threshold_never_makes_the_mean_depth_greater(
    scores: list[list[float]], one: float, other: float
) -> None:
    low, high = (
        ExitRule(dict.fromkeys(DEPTHS, value)).mean_depth(scores, blocks=BLOCKS) for value in sorted((one, other))
    )
    assert 2 <= low <= high <= BLOCKS


@given(rows)
def test_above_one_nothing_leaves_and_at_minus_one_everything_does_at_once(scores: list[list[float]]) -> None:
    for value, depth in ((NEVER, BLOCKS), (1.0000001, BLOCKS), (-1.0, 2)):
        assert ExitRule(dict.fromkeys(DEPTHS, value)).mean_depth(scores, blocks=BLOCKS) == depth


@given(rows, st.floats(2, 6))
def test_calibrated_thresholds_never_stay_below_the_target(scores: list[list[float]], target: float) -> None:
    rule = calibrated_rule(scores, DEPTHS, blocks=BLOCKS, target=target, criterion="confidence")
    assert rule.mean_depth(scores, blocks=BLOCKS) >= target


@given(st.integers(30, 60), st.floats(2, 6), st.integers(0, 1000))
def test_without_ties_the_target_is_met_within_few_rows(count: int, target: float, seed: int) -> None:
    drawn = random.Random(seed)
    scores = [[drawn.random() for _ in DEPTHS] for _ in range(count)]
    rule = calibrated_rule(scores, DEPTHS, blocks=BLOCKS, target=target, criterion="similarity")
    assert target <= rule.mean_depth(scores, blocks=BLOCKS) <= target + 2 * len(DEPTHS) * (BLOCKS - 2) / count


def test_the_ends_of_the_range_of_targets() -> None:
    scores = [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]]
    for target in (2, 6):
        rule = calibrated_rule(scores, DEPTHS, blocks=BLOCKS, target=target, criterion="confidence")
        assert rule.mean_depth(scores, blocks=BLOCKS) == target
    for target in (1.9, 6.1, float("nan")):
        with pytest.raises(SettingError, match="between the lowest depth and the number of blocks"):
            calibrated_rule(scores, DEPTHS, blocks=BLOCKS, target=target, criterion="confidence")
    with pytest.raises(SettingError, match="0 rows"):
        calibrated_rule([], DEPTHS, blocks=BLOCKS, target=4, criterion="confidence")


def test_depths_are_put_in_order_and_json_round_trips() -> None:
    rule = ExitRule({4: 0.5, 2: 1}, "similarity")
    assert rule.depths == (2, 4)
    assert ExitRule.from_json(rule.to_json()) == rule
    assert rule.lets_go(4, 0.5)
    assert not rule.lets_go(4, 0.49)


@pytest.mark.parametrize(
    ("thresholds", "criterion"),
    [
        ({}, "confidence"),
        ({0: 0.5}, "confidence"),
        ({True: 0.5}, "confidence"),
        ({2: float("nan")}, "confidence"),
        ({2: "0.5"}, "confidence"),
        ({2: 0.5}, "entropy"),
    ],
)
def test_unfit_rules_are_refused(thresholds: Any, criterion: Any) -> None:
    with pytest.raises(SettingError):
        ExitRule(thresholds, criterion)
