"""Reading tables of text: Parquet, CSV, JSON lines, and saved Hugging Face datasets.

Nothing is unpickled, no code that comes with the data is run, and nothing is fetched.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rheostat.core.errors import DataError
from rheostat.core.extras import require
from rheostat.core.names import suggest

__all__ = ["Table", "read_table"]

_KINDS = "A .parquet, .csv or .jsonl file, or a folder written by datasets' save_to_disk, is what can be read."


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a file, read when they are asked for.

    Args:
        names: The names of the columns.
        length: How many rows there are.
        read: Returns the values of a column, one a row; a missing value is None or NaN.
        class_names: The class names of each column that holds class numbers (``datasets.ClassLabel``).
        split_of: The split of each row where the file itself is laid out in splits, else None.
    """

    names: tuple[str, ...]
    length: int
    read: Callable[[str], list[Any]]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    split_of: list[str] | None = None

    def column(self, name: str) -> list[Any]:
        """Return the values of a column.

        Raises:
            DataError: If there is none of that name.
        """
        if name not in self.names:
            raise DataError(
                "The data has to have the column.", given=f"column '{name}'", mend=suggest(name, self.names)
            )
        return self.read(name)


def read_table(path: Path) -> Table:
    """Open a file or folder of text data.

    Args:
        path: A ``.parquet``, ``.csv`` (UTF-8, commas, first line names the columns) or ``.jsonl`` (one object
            a line) file, or a folder that ``datasets`` wrote with ``save_to_disk``.

    Returns:
        Its table, with at least one row.

    Raises:
        DataError: If it is missing, empty, damaged, or of another kind.
    """
    reader = _reader(path)
    try:
        table = reader(path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError, RecursionError) as error:
        raise DataError(
            "The data has to be whole and of the kind that its name says.",
            given=f"{path} ({_first_line(error)})",
            mend="Write the file anew, or mend its name or permissions.",
        ) from error
    if table.length == 0:
        raise DataError("Data has at least one row.", given=str(path), mend="Write the rows into it first.")
    return table


def _reader(path: Path) -> Callable[[Path], Table]:
    if not path.exists():
        raise DataError("The data has to exist.", given=str(path), mend=_mend_missing(path))
    if path.is_dir():
        if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
            return _read_saved_dataset
        raise DataError(_KINDS, given=f"{path}, a folder of another kind", mend="Name the file inside it.")
    readers = {".parquet": _read_parquet, ".csv": _read_csv, ".jsonl": _read_json_lines}
    if path.suffix.lower() not in readers:
        raise DataError(_KINDS, given=str(path), mend="Convert it, for example with pandas' to_parquet.")
    return readers[path.suffix.lower()]


def _mend_missing(path: Path) -> str:
    if path.parent.is_dir() and (names := [entry.name for entry in path.parent.iterdir()]):
        return suggest(path.name, names) if len(names) <= 20 else "Mend the name of the file."
    return "Mend the path; a relative one starts from the current folder."


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _read_parquet(path: Path) -> Table:
    # ParquetFile, not read_table: the latter takes a parent folder called "split=train" for a column.
    with require("pyarrow.parquet", extra="train").ParquetFile(path) as file:
        table = file.read()
    return Table(
        names=tuple(table.column_names),
        length=table.num_rows,
        read=lambda name: list(table.column(name).to_pylist()),
        class_names=_class_names(table.schema.metadata or {}),
    )


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Read the class names that ``datasets`` leaves in the schema of the Parquet files it writes."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        return {
            name: tuple(feature["names"])
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, AttributeError, TypeError):
        return {}  # a remark that cannot be understood is no reason to refuse the data beside it


def _read_csv(path: Path) -> Table:
    pandas = require("pandas", extra="train")
    with warnings.catch_warnings():
        # Without these two, a line with one field too many shifts or loses columns without an error.
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        try:
            # Text such as "NA", "null" or "007" is text: no guessing of types and missing values.
            frame = pandas.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
        except (pandas.errors.ParserWarning, pandas.errors.ParserError) as problem:
            raise ValueError(_first_line(problem)) from problem
    names = tuple(str(name) for name in frame.columns)
    return Table(names=names, length=len(frame), read=lambda name: list(frame[name].tolist()))


def _read_json_lines(path: Path) -> Table:
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                rows.append(_json_object(line, number))
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(names=names, length=len(rows), read=lambda name: [row.get(name) for row in rows])


def _json_object(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f'line {number}: not an object such as {{"text": ...}}')
    return row


def _read_saved_dataset(path: Path) -> Table:
    datasets = require("datasets", extra="train")
    saved = datasets.load_from_disk(str(path))
    parts = dict(saved) if isinstance(saved, datasets.DatasetDict) else {None: saved}
    features = next(iter(parts.values())).features
    in_splits = None not in parts
    return Table(
        names=tuple(name for name in features if all(name in part.features for part in parts.values())),
        length=sum(len(part) for part in parts.values()),
        read=lambda name: [value for part in parts.values() for value in part[name]],
        class_names={
            name: tuple(feature.names) for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)
        },
        split_of=[str(name) for name, part in parts.items() for _ in range(len(part))] if in_splits else None,
    )
