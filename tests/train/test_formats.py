from __future__ import annotations

import json
import warnings

import datasets
import pandas
import pytest

from rheostat.core.errors import DataError
from rheostat.train.formats import read_table

TEXTS = ["NA", "null", "007", 'with "quotes", commas\nand lines', "größer"]


def written(folder, kind):
    rows = {"text": TEXTS, "label": [1, 0, 1, 0, 1]}
    path = folder / f"data.{kind}"
    if kind == "parquet":
        pandas.DataFrame(rows).to_parquet(path)
    elif kind == "csv":
        pandas.DataFrame(rows).to_csv(path, index=False)
    elif kind == "jsonl":
        pandas.DataFrame(rows).to_json(path, orient="records", lines=True)
    else:
        datasets.Dataset.from_dict(rows).save_to_disk(path)
    return path


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "folder"])
def test_every_format_gives_the_same_text_back(tmp_path, kind):
    table = read_table(written(tmp_path, kind))
    assert table.names == ("text", "label")
    assert table.length == 5
    assert table.column("text") == TEXTS
    assert [int(label) for label in table.column("label")] == [1, 0, 1, 0, 1]
    assert table.split_of is None


def test_a_dataset_in_splits_says_which_row_is_in_which(tmp_path):
    parts = {
        name: datasets.Dataset.from_dict({"text": [name] * rows, name: [0] * rows})
        for name, rows in {"train": 2, "test": 1}.items()
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    table = read_table(tmp_path / "saved")
    assert table.split_of == ["train", "train", "test"]
    assert table.column("text") == ["train", "train", "test"]
    assert table.names == ("text",)  # a column that only some splits have cannot be read


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_class_names_are_found(tmp_path, kind):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["spam", "ham"])}
    )
    data = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features)
    if kind == "folder":
        data.save_to_disk(tmp_path / "data.folder")
    else:
        data.to_parquet(tmp_path / "data.parquet")
    assert read_table(tmp_path / f"data.{kind}").class_names == {"label": ("spam", "ham")}


def test_a_column_that_some_lines_lack_is_missing_there(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "a"}\n\n{"text": "b", "label": "x"}\n')
    assert read_table(path).column("label") == [None, "x"]


def test_an_unknown_column_suggests_the_right_one(tmp_path):
    with pytest.raises(DataError) as caught:
        read_table(written(tmp_path, "csv")).column("txt")
    assert str(caught.value) == (
        "The data has to have the column. Given: column 'txt'. Did you mean 'text'? Known: label, text."
    )


def test_a_missing_file_suggests_its_neighbour(tmp_path):
    written(tmp_path, "csv")
    with pytest.raises(DataError, match=r"has to exist\. Given: .*dat\.csv\. Did you mean 'data\.csv'"):
        read_table(tmp_path / "dat.csv")
    with pytest.raises(DataError, match="Mend the path"):
        read_table(tmp_path / "nowhere" / "data.csv")


def test_other_kinds_are_refused(tmp_path):
    (tmp_path / "data.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(DataError, match=r"\.parquet, \.csv or \.jsonl .* Given: .*data\.pkl"):
        read_table(tmp_path / "data.pkl")
    with pytest.raises(DataError, match="a folder of another kind"):
        read_table(tmp_path)


DAMAGED = {
    "a.parquet": b"not parquet at all",
    "b.parquet": b"",
    "a.csv": b"",
    "b.csv": b"text,label\na,b,c\n",
    "c.csv": b'text,label\n"never closed,b\n',
    "d.csv": "text\ngrößer\n".encode("latin-1"),
    "a.jsonl": b'{"text": "a"}\n{"text": \n',
    "b.jsonl": b'["a list"]\n',
    "c.jsonl": b"[" * 200_000 + b"\n",
    "d.jsonl": "größer".encode("utf-16"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(DAMAGED[name])
    with pytest.raises(DataError, match="whole and of the kind that its name says. Given: .* Write the file anew"):
        read_table(tmp_path / name)


def test_a_field_too_many_is_refused_where_warnings_are_not_errors(tmp_path):
    (tmp_path / "b.csv").write_bytes(DAMAGED["b.csv"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError, match="whole and of the kind"):
            read_table(tmp_path / "b.csv")


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(DAMAGED["a.jsonl"])
    with pytest.raises(DataError, match="line 2: "):
        read_table(tmp_path / "a.jsonl")


def test_a_damaged_dataset_folder_is_refused(tmp_path):
    path = written(tmp_path, "folder")
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "gone.arrow"}]}))
    with pytest.raises(DataError, match="whole and of the kind"):
        read_table(path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    path = written(tmp_path, "csv")
    monkeypatch.setattr(pandas, "read_csv", refuse)  # root may read everything, so chmod would not do
    with pytest.raises(DataError, match=r"data\.csv \(\[Errno 13\] Permission denied\)\. .* permissions"):
        read_table(path)


@pytest.mark.parametrize(("name", "content"), [("a.csv", "text,label\n"), ("a.jsonl", "\n")])
def test_an_empty_table_is_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match="at least one row"):
        read_table(tmp_path / name)
