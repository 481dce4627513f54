from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rheostat.train.sampling import hold_out, stratified_sample


@st.composite
def strata_and_size(draw):
    strata = draw(st.lists(st.integers(0, 4), min_size=1, max_size=80))
    return strata, draw(st.integers(0, len(strata)))


@given(strata_and_size(), st.integers(0, 3))
def test_a_sample_is_as_large_as_asked_without_repeats_and_the_same_for_the_same_seed(case, seed):
    strata, size = case
    rows = stratified_sample(strata, size, seed)
    assert rows == sorted(set(rows))
    assert len(rows) == size
    assert set(rows) <= set(range(len(strata)))
    assert rows == stratified_sample(strata, size, seed)


@given(strata_and_size())
def test_each_stratum_is_less_than_a_row_from_its_share_unless_another_needed_its_first_row(case):
    strata, size = case
    counts, sampled = Counter(strata), Counter(strata[row] for row in stratified_sample(strata, size, 0))
    rescued = sum(size * count < len(strata) for count in counts.values()) if size >= len(counts) else 0
    for stratum, count in counts.items():
        share = size * count / len(strata)
        assert share - 1 - rescued < sampled[stratum] <= max(share + 1, 1)


@given(strata_and_size())
def test_no_stratum_is_missing_where_there_is_room_for_all(case):
    strata, size = case
    sampled = {strata[row] for row in stratified_sample(strata, size, 0)}
    if size >= len(set(strata)):
        assert sampled == set(strata)


@given(strata_and_size(), st.integers(0, 3))
def test_holding_out_parts_the_rows(case, seed):
    strata, size = case
    stay, held = hold_out(strata, size, seed)
    assert len(held) == size
    assert sorted(stay + held) == list(range(len(strata)))


def test_the_largest_remainder_is_rounded_up():
    strata = [0] * 16 + [1] * 14  # shares of 2.67 and 2.33 rows
    assert Counter(strata[row] for row in stratified_sample(strata, 5, 0)) == {0: 3, 1: 2}


def test_a_stratum_of_one_row_is_not_held_out():
    strata = [0] * 19 + [1]
    assert all(19 in hold_out(strata, 2, seed)[0] for seed in range(20))


def test_another_seed_chooses_other_rows():
    assert stratified_sample([0] * 100, 10, seed=0) != stratified_sample([0] * 100, 10, seed=1)
