"""Dials take what lies in their range, and nothing else."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.dial import Dial, checked_settings
from rheostat.core.errors import SettingError

RATE = Dial("tokens", "keep rate", 0.0, 1.0, neutral=1.0, moves="request", open_low=True)
DEPTH = Dial("depth", "number of blocks", 2, 12, neutral=12, moves="load")
NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**30), 10**30)


@given(NUMBERS)
@pytest.mark.parametrize("dial", [RATE, DEPTH], ids=lambda dial: dial.name)
def test_a_number_is_taken_exactly_where_it_lies_in_the_range(dial: Dial, value: float) -> None:
    above = value > dial.low if dial.open_low else value >= dial.low
    if above and value <= dial.high:
        assert dial.check(value) == value
        assert isinstance(dial.check(value), float)
    else:
        with pytest.raises(SettingError, match=f"The dial '{dial.name}' lies in"):
            dial.check(value)


@pytest.mark.parametrize("value", [True, False, None, "0.5", [0.5], 1j, Fraction(1, 2)])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(SettingError, match="The dial 'tokens' takes a number."):
        RATE.check(value)


def test_the_ends_of_a_range() -> None:
    assert RATE.check(math.nextafter(0.0, 1.0)) > 0.0
    assert RATE.check(1) == 1.0
    assert DEPTH.check(2) == 2.0
    for value in (0.0, -0.0, math.nextafter(1.0, 2.0)):
        with pytest.raises(SettingError):
            RATE.check(value)


def test_the_error_says_the_rule_the_value_and_the_way_out() -> None:
    with pytest.raises(SettingError) as error:
        RATE.check(1.5)
    assert str(error.value) == (
        "The dial 'tokens' lies in (0, 1]. Given: 1.5. Choose a keep rate in (0, 1]; 1 is the plain model."
    )


def test_the_range_is_written_in_the_usual_notation() -> None:
    assert RATE.interval == "(0, 1]"
    assert DEPTH.interval == "[2, 12]"


def test_settings_are_checked_by_name_and_by_value() -> None:
    assert checked_settings([RATE, DEPTH], {"depth": 6, "tokens": 0.5}) == {"depth": 6.0, "tokens": 0.5}
    assert checked_settings([RATE], {}) == {}
    with pytest.raises(SettingError, match="Given: 'token'. Did you mean 'tokens'\\? Known: depth, tokens."):
        checked_settings([RATE, DEPTH], {"token": 0.5})
    with pytest.raises(SettingError, match="'depth' lies in \\[2, 12\\]"):
        checked_settings([RATE, DEPTH], {"tokens": 0.5, "depth": 13})


def test_a_dial_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        RATE.high = 2.0  # type: ignore[misc]
