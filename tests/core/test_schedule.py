"""How many states each block keeps, against exact arithmetic."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.schedule import block_rate, keep_count, keep_counts, rate_of_work, split_rate

# What people write: up to six decimals.
RATES = st.decimals("0.000001", "1", places=6).filter(lambda rate: rate > 0)
COUNTS = st.integers(0, 1_000_000)
FLOORS = st.integers(1, 64)


def exact(previous: int, tokens: int, rate: Decimal, floor: int, protected: int = 0) -> int:
    """The formula in exact arithmetic: ``min(n, max(ceil(rate x N), floor))``, never fewer than protected."""
    return min(tokens, previous, max(math.ceil(Fraction(rate) * previous), floor, protected))


@given(COUNTS, COUNTS, RATES, FLOORS, st.integers(0, 100))
def test_a_block_keeps_what_exact_arithmetic_says(
    tokens: int, previous: int, rate: Decimal, floor: int, protected: int
) -> None:
    previous = min(previous, tokens)
    found = keep_count(previous, tokens, float(rate), floor, protected)
    assert found == exact(previous, tokens, rate, floor, protected)


@given(st.integers(1, 1_000_000), st.integers(1, 1000))
def test_a_product_that_is_whole_is_kept_whole(tokens: int, thousandths: int) -> None:
    """Where rounding would bite: ``rate x n`` is a whole number, and a float may lie a hair above it."""
    tokens -= tokens % 1000
    assert keep_count(tokens, tokens, thousandths / 1000, 1) == max(min(1, tokens), tokens // 1000 * thousandths)


@pytest.mark.parametrize(("rate", "tokens", "kept"), [(0.7, 10, 7), (0.07, 100, 7), (0.55, 200, 110)])
def test_a_float_a_hair_above_a_whole_number_keeps_no_state_more(rate: float, tokens: int, kept: int) -> None:
    assert keep_count(tokens, tokens, rate, 1) == kept


def test_the_plain_ceiling_would_keep_one_too_many() -> None:
    """What the rounding is for."""
    assert math.ceil(0.07 * 100) == 8
    assert math.ceil(0.55 * 200) == 111


@given(COUNTS, st.floats(1e-9, 1), st.floats(1e-9, 1), FLOORS)
def test_a_higher_rate_never_keeps_less(tokens: int, one: float, other: float, floor: int) -> None:
    low, high = sorted((one, other))
    assert keep_count(tokens, tokens, low, floor) <= keep_count(tokens, tokens, high, floor)


@given(COUNTS, COUNTS, st.floats(1e-9, 1), FLOORS)
def test_more_states_going_in_never_means_fewer_going_on(one: int, other: int, rate: float, floor: int) -> None:
    low, high = sorted((one, other))
    assert keep_count(low, high, rate, floor) <= keep_count(high, high, rate, floor)


@given(st.integers(0, 10_000), st.floats(1e-9, 1), FLOORS, st.integers(0, 40), st.integers(0, 64), st.floats(0.0, 4.0))
def test_counts_fall_from_block_to_block_and_stop_at_the_floor(
    tokens: int, rate: float, floor: int, blocks: int, protected: int, decay: float
) -> None:
    counts = keep_counts(tokens, rate, floor, blocks, protected, decay)
    assert len(counts) == blocks
    assert [tokens, *counts] == sorted([tokens, *counts], reverse=True)
    assert all(min(tokens, max(floor, protected)) <= count <= tokens for count in counts)


@given(st.floats(1e-9, 1), st.integers(0, 100))
def test_without_decay_of_its_own_every_block_keeps_the_rate(rate: float, block: int) -> None:
    assert block_rate(rate, block, 1.0) == rate


@given(st.floats(1e-6, 1), st.floats(0.0, 4.0), st.integers(1, 40))
def test_the_rates_of_the_blocks_multiply_to_the_decay(rate: float, decay: float, blocks: int) -> None:
    left = math.fsum(math.log(max(block_rate(rate, block, decay), 1e-300)) for block in range(blocks))
    if left > -600:
        assert left == pytest.approx(math.log(rate) * blocks**decay, rel=1e-6, abs=1e-9)
    assert all(0.0 <= block_rate(rate, block, decay) <= 1.0 for block in range(blocks))


@given(st.floats(0.01, 0.99), st.floats(0.0, 0.99), st.floats(1.01, 4.0), st.integers(1, 40))
def test_a_low_decay_cuts_early_and_a_high_one_late(rate: float, low: float, high: float, block: int) -> None:
    assert block_rate(rate, block, low) > rate > block_rate(rate, block, high)
    assert block_rate(rate, 0, low) == block_rate(rate, 0, high) == rate


def test_decay_spreads_the_cut() -> None:
    assert keep_counts(256, 0.25, 1, 4) == [64, 16, 4, 1]
    assert keep_counts(256, 0.25, 1, 4, decay=0.5) == [64, 37, 24, 17]
    assert keep_counts(256, 0.25, 1, 4, decay=0.0) == [64] * 4
    assert keep_counts(256, 0.5, 1, 3, decay=2.0) == [128, 16, 1]


@given(COUNTS, FLOORS, st.integers(1, 20))
def test_at_rate_one_everything_goes_on(tokens: int, floor: int, blocks: int) -> None:
    assert keep_counts(tokens, 1.0, floor, blocks) == [tokens] * blocks
    assert keep_counts(tokens, 1.0, floor, blocks, decay=0.3) == [tokens] * blocks


def test_a_row_without_tokens_keeps_none() -> None:
    assert keep_counts(0, 0.5, 5, 3, protected=1) == [0, 0, 0]


def test_the_last_block_of_a_long_text_is_at_the_floor() -> None:
    assert keep_counts(16, 0.5, 5, 3) == [8, 5, 5]
    assert keep_counts(16, 0.5, 5, 3, protected=7) == [8, 7, 7]


@given(st.floats(1e-6, 1.0), st.floats(0.0, 1.0))
def test_what_enters_and_what_a_block_keeps_multiply_to_the_rate(rate: float, entry: float) -> None:
    before, after = split_rate(rate, entry)
    assert before * after == pytest.approx(rate)
    assert split_rate(rate, 0.0) == (1.0, rate)
    assert split_rate(rate, 1.0) == (rate, 1.0)


@given(st.floats(0.05, 1.0), st.integers(1, 40), st.floats(0.0, 1.0))
def test_the_rate_of_a_share_of_work_makes_that_share(share: float, blocks: int, entry: float) -> None:
    rate = rate_of_work(share, blocks, entry)
    entering = sum(rate ** (entry + block * (1 - entry)) for block in range(blocks)) / blocks
    assert share <= rate <= 1.0
    assert entering == pytest.approx(share, abs=1e-4) or (rate == share and entering > share)
