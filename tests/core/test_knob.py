"""Knobs take what lies in their domain, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.errors import SettingError
from rheostat.core.knob import Knob

PRECISION = Knob("precision", "how weights are held", "fp32", choices=("fp32", "int8"))
FLOOR = Knob("floor", "least number of states", 5, low=1)
SHARE = Knob("share", "share of rows", 1.0, low=0.0, high=1.0)


@pytest.mark.parametrize("value", [None, "INT8", "", 8, True, ["int8"]])
def test_what_is_no_choice_is_refused_with_the_nearest(value: Any) -> None:
    assert PRECISION.check("int8") == "int8"
    with pytest.raises(SettingError, match="The knob 'precision' has one of its choices. .* Known: fp32, int8."):
        PRECISION.check(value)
    with pytest.raises(SettingError, match="Did you mean 'int8'?"):
        PRECISION.check("int88")


@given(st.integers(-(10**9), 10**9))
def test_a_whole_number_is_taken_exactly_where_it_lies_in_the_range(value: int) -> None:
    if value >= 1:
        assert FLOOR.check(value) == value
    else:
        with pytest.raises(SettingError, match="lies in its range"):
            FLOOR.check(value)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_is_taken_exactly_where_it_lies_in_the_range(value: float) -> None:
    if 0.0 <= value <= 1.0:
        assert SHARE.check(value) == value
    else:
        with pytest.raises(SettingError, match="lies in its range"):
            SHARE.check(value)


@pytest.mark.parametrize("value", [True, None, "5", 5.0, 1j, [5]])
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(SettingError, match="The knob 'floor' takes a whole number."):
        FLOOR.check(value)


def test_the_error_says_the_rule_the_value_and_the_way_out() -> None:
    with pytest.raises(SettingError) as error:
        FLOOR.check(0)
    assert str(error.value) == (
        "The knob 'floor' lies in its range. Given: 0. It takes whole numbers from 1; 5 is neutral."
    )


def test_a_domain_is_written_for_people() -> None:
    assert PRECISION.domain == "fp32 | int8"
    assert FLOOR.domain == "whole numbers from 1"
    assert SHARE.domain == "numbers from 0 to 1"


@pytest.mark.parametrize(
    ("neutral", "domain"), [("fp64", {"choices": ("fp32",)}), (0, {"low": 1}), (math.nan, {"low": 0.0})]
)
def test_a_neutral_value_outside_the_domain_is_refused(neutral: Any, domain: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        Knob("knob", "something", neutral, **domain)
