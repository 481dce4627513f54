from __future__ import annotations

from pathlib import Path

import pandas

from demo.make_data import choose
from rheostat.train.data import load_data

SPAM = Path(__file__).parents[2] / "demo" / "data" / "spam.parquet"


def test_the_shipped_mails_load_without_options():
    data = load_data(SPAM, "classification")
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 200,
        "validation": 300,
        "test": 1381,
    }
    assert data.label_names == ("ham", "spam")
    assert data.notes == ()
    assert SPAM.stat().st_size < 3_000_000


def test_rows_are_chosen_from_train_and_the_test_rows_stay():
    source = pandas.DataFrame(
        {
            "text": [f"mail {row} " + "x" * 5000 for row in range(700)],
            "label": ["ham", "ham", "ham", "spam"] * 175,
            "split": ["train"] * 600 + ["test"] * 100,
        }
    )
    rows = choose(source)
    assert rows.groupby("split").size().to_dict() == {"test": 100, "train": 200, "validation": 300}
    assert rows["text"].is_unique
    assert rows["text"].str.len().max() == 4000
    assert set(rows[rows["split"] == "test"]["text"]) == set(source["text"][600:].str.slice(0, 4000))
    assert rows[rows["split"] == "train"]["label"].value_counts().to_dict() == {"ham": 150, "spam": 50}
