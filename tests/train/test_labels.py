from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.errors import DataError
from rheostat.train.labels import encode_labels, is_missing


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["spam", "ham", "spam"], ([1, 0, 1], ("ham", "spam"))),
        ([10, 9, 10], ([1, 0, 1], ("9", "10"))),
        (["10", "9"], ([1, 0], ("9", "10"))),
        ([1.0, 0.0], ([1, 0], ("0", "1"))),
        ([True, False], ([1, 0], ("False", "True"))),
        (["10", "nine"], ([0, 1], ("10", "nine"))),
    ],
)
def test_names_are_sorted_as_numbers_where_all_are_whole_numbers(values, expected):
    assert encode_labels(values) == expected


@given(st.lists(st.integers(-50, 50), min_size=1))
def test_ids_lead_back_to_the_values(values):
    ids, names = encode_labels(values)
    assert [int(names[number]) for number in ids] == values
    assert [int(name) for name in names] == sorted(set(values))


def test_class_names_keep_their_order_even_where_a_class_does_not_occur():
    assert encode_labels([2, 0], names=["spam", "eggs", "ham"]) == ([2, 0], ("spam", "eggs", "ham"))


@pytest.mark.parametrize("missing", [None, float("nan"), "", "  "])
def test_a_missing_label_is_refused(missing):
    with pytest.raises(DataError, match="Every row has a label. Given: 1 of 2 rows without one. Label those"):
        encode_labels(["spam", missing])


def test_minus_one_means_missing_for_class_names_only():
    with pytest.raises(DataError, match="2 of 3 rows without one"):
        encode_labels([-1, 0, -1], names=["no", "yes"])
    assert encode_labels([-1, 1]) == ([0, 1], ("-1", "1"))


@pytest.mark.parametrize("score", [0.25, ["a"], {"a": 1}])
def test_what_is_no_class_is_refused(score):
    with pytest.raises(DataError, match="A label is a class: text or a whole number. Given: "):
        encode_labels([score, score])


def test_a_number_without_a_class_name_is_refused():
    with pytest.raises(DataError, match="Every label number has a class name. Given: labels 2 with the names no, yes"):
        encode_labels([0, 2], names=["no", "yes"])


def test_zero_is_not_missing():
    assert not is_missing(0)
    assert not is_missing(False)
