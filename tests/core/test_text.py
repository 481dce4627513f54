from __future__ import annotations

import pytest

from rheostat.core.errors import DataError, SettingError
from rheostat.core.text import Split, TextData


def test_take_keeps_the_columns_of_a_row_together():
    split = Split(["a", "b", "c"], pairs=["x", "y", "z"], labels=[0, 1, 2])
    assert split.take([2, 0]) == Split(["c", "a"], pairs=["z", "x"], labels=[2, 0])
    assert Split(["a", "b"]).take([1]) == Split(["b"])


def test_a_split_refuses_columns_of_different_lengths():
    with pytest.raises(DataError, match=r"one entry a row\. Given: \{'texts': 2, 'labels': 1\}"):
        Split(["a", "b"], labels=[0])


def test_a_split_by_an_unknown_name_suggests_the_right_one():
    data = TextData({"validation": Split(["a"])}, task="causal-lm")
    assert len(data.split("validation")) == 1
    with pytest.raises(SettingError, match="Given: valid. Did you mean 'validation'"):
        data.split("valid")


@pytest.mark.parametrize(
    ("split", "names", "wording"),
    [
        (Split(["a"], labels=[0]), None, "names its labels"),
        (Split(["a"]), ("no", "yes"), "has labels. Given: train without labels"),
        (Split(["a"], labels=[2]), ("no", "yes"), r"between 0 and 1, .* Given: \[2\] in train"),
        (Split(["a"], labels=[-1]), ("no", "yes"), r"Given: \[-1\] in train"),
    ],
)
def test_classification_data_without_fitting_labels_is_refused(split, names, wording):
    with pytest.raises(DataError, match=wording):
        TextData({"train": split}, task="classification", label_names=names)
