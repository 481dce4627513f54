"""Loading text data for training and measuring, with a reason for everything that is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from rheostat.core.errors import DataError, SettingError
from rheostat.core.names import suggest
from rheostat.core.text import Split, Task, TextData
from rheostat.train.dialogues import prompted_rows
from rheostat.train.formats import Table, read_table
from rheostat.train.labels import encode_labels, is_missing
from rheostat.train.sampling import hold_out, stratified_sample

__all__ = ["HELD_OUT", "MINIMUM_TRAIN_ROWS", "USUAL_COLUMNS", "Columns", "load_data"]

MINIMUM_TRAIN_ROWS = 10
HELD_OUT = "were held out as one"
"""How a note tells of rows that were taken from the train split for another one, by the seed."""
_HELD_OUT_SHARE = 10  # one row in so many
_MOST_VALIDATION_ROWS = 500
_ORDER = ("train", "validation", "test")
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what.

    Args:
        text: The text.
        text_pair: The second text of a pair; None takes the column ``text_pair`` where there is one.
        label: The class; not needed for causal-lm.
        split: The split of each row; where the usual column ``split`` is missing, splits are made.
        prompt: For causal-lm, the prompts that ``answer`` answers; None takes the column ``prompt`` where there is no
            column of texts.
        answer: The answers; None takes the column ``answer``.
        messages: For causal-lm, chats: each a list of objects with ``role`` and ``content``; None takes the column
            ``messages`` where there is neither text nor prompts.
    """

    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    split: str = "split"
    prompt: str | None = None
    answer: str | None = None
    messages: str | None = None


USUAL_COLUMNS = Columns()


def load_data(
    path: Path | str,
    task: Task,
    columns: Columns = USUAL_COLUMNS,
    *,
    seed: int = 0,
    limit: int | None = None,
) -> TextData:
    """Load text data and lay it out in train, validation and test splits.

    Where there is no validation split, a tenth of train (at most 500 rows) is held out as one, with the
    shares of the classes kept; where rows have no split at all, a test split of a tenth is held out, too. The
    notes of the result say so.

    Args:
        path: A .parquet, .csv or .jsonl file, or a folder written by datasets' ``save_to_disk``.
        task: ``"classification"`` or ``"causal-lm"`` (reads running text, or prompts and answers, or chats).
        columns: The names of the columns.
        seed: Chooses which rows are held out and sampled.
        limit: Keep a stratified sample of so many train rows (at least 10), taken after validation was held
            out.

    Returns:
        The data. Label ids follow the sorted names (sorted as numbers where all are whole numbers), or the
        order of ``datasets.ClassLabel``.

    Raises:
        DataError: If the data is missing, damaged, or unfit for the task.
        SettingError: If the task or the limit is outside its domain.

    Example:
        >>> load_data("reviews.parquet", "classification").label_names  # doctest: +SKIP
        ('negative', 'positive')
    """
    _check_settings(task, columns, limit)
    table = read_table(Path(path))
    prompted = prompted_rows(table, columns) if task == "causal-lm" else None
    if prompted is None:
        rows, kept, names = _rows(table, task, columns)
        notes = _note_dropped(table.length - len(kept), table.length)
    else:
        rows, kept, names, notes = prompted.split, prompted.kept, None, [*prompted.notes]
    split_of = _split_of(table, columns)
    splits = {"train": rows} if split_of is None else _grouped(rows, [split_of[row] for row in kept])
    _check_splits(splits, task, names)
    splits = _hold_out_missing(splits, in_splits=split_of is not None, seed=seed, notes=notes)
    if limit is not None:
        splits["train"] = _limited(splits, limit, seed, notes)
    notes += _note_leaks(splits)
    ordered = {name: splits[name] for name in sorted(splits, key=_ORDER.index)}
    return TextData(ordered, task=task, label_names=names, notes=tuple(notes))


def _check_settings(task: str, columns: Columns, limit: int | None) -> None:
    if task not in get_args(Task):
        raise SettingError("The task is one that rheostat knows.", given=task, mend=suggest(task, get_args(Task)))
    if task == "causal-lm" and columns.text_pair is not None:
        raise SettingError(
            "causal-lm reads one text column.",
            given=f"text_pair='{columns.text_pair}'",
            mend="Leave text_pair out.",
        )
    if limit is not None and limit < MINIMUM_TRAIN_ROWS:
        raise SettingError(f"A limit keeps at least {MINIMUM_TRAIN_ROWS} train rows.", given=limit)


def _rows(table: Table, task: Task, columns: Columns) -> tuple[Split, list[int], tuple[str, ...] | None]:
    """Return the rows whose texts are not blank, their numbers in the table, and the label names."""
    texts, pairs = _texts(table, columns.text), _pairs(table, task, columns)
    kept = [
        row for row, text in enumerate(texts) if not is_missing(text) and (pairs is None or not is_missing(pairs[row]))
    ]
    if not kept:
        raise DataError(
            "Some rows have text.",
            given=f"{len(texts)} rows, all of them blank in column '{columns.text}'"
            + ("" if pairs is None else " or that of the pair"),
            mend="Name the column that holds the text.",
        )
    chosen = Split([texts[row] for row in kept], None if pairs is None else [pairs[row] for row in kept])
    if task == "causal-lm":
        return chosen, kept, None
    values = table.column(columns.label)
    labels, names = encode_labels([values[row] for row in kept], table.class_names.get(columns.label))
    return replace(chosen, labels=labels), kept, names


