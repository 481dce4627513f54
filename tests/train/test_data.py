from __future__ import annotations

from collections import Counter

import datasets
import pandas
import pytest

from rheostat.core.errors import DataError, SettingError
from rheostat.train.data import Columns, load_data


def save(folder, **columns):
    path = folder / "data.parquet"
    pandas.DataFrame(columns).to_parquet(path)
    return path


def rows(count, split=None):
    columns = {
        "text": [f"text {row}" for row in range(count)],
        "label": [f"{row % 2}" for row in range(count)],
    }
    return columns if split is None else {**columns, "split": split}


def shape(data):
    return {name: len(split) for name, split in data.splits.items()}


def test_usual_columns_need_no_options(tmp_path):
    columns = {
        "text": [f"a{row}" for row in range(14)],
        "text_pair": [f"b{row}" for row in range(14)],
        "label": ["spam", "ham"] * 7,
        "split": ["test", "test", "dev", "dev"] + ["train"] * 10,
    }
    data = load_data(save(tmp_path, **columns), "classification")
    assert shape(data) == {"train": 10, "validation": 2, "test": 2}
    assert list(data.splits) == ["train", "validation", "test"]
    assert data.label_names == ("ham", "spam")
    assert data.splits["test"].texts == ["a0", "a1"]
    assert data.splits["test"].pairs == ["b0", "b1"]
    assert data.splits["test"].labels == [1, 0]
    assert data.notes == ()


def test_columns_can_be_named(tmp_path):
    path = save(tmp_path, first=["a"] * 12, second=["b"] * 12, grade=[1, 2] * 6, part=["train"] * 12)
    data = load_data(path, "classification", Columns("first", "second", "grade", "part"))
    assert data.label_names == ("1", "2")
    assert data.splits["train"].pairs == ["b"] * 11


@pytest.mark.parametrize(
    ("columns", "wrong"),
    [
        (Columns(text="texts"), "column 'texts'. Did you mean 'text'"),
        (Columns(label="labels"), "column 'labels'. Did you mean 'label'"),
        (Columns(split="splits"), "column 'splits'. Did you mean 'split'"),
        (Columns(text_pair="pair"), "column 'pair'. Known: label, split, text"),
    ],
)
def test_a_wrong_column_is_refused(tmp_path, columns, wrong):
    with pytest.raises(DataError, match=wrong):
        load_data(save(tmp_path, **rows(12, ["train"] * 12)), "classification", columns)


def test_without_splits_tenths_are_held_out_and_the_notes_say_so(tmp_path):
    data = load_data(save(tmp_path, **rows(100)), "classification", seed=3)
    assert shape(data) == {"train": 80, "validation": 10, "test": 10}
    assert all(Counter(split.labels)[0] * 2 == len(split) for split in data.splits.values())
    assert sorted(text for split in data.splits.values() for text in split.texts) == sorted(rows(100)["text"])
    assert data.notes == (
        "There is no test split: 10 of 100 train rows were held out as one (seed 3).",
        "There is no validation split: 10 of 90 train rows were held out as one (seed 3).",
    )


def test_held_out_validation_never_takes_from_test_and_has_at_most_500_rows(tmp_path):
    path = save(tmp_path, **rows(6010, ["train"] * 6000 + ["test"] * 10))
    data = load_data(path, "classification")
    assert shape(data) == {"train": 5500, "validation": 500, "test": 10}
    assert data.splits["test"].texts == rows(6010)["text"][6000:]


def test_the_seed_decides_what_is_held_out(tmp_path):
    path = save(tmp_path, **rows(100))
    assert load_data(path, "classification", seed=1) == load_data(path, "classification", seed=1)
    first, second = (load_data(path, "classification", seed=seed).splits["test"].texts for seed in (1, 2))
    assert first != second


def test_a_limit_samples_train_rows_only(tmp_path):
    path = save(tmp_path, **rows(100))
    data = load_data(path, "classification", limit=20)
    assert shape(data) == {"train": 20, "validation": 10, "test": 10}
    assert Counter(data.splits["train"].labels) == {0: 10, 1: 10}
    assert data.notes[-1] == "20 of 80 train rows were sampled (seed 0)."
    assert data.splits["test"] == load_data(path, "classification").splits["test"]
    assert "all 80 are kept" in load_data(path, "classification", limit=500).notes[-1]


def test_causal_lm_reads_the_text_alone(tmp_path):
    path = save(tmp_path, text=["a"] * 3 + ["b"] * 12, label=[None] * 15, split=["valid"] * 3 + ["train"] * 12)
    data = load_data(path, "causal-lm")
    assert shape(data) == {"train": 12, "validation": 3}
    assert data.splits["train"].labels is None
    assert data.splits["train"].pairs is None
    assert data.label_names is None
    assert "There is no test split" in data.notes[0]


