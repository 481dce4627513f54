from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.errors import SettingError
from rheostat.core.importance import between_share, importance, main_effect

numbers = st.floats(-100, 100, allow_nan=False).map(lambda value: round(value, 3))
samples = st.lists(st.lists(numbers, min_size=1, max_size=8), min_size=1, max_size=5)


@given(samples)
def test_a_share_lies_between_nothing_and_everything(groups: list[list[float]]) -> None:
    assert 0.0 <= between_share(groups) <= 1.0


@given(samples, st.floats(0.1, 10), st.floats(-50, 50))
def test_unit_and_zero_point_do_not_matter(groups: list[list[float]], factor: float, shift: float) -> None:
    moved = [[factor * value + shift for value in group] for group in groups]

    assert between_share(moved) == pytest.approx(between_share(groups), abs=1e-6)


@given(samples, st.randoms())
def test_the_order_of_groups_and_trials_does_not_matter(groups: list[list[float]], source: random.Random) -> None:
    mixed = [source.sample(group, len(group)) for group in source.sample(groups, len(groups))]

    assert between_share(mixed) == pytest.approx(between_share(groups), abs=1e-9)
    assert main_effect(mixed, shuffles=9) == main_effect(groups, shuffles=9)


@given(samples)
def test_taking_two_groups_together_never_explains_more(groups: list[list[float]]) -> None:
    merged = [[value for group in groups[:2] for value in group], *groups[2:]]

    assert between_share(merged) <= between_share(groups) + 1e-9


@given(st.lists(st.tuples(numbers, st.integers(1, 5)), min_size=2, max_size=5, unique_by=lambda pair: pair[0]))
def test_where_nothing_varies_within_a_group_it_explains_everything(groups: list[tuple[float, int]]) -> None:
    assert between_share([[value] * count for value, count in groups]) == pytest.approx(1.0)


@given(st.lists(numbers, min_size=1, max_size=6), st.integers(2, 4))
def test_equal_groups_explain_nothing(group: list[float], count: int) -> None:
    assert between_share([group] * count) == pytest.approx(0.0, abs=1e-9)


@given(samples)
def test_the_correction_only_takes_away(groups: list[list[float]]) -> None:
    effect = main_effect(groups, shuffles=5)

    if effect is not None:
        assert 0.0 <= effect.share <= effect.raw + 1e-12
        assert 0.0 < effect.chance <= 1.0
        assert effect.trials == sum(map(len, groups))
        assert effect.smallest * effect.groups <= effect.trials


def test_pure_noise_explains_nothing_on_average_and_is_rarely_sure() -> None:
    source = random.Random(5)
    effects = [
        main_effect([[source.gauss(0, 1) for _ in range(4)] for _ in range(4)], seed=number) for number in range(60)
    ]
    found = [effect for effect in effects if effect is not None]

    # Uncorrected, four groups of four explain (4 - 1) / (16 - 1) of nothing.
    assert sum(effect.raw for effect in found) / 60 == pytest.approx(0.2, abs=0.05)
    assert sum(effect.share for effect in found) / 60 < 0.12
    assert sum(effect.sure for effect in found) <= 8


def test_what_was_planted_is_found_and_its_share_is_right() -> None:
    source = random.Random(1)
    configurations = [{"strong": source.choice((0, 1)), "weak": source.choice("abc")} for _ in range(400)]
    values = [3.0 * one["strong"] + source.gauss(0, 1) for one in configurations]

    found = importance(configurations, values, ["strong", "weak"])

    # The variance of 3 times a coin is 9 / 4, that of the noise 1.
    assert found["strong"] is not None
    assert found["weak"] is not None
    assert found["strong"].share == pytest.approx(2.25 / 3.25, abs=0.05)
    assert found["strong"].sure
    assert found["weak"].share < 0.03


def test_trials_without_the_axis_do_not_count() -> None:
    configurations = [{"tokens": 1.0}, {"tokens": 0.5, "scorer": "norm"}, {"tokens": 0.5, "scorer": "attention"}]

    found = importance([*configurations * 2, {}], [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 9.0], ["tokens", "scorer", "depth"])

    assert found["tokens"] is not None
    assert found["scorer"] is not None
    assert (found["tokens"].trials, found["scorer"].trials, found["depth"]) == (6, 4, None)
    assert found["scorer"].share == 1.0
    assert not found["scorer"].sure


@pytest.mark.parametrize("groups", [[], [[1.0, 2.0]], [[1.0], [2.0]], [[], [1.0, 2.0, 3.0]]])
def test_nothing_is_told_from_too_little(groups: list[list[float]]) -> None:
    assert main_effect(groups) is None


def test_the_same_seed_says_the_same() -> None:
    groups = [[1.0, 2.0, 4.0], [2.0, 3.0, 5.0]]

    assert main_effect(groups, seed=3) == main_effect(groups, seed=3)


def test_at_least_one_shuffle() -> None:
    with pytest.raises(SettingError, match="at least one shuffle"):
        main_effect([[1.0], [2.0, 3.0]], shuffles=0)