def _pairs(table: Table, task: Task, columns: Columns) -> list[str] | None:
    name = columns.text_pair or "text_pair"
    if task == "causal-lm" or (columns.text_pair is None and name not in table.names):
        return None
    return _texts(table, name)


def _texts(table: Table, name: str) -> list[str]:
    """Read a column of text; missing values become blank."""
    values = ["" if is_missing(value) else value for value in table.column(name)]
    strange = next((value for value in values if not isinstance(value, str)), None)
    if strange is not None:
        raise DataError(
            "A text column holds text.",
            given=f"column '{name}' with a value of type {type(strange).__name__}",
            mend="Name the column that holds the text, or turn its values into text first.",
        )
    return values


def _note_dropped(dropped: int, length: int) -> list[str]:
    return [f"{dropped} of {length} rows had no text and were dropped."] if dropped else []


def _note_leaks(splits: dict[str, Split]) -> list[str]:
    """Say how many rows are judged that were learnt by heart."""
    if "train" not in splits:
        return []
    learnt = set(_contents(splits["train"]))
    leaks = {name: sum(row in learnt for row in _contents(splits[name])) for name in splits if name != "train"}
    return [
        f"{count} of {len(splits[name])} {name} rows occur in train, too: quality on them is flattered."
        for name, count in leaks.items()
        if count
    ]


def _contents(split: Split) -> Iterator[tuple[str, str]]:
    return zip(split.texts, split.pairs or [""] * len(split), strict=True)


def _split_of(table: Table, columns: Columns) -> list[Any] | None:
    """Return the split that each row of the table names, or None where it has no splits."""
    if table.split_of is not None:
        return table.split_of
    if columns.split == USUAL_COLUMNS.split and columns.split not in table.names:
        return None
    return table.column(columns.split)


def _grouped(rows: Split, split_of: Sequence[Any]) -> dict[str, Split]:
    numbers: dict[str, list[int]] = {}
    for row, given in enumerate(split_of):
        name = _SPLIT_NAMES.get(str(given).strip().lower())
        if name is None:
            raise DataError(
                "A split is called train, validation or test.",
                given=f"'{given}'",
                mend=f"Rename it or leave its rows out. {suggest(str(given), _SPLIT_NAMES)}",
            )
        numbers.setdefault(name, []).append(row)
    return {name: rows.take(chosen) for name, chosen in numbers.items()}


def _check_splits(splits: dict[str, Split], task: Task, names: tuple[str, ...] | None) -> None:
    train = splits.get("train")
    if train is None and task == "classification":
        raise DataError("Classification data has a train split.", given=f"only {' and '.join(sorted(splits))}")
    if train is not None and len(train) < MINIMUM_TRAIN_ROWS:
        raise DataError(
            f"The train split has at least {MINIMUM_TRAIN_ROWS} rows.",
            given=f"{len(train)} rows",
            mend="Add rows; for causal-lm, long texts can be cut into several.",
        )
    if names is not None:
        _check_classes(splits, names)


def _check_classes(splits: dict[str, Split], names: tuple[str, ...]) -> None:
    in_train = set(splits["train"].labels or ())
    if len(in_train) < 2:
        raise DataError(
            "Classification needs at least two classes in train.",
            given=f"only '{names[min(in_train)]}'",
            mend="Name the column that holds the classes, or add rows of another class.",
        )
    for split in ("validation", "test"):
        unseen = sorted(set(splits[split].labels or ()) - in_train) if split in splits else []
        if unseen:
            raise DataError(
                "Every class occurs in train.",
                given=f"{', '.join(names[label] for label in unseen[:5])} in {split} only",
                mend="Spread the rows of each class over the splits, or mend the misspelt labels.",
            )


def _hold_out_missing(splits: dict[str, Split], *, in_splits: bool, seed: int, notes: list[str]) -> dict[str, Split]:
    """Hold out the splits that are missing, and say so in the notes."""
    result = dict(splits)
    if "train" not in result:
        notes.append(f"There is no train split, only {_listed(result)}: enough to measure a model, not to train one.")
        return result
    tenth = max(1, len(result["train"]) // _HELD_OUT_SHARE)
    if not in_splits:
        _hold_out_as("test", tenth, result, seed, notes)
    elif "test" not in result:
        notes.append("There is no test split: what is measured on validation flatters what was chosen on it.")
    if "validation" not in result:
        _hold_out_as("validation", min(tenth, _MOST_VALIDATION_ROWS), result, seed, notes)
    return result


def _hold_out_as(name: str, size: int, splits: dict[str, Split], seed: int, notes: list[str]) -> None:
    train = splits["train"]
    stay, held = hold_out(_strata(train), size, seed)
    splits["train"], splits[name] = train.take(stay), train.take(held)
    notes.append(f"There is no {name} split: {size} of {len(train)} train rows {HELD_OUT} (seed {seed}).")


def _limited(splits: dict[str, Split], limit: int, seed: int, notes: list[str]) -> Split:
    if "train" not in splits:
        raise DataError("A limit needs train rows.", given=f"only {_listed(splits)}", mend="Leave the limit out.")
    train = splits["train"]
    if limit >= len(train):
        notes.append(f"The limit of {limit} train rows is no fewer than there are: all {len(train)} are kept.")
        return train
    notes.append(f"{limit} of {len(train)} train rows were sampled (seed {seed}).")
    return train.take(stratified_sample(_strata(train), limit, seed))


def _strata(split: Split) -> Sequence[int]:
    return split.labels if split.labels is not None else [0] * len(split)


def _listed(splits: dict[str, Split]) -> str:
    return " and ".join(sorted(splits))