def test_causal_lm_without_a_train_split_can_be_measured_on(tmp_path):
    path = save(tmp_path, text=["a", "b"], split=["valid", "test"])
    data = load_data(path, "causal-lm")
    assert shape(data) == {"validation": 1, "test": 1}
    assert data.notes == (
        "There is no train split, only test and validation: enough to measure a model, not to train one.",
    )
    with pytest.raises(DataError, match="A limit needs train rows"):
        load_data(path, "causal-lm", limit=10)


def test_blank_texts_are_dropped_and_counted(tmp_path):
    columns = rows(14)
    columns["text"][:3] = ["", "  \n", None]
    data = load_data(save(tmp_path, **columns), "classification")
    assert sum(shape(data).values()) == 11
    assert data.notes[0] == "3 of 14 rows had no text and were dropped."


def test_a_row_is_blank_where_its_pair_is(tmp_path):
    path = save(tmp_path, **rows(14), text_pair=["x"] * 12 + [None, " "])
    assert "2 of 14 rows had no text" in load_data(path, "classification").notes[0]


def test_splits_stay_with_their_rows_when_others_are_dropped(tmp_path):
    columns = rows(14, ["test"] * 2 + ["train"] * 12)
    columns["text"][0] = ""
    assert load_data(save(tmp_path, **columns), "classification").splits["test"].texts == ["text 1"]


def test_texts_that_were_learnt_and_are_judged_are_counted(tmp_path):
    columns = rows(14, ["train"] * 12 + ["validation"] + ["test"])
    columns["text"][13] = columns["text"][0]
    data = load_data(save(tmp_path, **columns), "classification")
    assert data.notes == ("1 of 1 test rows occur in train, too: quality on them is flattered.",)


def test_class_names_and_splits_of_a_saved_dataset_are_honoured(tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["spam", "ham"])}
    )
    part = datasets.Dataset.from_dict({"text": ["a"] * 10, "label": [0, 1] * 5}, features=features)
    datasets.DatasetDict({"train": part, "test": part}).save_to_disk(tmp_path / "saved")
    data = load_data(tmp_path / "saved", "classification")
    assert data.label_names == ("spam", "ham")
    assert shape(data) == {"train": 9, "validation": 1, "test": 10}


REFUSED = {
    "all blank": (
        {"text": [" "] * 12, "label": [0, 1] * 6},
        "Some rows have text. Given: 12 rows, all of them blank",
    ),
    "numbers": (
        {"text": [1.5] * 12, "label": [0, 1] * 6},
        "holds text. Given: column 'text' with a value of type f",
    ),
    "no label": ({"text": ["a"] * 12, "label": ["x", None] * 6}, "6 of 12 rows without one"),
    "scores": ({"text": ["a"] * 12, "label": [0.5, 1] * 6}, "A label is a class"),
    "one class": (
        {"text": ["a"] * 12, "label": ["x"] * 12},
        "at least two classes in train. Given: only 'x'",
    ),
    "few": ({"text": ["a"] * 9, "label": ["x"] * 8 + ["y"]}, "at least 10 rows. Given: 9 rows"),
    "unseen": (
        rows(13, ["train"] * 12 + ["test"]) | {"label": ["x", "y"] * 6 + ["z"]},
        "Every class occurs in train. Given: z in test only",
    ),
    "split": (
        rows(12, ["train"] * 11 + ["tset"]),
        "called train, validation or test. Given: 'tset'. .*'test'",
    ),
    "no split": (rows(12, ["train"] * 11 + [None]), "called train, validation or test. Given: 'None'"),
    "no train": (rows(12, ["test", "dev"] * 6), "has a train split. Given: only test and validation"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unfit_data_is_refused_with_the_reason(tmp_path, name):
    columns, wording = REFUSED[name]
    with pytest.raises(DataError, match=wording):
        load_data(save(tmp_path, **columns), "classification")


def test_settings_outside_their_domain_are_refused(tmp_path):
    path = save(tmp_path, **rows(12))
    with pytest.raises(SettingError, match="Given: classify. Did you mean 'classification'"):
        load_data(path, "classify")
    with pytest.raises(SettingError, match="at least 10 train rows. Given: 9"):
        load_data(path, "classification", limit=9)
    with pytest.raises(SettingError, match="reads one text column. Given: text_pair='other'"):
        load_data(path, "causal-lm", Columns(text_pair="other"))
