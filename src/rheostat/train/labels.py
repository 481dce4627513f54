"""From a column of labels to label ids and their names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rheostat.core.errors import DataError

__all__ = ["encode_labels", "is_missing"]


def is_missing(value: Any) -> bool:
    """Say whether a value stands for nothing: None, NaN, or text that is blank."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def encode_labels(values: Sequence[Any], names: Sequence[str] | None = None) -> tuple[list[int], tuple[str, ...]]:
    """Number the classes of a column.

    Args:
        values: One label a row: text, whole numbers or booleans.
        names: The names of the classes where the values are numbers that index them, as in
            ``datasets.ClassLabel``.

    Returns:
        The label id of each row, and the name of each id. Without ``names`` the names are sorted: as numbers
        where all of them are whole numbers, else as text.

    Raises:
        DataError: If a label is missing (as is -1 in ``ClassLabel`` columns), is not a class, or has no name.

    Example:
        >>> encode_labels(["spam", "ham", "spam"])
        ([1, 0, 1], ('ham', 'spam'))
        >>> encode_labels([10, 9])
        ([1, 0], ('9', '10'))
    """
    _refuse_missing(values, minus_one=names is not None)
    classes = [_class_of(value) for value in values]
    if names is not None:
        return _numbered(classes, tuple(names)), tuple(names)
    ordered = sorted(set(classes), key=_sorting_key(classes))
    ids = {name: number for number, name in enumerate(ordered)}
    return [ids[name] for name in classes], tuple(ordered)


def _refuse_missing(values: Sequence[Any], *, minus_one: bool) -> None:
    rows = [
        row
        for row, value in enumerate(values)
        if is_missing(value) or (minus_one and not isinstance(value, str) and value == -1)
    ]
    if rows:
        raise DataError(
            "Every row has a label.",
            given=f"{len(rows)} of {len(values)} rows without one",
            mend="Label those rows, or leave them (or their split) out.",
        )


def _class_of(value: Any) -> str:
    if isinstance(value, str | int):  # bool is an int
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    raise DataError(
        "A label is a class: text or a whole number.",
        given=f"{value!r}",
        mend="Name the column that holds the classes, or turn the scores into classes first.",
    )


def _sorting_key(classes: Sequence[str]) -> Any:
    try:
        numbers = {name: int(name) for name in set(classes)}
    except ValueError:
        return str
    return lambda name: (numbers[name], name)


def _numbered(classes: Sequence[str], names: tuple[str, ...]) -> list[int]:
    ids = {str(number): number for number in range(len(names))}
    unknown = sorted(set(classes) - set(ids))
    if unknown:
        raise DataError(
            "Every label number has a class name.",
            given=f"labels {', '.join(unknown[:5])} with the names {', '.join(names)}",
            mend="Write the data with all of its class names, or with the classes as text.",
        )
    return [ids[name] for name in classes]
